"""The evaluator: hand-counted examples, and its values on the real BUSI masks."""

import re
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from bench.data.decode import read_mask
from bench.data.images import resize_mask
from bench.data.raw import image_files, joined, mask_files
from bench.metrics import COUNTS, Scores, counts, fixed_ellipse, mean_scores, per_image_iou, pooled_scores, to_mask


def mask(*rows: str) -> np.ndarray:
    return np.array([[letter == "#" for letter in row] for row in rows])


def test_counts_of_a_hand_made_example():
    assert counts(mask("##..", "#..."), mask(".##.", "#...")) == {"tp": 2, "fp": 1, "fn": 1, "tn": 4}


def test_predicted_and_true_are_not_interchangeable():
    assert counts(mask("##"), mask("#.")) == {"tp": 1, "fp": 1, "fn": 0, "tn": 0}


@pytest.mark.parametrize(
    "wrong", [np.zeros((2, 3), bool), np.zeros((3, 2), np.uint8), np.zeros((2, 2), float), np.zeros((1, 3, 2), bool)]
)
def test_masks_of_another_shape_or_type_are_refused(wrong):
    right = np.zeros((3, 2), bool)
    for pair in ((wrong, right), (right, wrong)):
        with pytest.raises(ValueError, match="bool masks of one shape"):
            counts(*pair)


def table(*rows: tuple[int, int, int, int]) -> pd.DataFrame:
    return pd.DataFrame(rows, columns=COUNTS)


def test_the_mean_counts_images_alike_and_the_pool_counts_pixels_alike():
    both = table((10, 0, 10, 80), (100, 0, 0, 100))
    assert mean_scores(both).tumor_iou == pytest.approx((50 + 100) / 2)
    assert mean_scores(both).background_iou == pytest.approx((100 * 80 / 90 + 100) / 2)
    assert pooled_scores(both).tumor_iou == pytest.approx(100 * 110 / 120)
    assert pooled_scores(both).background_iou == pytest.approx(100 * 180 / 190)


def test_a_class_that_is_absent_and_not_predicted_counts_as_found():
    assert per_image_iou(table((0, 0, 0, 9)))["tumor_iou"].tolist() == [100.0]
    assert per_image_iou(table((9, 0, 0, 0)))["background_iou"].tolist() == [100.0]
    assert per_image_iou(table((0, 1, 0, 8)))["tumor_iou"].tolist() == [0.0]


def test_miou_is_the_mean_of_both_ious():
    assert Scores(40.0, 90.0).miou == 65.0


def test_scores_keep_the_index_of_a_filtered_table():
    part = table((1, 0, 0, 1), (0, 1, 1, 0), (1, 1, 0, 2)).iloc[[2, 0]]
    assert per_image_iou(part)["tumor_iou"].to_dict() == {2: 50.0, 0: 100.0}


def test_a_mask_has_the_size_asked_for_as_width_and_height():
    assert to_mask(np.ones((4, 4), np.float16), (7, 3)).shape == (3, 7)


def test_a_probability_of_one_half_is_background():
    assert not to_mask(np.full((2, 2), 0.5), (4, 4)).any()
    assert to_mask(np.full((2, 2), 0.51), (4, 4)).all()


def test_probabilities_are_interpolated_before_the_threshold():
    assert to_mask(np.array([[0.0, 0.9]]), (6, 1)).tolist() == [[False, False, False, True, True, True]]


def test_the_ellipse_has_its_centre_and_axes():
    ellipse = fixed_ellipse((256, 256))
    y, x = np.nonzero(ellipse)
    assert (x.min(), x.max(), y.min(), y.max()) == (64, 192, 65, 155)
    assert ellipse.sum() == pytest.approx(np.pi * 64 * 45, rel=0.01)


def test_the_ellipse_follows_the_shape_of_the_image():
    ellipse = fixed_ellipse((512, 128))
    assert ellipse.shape == (128, 512)
    assert ellipse.mean() == pytest.approx(fixed_ellipse((256, 256)).mean(), rel=0.01)
    assert ellipse[55, 256] and not ellipse[110, 256]


@pytest.fixture(scope="module")
def floors(busi_raw: Path) -> dict[str, pd.DataFrame]:
    """Counts over the 647 tumour images of predictions that know the box, or nothing (METHOD 8.3 and 12)."""
    judged: dict[str, list[dict[str, int]]] = {"box": [], "whole": [], "ellipse_256": [], "ellipse": []}
    ellipse = fixed_ellipse((256, 256))
    for masks in mask_files([file for file in image_files(busi_raw) if file.parent.name != "normal"]):
        truth = joined(masks)
        y, x = np.flatnonzero(truth.any(1)), np.flatnonzero(truth.any(0))
        box = np.zeros_like(truth)
        box[y[0] : y[-1] + 1, x[0] : x[-1] + 1] = True
        judged["box"].append(counts(box, truth))
        judged["whole"].append(counts(np.ones_like(truth), truth))
        judged["ellipse_256"].append(counts(ellipse, resize_mask(truth, 256) > 0))
        judged["ellipse"].append(counts(fixed_ellipse((truth.shape[1], truth.shape[0])), truth))
    return {name: pd.DataFrame(rows) for name, rows in judged.items()}


@pytest.mark.busi
@pytest.mark.parametrize(
    ("prediction", "tumor_iou", "background_iou"),
    [("box", 71.9, 94.6), ("whole", 9.4, 0.0), ("ellipse_256", 18.5, 84.0), ("ellipse", 18.5, 84.0)],
)
def test_predictions_that_need_no_network_score_on_busi_as_published(floors, prediction, tumor_iou, background_iou):
    assert len(floors[prediction]) == 647
    scores = mean_scores(floors[prediction])
    assert scores.tumor_iou == pytest.approx(tumor_iou, abs=0.1)
    assert scores.background_iou == pytest.approx(background_iou, abs=0.1)


@pytest.mark.busi
def test_all_masks_of_an_image_are_joined(busi_raw: Path):
    several = [file for file in image_files(busi_raw) if (file.parent / f"{file.stem}_mask_1.png").exists()]
    numbers = [int(re.findall(r"\d+", file.stem)[0]) for file in several if file.parent.name == "benign"]
    assert numbers == [4, 25, 54, 58, 83, 92, 93, 98, 100, 163, 173, 181, 195, 315, 346, 424]
    assert len(several) == 17
    grown = 0
    for file, masks in zip(several, mask_files(several), strict=True):
        parts = [read_mask(part) for part in sorted(file.parent.glob(f"{file.stem}_mask*.png"))]
        truth = joined(masks)
        assert np.array_equal(truth, np.any(parts, axis=0))
        grown += truth.sum() > parts[0].sum()
    assert grown == 16  # the second mask of one image lies inside its first
