"""Judging the masks that no network made, boxes of prompts, and the classifier."""

import numpy as np
import pandas as pd
import pytest
from PIL import Image

from bench.boxes import CORNERS
from bench.data.images import ORIGINALS
from bench.evaluation import (
    classifier_accuracy,
    classifier_auc,
    filled_box,
    judge_bounds,
    judge_predictions,
    judge_pseudo_masks,
    larger_class,
    peak_in_lesion,
    prompt_iou,
    true_box,
)
from bench.metrics import per_image_iou


def lesions() -> np.ndarray:
    """Two lesions, 40 wide and 60 high."""
    truth = np.zeros((60, 40), bool)
    truth[10:20, 5:15] = truth[30:40, 20:30] = True
    return truth


@pytest.fixture
def masks(tmp_path):
    """A masks folder with one image of two lesions and one without any."""
    (tmp_path / ORIGINALS).mkdir()
    Image.fromarray(lesions()).save(tmp_path / ORIGINALS / "two.png")
    Image.fromarray(np.zeros((60, 40), bool)).save(tmp_path / ORIGINALS / "none.png")
    return tmp_path


def test_the_box_goes_around_all_lesions():
    assert true_box(lesions()) == (5, 10, 29, 39)
    assert filled_box(lesions()).sum() == 25 * 30
    assert filled_box(lesions())[10:40, 5:30].all()


def test_no_lesion_has_no_box():
    nothing = np.zeros((60, 40), bool)
    assert true_box(nothing) is None
    assert not filled_box(nothing).any()


def test_bounds_are_judged_at_the_original_size(masks):
    judged = judge_bounds(pd.DataFrame({"id": ["two"], "category": ["benign"]}), masks)
    ious = per_image_iou(judged).set_axis(judged["row"])["tumor_iou"]
    assert ious["filled_box"] == pytest.approx(100 * 200 / (25 * 30))
    assert ious["whole_image"] == pytest.approx(100 * 200 / 2400)
    assert set(ious.index) == {"fixed_ellipse", "filled_box", "whole_image"}


def test_prompts_are_held_against_the_true_box(masks):
    boxes = [("two", 5, 10, 29, 39), ("two", 5, 10, 29, 24), ("two", *[np.nan] * 4), ("none", 0, 0, 9, 9)]
    found = prompt_iou(pd.DataFrame(boxes, columns=["id", *CORNERS]), masks)
    assert found == [100.0, pytest.approx(50.0), 0.0, 0.0]


# id: width, height and the columns [x, x + 8) that are lesion, all of them apart.
IMAGES = {"left": (32, 32, 0), "middle": (64, 32, 28), "right": (32, 64, 24)}


@pytest.fixture
def three(tmp_path):
    """A masks folder of three images of different sizes, and an item's folder whose order is not the index's."""
    truth, item = tmp_path / "masks", tmp_path / "item"
    for folder in (truth, item):
        (folder / ORIGINALS).mkdir(parents=True)
    for name, (width, height, start) in IMAGES.items():
        mask = np.zeros((height, width), bool)
        mask[:, start : start + 8] = True
        Image.fromarray(mask).save(truth / ORIGINALS / f"{name}.png")
        # Half of the lesion, and nothing else.
        mask[: height // 2] = False
        Image.fromarray(mask).save(item / ORIGINALS / f"{name}.png")
    order = ["right", "left", "middle"]
    pd.DataFrame({"id": order}).to_csv(item / "ids.csv", index=False)
    # Squashed to 32 x 32, as every network sees them.
    maps = np.zeros((3, 32, 32), np.float16)
    for row, name in enumerate(order):
        width, _, start = IMAGES[name]
        maps[row, :, start * 32 // width : (start + 8) * 32 // width] = 0.9
    np.save(item / "probabilities.npy", maps)
    np.save(item / "cams.npy", maps.astype(np.float32) + np.eye(32, dtype=np.float32) * 0.01)
    index = pd.DataFrame({"id": sorted(IMAGES), "category": ["benign", "malignant", "benign"]})
    return truth, item, index


def test_a_prediction_is_held_against_the_mask_of_its_own_image(three):
    truth, item, index = three
    judged = judge_predictions(item, truth, index).set_index("id")
    assert dict(judged["category"]) == {"left": "benign", "middle": "malignant", "right": "benign"}
    for name, (width, height, _) in IMAGES.items():
        tp, fp, fn, tn = judged.loc[name, ["tp", "fp", "fn", "tn"]]
        assert tp + fp + fn + tn == width * height
        # Upsampling may round the edge of a lesion, not find another image's.
        assert tp >= 7 * height, name
        assert fp + fn <= height, name


def test_a_pseudo_mask_is_held_against_the_mask_of_its_own_image(three):
    truth, item, _ = three
    images = pd.DataFrame({"id": list(IMAGES), "category": "benign", "selected": [True, False, True]})
    judged = judge_pseudo_masks(item, images, truth)
    assert list(judged.columns) == ["id", "category", "selected", "tp", "fp", "fn", "tn"]
    for line, (width, height, _) in zip(judged.itertuples(), IMAGES.values(), strict=True):
        assert (line.tp, line.fp, line.fn) == (8 * height // 2, 0, 8 * height // 2)
        assert line.tn == (width - 8) * height


def test_a_peak_is_looked_for_in_the_lesion_of_its_own_image(three):
    truth, item, _ = three
    assert dict(peak_in_lesion(item, truth)) == dict.fromkeys(IMAGES, True)
    maps = np.load(item / "cams.npy")
    np.save(item / "cams.npy", maps[[1, 0, 2]])
    assert dict(peak_in_lesion(item, truth)) == {"left": False, "middle": True, "right": False}


def classified(folder, labels, logits):
    table = {"set": "K", "label": labels, "logit_normal": 0.0, "logit_tumour": logits}
    pd.DataFrame(table).to_csv(folder / "classification.csv", index=False)
    return folder


def test_the_auc_ranks_by_the_logits_difference(tmp_path):
    folder = classified(tmp_path, [0, 0, 1, 1], [-2.0, 1.0, 0.5, 3.0])
    assert classifier_auc(folder) == 75.0
    assert classifier_accuracy(folder) == 75.0
    assert larger_class(folder) == 50.0


def test_one_class_alone_has_no_auc(tmp_path):
    folder = classified(tmp_path, [1, 1, 1], [-2.0, 1.0, 0.5])
    assert classifier_auc(folder) is None
    assert larger_class(folder) == 100.0
