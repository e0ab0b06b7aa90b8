"""A grid of Algorithm 1's settings gives what bench.selection gives, cell by cell."""

import numpy as np
import pytest

from bench.selection import Roi, box_iou, choose, quantise, region, stability
from bench.sweep import Axes, Rules, Swept, regions, rows

SIZE = (61, 47)
AXES = Axes((10.0, 30.0), (5.0, 10.0, 20.0), (0.3, 0.6))
RULES = Rules(top_fraction=0.4, batch_size=3)


def cam(seed: int) -> np.ndarray:
    """A smooth map of two bumps, 16 x 16."""
    draw = np.random.default_rng(seed)
    y, x = np.mgrid[:16, :16]
    bumps = [np.exp(-((x - a) ** 2 + (y - b) ** 2) / w) for a, b, w in draw.uniform(3, 13, (2, 3))]
    return (bumps[0] + draw.uniform(0, 1) * bumps[1]).astype(np.float32)


CAMS = [*(cam(seed) for seed in range(20)), np.zeros((16, 16), np.float32), np.eye(16, dtype=np.float32)]


@pytest.mark.parametrize("upper_level", [250, 255, 100])
def test_all_regions_of_a_map_are_those_of_algorithm_1(upper_level):
    import cv2

    for each in CAMS:
        levels = quantise(cv2.resize(each, SIZE, interpolation=cv2.INTER_LINEAR))
        alphas = [0.5, 1.0, 2.5, 10.0, 60.0]
        expected = {alpha: region(levels, alpha, upper_level) for alpha in alphas}
        assert regions(each, SIZE, alphas, upper_level) == expected


@pytest.fixture
def images() -> list[Swept]:
    alphas = sorted({*AXES.alpha1, *AXES.alpha2})
    return [
        Swept(
            f"image {number}", "benign" if number % 3 else "malignant", regions(each, SIZE, alphas, 250), (5, 5, 30, 30)
        )
        for number, each in enumerate(CAMS)
    ]


def test_every_possible_cell_is_the_selection_at_its_settings(images):
    table = list(rows(images, AXES, RULES, {}))
    cells = [(row["alpha1"], row["alpha2"], row["iou_threshold"]) for row in table]
    pairs = [(10.0, 5.0), (30.0, 5.0), (30.0, 10.0), (30.0, 20.0)]
    assert cells == [(*pair, threshold) for pair in pairs for threshold in AXES.iou_threshold]
    assert AXES.impossible() == [(10.0, 10.0), (10.0, 20.0)]
    for row in table:
        results = [stability(each, SIZE, row["alpha1"], row["alpha2"], 250) for each in CAMS]
        common = {"top_fraction": 0.4, "fallback": "none", "batch_size": 3, "iou_threshold": row["iou_threshold"]}
        ids = [image.id for image in images]
        chosen = choose(ids, results, rule="threshold", **common)
        assert row["selected"] == sum(chosen.selected) == row["benign"] + row["malignant"]
        assert row["trainable"] == (chosen.rule == "threshold")
        assert row["ranked"] == sum(choose(ids, results, rule="top_fraction", **common).selected)
        assert row["without_roi"] == sum(result.iou is None for result in results)
        fits = [100 * box_iou(result.broad.box, (5, 5, 30, 30)) if result.broad.box else 0.0 for result in results]
        assert row["box_iou_V"] == pytest.approx(np.mean(fits), abs=0.01)
        inside = [fit for fit, flag in zip(fits, chosen.selected, strict=True) if flag]
        assert row["box_iou_L"] == (pytest.approx(np.mean(inside), abs=0.01) if inside else None)


def test_the_quality_of_masks_stands_where_there_are_masks(images):
    ious = {10.0: [float(number) for number in range(len(images))]}
    table = list(rows(images, AXES, RULES, ious))
    for row in table:
        if row["alpha1"] == 10.0:
            assert row["mask_iou_V"] == 10.5
        else:
            assert (row["mask_iou_V"], row["mask_iou_L"], row["mask_iou_U"]) == (None, None, None)


def test_a_map_without_regions_and_an_image_without_a_lesion_are_no_crash():
    nothing = Swept("empty", "benign", dict.fromkeys((10.0, 5.0), Roi(None, None)), None)
    (row,) = rows([nothing], Axes((10.0,), (5.0,), (0.7,)), RULES, {})
    assert (row["selected"], row["without_roi"], row["box_iou_L"], row["box_iou_V"]) == (0, 1, None, None)
