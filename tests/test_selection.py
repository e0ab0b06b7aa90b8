"""Algorithm 1: what it selects, its corner cases, and the rule that makes L."""

from fractions import Fraction

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from bench.selection import (
    Roi,
    Selection,
    Stability,
    box_iou,
    choose,
    most_stable,
    quantise,
    region,
    stability,
    threshold_level,
)

SIZE = (560, 470)
PAPER = {"alpha1": 2.5, "alpha2": 1.0, "upper_level": 250}


def gaussian(centres, width, side=64):
    y, x = np.mgrid[:side, :side] / side
    return sum(np.exp(-((x - u) ** 2 + (y - v) ** 2) / (2 * width**2)) for u, v in centres)


def ring(radius, width, side=64):
    y, x = np.mgrid[:side, :side] / side
    return np.exp(-(((np.hypot(x - 0.5, y - 0.5) - radius) / width) ** 2) / 2)


def cone(side=64):
    y, x = np.mgrid[:side, :side] / side
    return np.maximum(0, 1 - np.hypot(x - 0.5, y - 0.5) / 0.4)


# METHOD 10a: the boxes of one blob with similar level sets have an IoU of alpha2 / alpha1, however sharp it is.
@pytest.mark.parametrize(
    "cam", [cone(), gaussian([(0.45, 0.5)], 0.05), gaussian([(0.45, 0.5)], 0.1), gaussian([(0.5, 0.4)], 0.2)]
)
def test_a_single_smooth_blob_is_rejected(cam):
    assert stability(cam, SIZE, **PAPER).iou == pytest.approx(0.40, abs=0.025)


@pytest.mark.parametrize(("alpha1", "alpha2"), [(10.0, 7.0), (10.0, 5.0), (5.0, 1.0)])
def test_the_iou_of_a_single_blob_is_the_ratio_of_the_alphas(alpha1, alpha2):
    assert stability(cone(), SIZE, alpha1, alpha2, 250).iou == pytest.approx(alpha2 / alpha1, abs=0.02)


@pytest.mark.parametrize(("radius", "width"), [(0.2, 0.01), (0.25, 0.02), (0.3, 0.03)])
def test_a_ring_is_selected(radius, width):
    assert stability(ring(radius, width), SIZE, **PAPER).iou > 0.8


@pytest.mark.parametrize("width", [0.1, 0.12])
def test_two_broad_peaks_are_rejected(width):
    cam = gaussian([(0.3, 0.5), (0.7, 0.5)], width)
    assert stability(cam, SIZE, **PAPER).iou == pytest.approx(0.57, abs=0.03)


def test_a_saturated_cam_has_no_region():
    result = stability((ring(0, 0.2) > 0.7).astype(float), SIZE, **PAPER)
    assert (result.broad.reason, result.narrow.reason, result.iou) == ("saturated", "saturated", None)


def test_a_flat_top_has_an_empty_region():
    levels = np.zeros((100, 100), np.uint8)
    levels[:40, :10] = 251  # 4 % of the pixels: above both alphas, so T = 252
    roi = region(levels, 2.5, 250)
    assert (roi.level, roi.box, roi.reason) == (252, None, "empty")


def test_the_broad_region_may_exist_without_the_narrow_one():
    result = stability(gaussian([(0.45, 0.5)], 0.3), SIZE, **PAPER)
    assert result.broad.box
    assert (result.broad.reason, result.narrow.reason, result.iou) == ("", "empty", None)


def test_pixels_above_the_cap_do_not_widen_the_box():
    levels = np.zeros((100, 100), np.uint8)
    levels[50, 40:61] = 200
    levels[0, 0] = 251
    assert region(levels, 1.0, 250).box == (40, 50, 60, 50)
    assert region(levels, 1.0, 251).box == (0, 0, 60, 50)


def test_a_constant_cam_has_no_region():
    result = stability(np.full((8, 8), 0.3), SIZE, **PAPER)
    assert result.iou is None
    assert result.broad.reason == "empty"


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
def test_a_cam_that_is_not_finite_is_refused(value):
    cam = cone()
    cam[3, 4] = value
    with pytest.raises(ValueError, match="not finite"):
        stability(cam, SIZE, **PAPER)


def test_levels_are_rounded_and_span_0_to_255_for_any_range():
    cam = np.array([[-2.0, -1.0], [0.0, 2.0]])
    assert quantise(cam).tolist() == [[0, 64], [128, 255]]
    assert np.array_equal(quantise(cam * 1e-6 + 5), quantise(cam))


def test_both_regions_at_one_level_agree_fully():
    levels = np.zeros((100, 100), np.uint8)
    levels[10:50, 30:50] = 90  # 8 %: too many for 2.5 % and for 1 %
    levels[20:24, 40:45] = 200  # 0.2 %
    broad, narrow = region(levels, 2.5, 250), region(levels, 1.0, 250)
    assert broad.level == narrow.level == 91
    assert box_iou(broad.box, narrow.box) == 1.0


def brute_force_level(levels: np.ndarray, alpha: float) -> int | None:
    """The paper's line 3 in exact arithmetic: the smallest i with C(i) <= alpha percent of the pixels."""
    for level in range(256):
        if int((levels >= level).sum()) * 100 <= Fraction(str(alpha)) * levels.size:
            return level
    return None


LEVELS = hnp.arrays(
    np.uint8,
    hnp.array_shapes(min_dims=2, max_dims=2, min_side=1, max_side=40),
    elements=st.integers(0, 255),
    fill=st.integers(0, 255),
)


@given(LEVELS, st.sampled_from([1.0, 2.0, 2.5, 5.0, 7.0, 10.0, 15.0, 20.0, 50.0]))
def test_the_level_is_the_smallest_that_is_rare_enough(levels, alpha):
    assert threshold_level(levels, alpha) == brute_force_level(levels, alpha)


def test_exactly_alpha_percent_is_rare_enough():
    levels = np.zeros((20, 50), np.uint8)
    levels.flat[:25] = 7  # 2.5 % of 1000
    assert threshold_level(levels, 2.5) == 1
    levels.flat[25] = 7
    assert threshold_level(levels, 2.5) == 8


@given(LEVELS, st.floats(0.5, 49.0), st.floats(0.5, 49.0), st.integers(0, 255))
def test_regions_are_nested(levels, one, other, cap):
    broad, narrow = region(levels, max(one, other), cap), region(levels, min(one, other), cap)
    if narrow.box:
        assert broad.box
        assert broad.box[0] <= narrow.box[0] and broad.box[1] <= narrow.box[1]
        assert broad.box[2] >= narrow.box[2] and broad.box[3] >= narrow.box[3]


@pytest.mark.parametrize("seed", range(300))
def test_regions_of_random_cams_are_nested_and_inside_the_image(seed):
    random = np.random.default_rng(seed)
    width, height = (int(side) for side in random.integers(20, 120, 2))
    result = stability(random.random((int(random.integers(2, 20)),) * 2) ** 3, (width, height), **PAPER)
    if result.iou is None:
        return
    (x0, y0, x1, y1), (u0, v0, u1, v1) = result.broad.box, result.narrow.box
    assert 0 <= x0 <= u0 <= u1 <= x1 < width
    assert 0 <= y0 <= v0 <= v1 <= y1 < height
    assert result.iou == pytest.approx((u1 - u0 + 1) * (v1 - v0 + 1) / ((x1 - x0 + 1) * (y1 - y0 + 1)))


@pytest.mark.parametrize(
    ("a", "b", "iou"),
    [
        ((0, 0, 9, 9), (0, 0, 9, 9), 1.0),
        ((0, 0, 9, 9), (0, 0, 4, 9), 0.5),
        ((0, 0, 9, 9), (5, 5, 14, 14), 25 / 175),
        ((0, 0, 9, 9), (10, 0, 19, 9), 0.0),
        ((3, 3, 3, 3), (20, 20, 21, 21), 0.0),
    ],
)
def test_box_iou_counts_inclusive_pixels(a, b, iou):
    assert box_iou(a, b) == box_iou(b, a) == pytest.approx(iou)


BOX = Roi(10, (0, 0, 9, 9))


def found(iou: float) -> Stability:
    return Stability(BOX, BOX, iou)


MISSING = Stability(BOX, Roi(None, None), None)


def chosen(results, ids=None, **changes) -> Selection:
    options = {
        "rule": "threshold",
        "iou_threshold": 0.7,
        "top_fraction": 0.5,
        "fallback": "top_fraction",
        "batch_size": 2,
    }
    return choose(ids or [str(index) for index in range(len(results))], results, **(options | changes))


def test_an_iou_equal_to_the_threshold_is_not_above_it():
    selection = chosen([found(0.7), found(np.nextafter(0.7, 1)), found(0.9)])
    assert selection.selected == [False, True, True]
    assert selection.rule == "threshold"
    assert selection.reasons == ["IoU too low", "IoU above threshold", "IoU above threshold"]


def test_a_missing_region_is_never_selected_and_says_why():
    neither = Stability(Roi(255, None), Roi(None, None), None)
    for rule in ("threshold", "top_fraction"):
        selection = chosen([found(0.9), found(0.8), MISSING, neither], rule=rule, top_fraction=1.0)
        assert selection.selected == [True, True, False, False]
        assert selection.reasons[2:] == [
            "no ROI at alpha2: saturated",
            "no ROI at alpha1: empty; no ROI at alpha2: saturated",
        ]


def test_the_top_fraction_is_a_share_of_all_images():
    results = [MISSING] * 5 + [found(0.1), found(0.5), found(0.2), found(0.4), found(0.3)]
    selection = chosen(results, rule="top_fraction", top_fraction=0.3)
    assert selection.selected == [False] * 6 + [True, False, True, True]
    assert selection.rule == "top_fraction"
    assert selection.reasons[5:7] == ["not among the most stable", "among the most stable"]


def test_the_papers_share_of_v_gives_the_papers_l():
    ids = [str(index) for index in range(518)]
    assert sum(most_stable(ids, [found(0.5)] * 518, 0.317)) == 164


def test_too_small_an_l_falls_back_to_rank():
    selection = chosen([found(0.9), found(0.2), found(0.3), MISSING])
    assert selection.selected == [True, False, True, False]
    assert selection.rule == "top_fraction"


def test_too_small_an_l_without_fallback_is_reported():
    selection = chosen([found(0.9), found(0.2), found(0.3), MISSING], fallback="none")
    assert selection.selected == [True, False, False, False]
    assert selection.rule == "none"


def test_a_fallback_that_is_too_small_is_reported():
    selection = chosen([found(0.2), MISSING, MISSING, MISSING])
    assert selection.rule == "none"


@given(st.permutations(range(12)), st.lists(st.sampled_from([0.2, 0.5]), min_size=12, max_size=12))
def test_ties_do_not_depend_on_the_order_of_the_images(order, ious):
    ids = [f"benign ({index})" for index in range(12)]
    results = [found(iou) for iou in ious]
    flags = dict(zip(ids, most_stable(ids, results, 0.4), strict=True))
    moved = most_stable([ids[index] for index in order], [results[index] for index in order], 0.4)
    assert sum(moved) == 5
    assert moved == [flags[ids[index]] for index in order]
