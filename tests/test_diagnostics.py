"""The table of diagnostics: its values, and that what cannot be said is named."""

from typing import Any

import numpy as np
import pandas as pd
import pytest

from bench.diagnostics import diagnostics_frame
from bench.noise import PAPER_RULE, box_ious, compact_blob, smooth_noise, sweep
from bench.schema import Noise
from bench.seeds import Seeds

LEARNT = {
    **Seeds(0, 0).columns,
    "classifier_accuracy_K": 90.0,
    "classifier_auc_K": 95.0,
    "larger_class_K": 80.0,
    "cam_peak_in_lesion_V": 50.0,
    "cam_smoothness_V": 0.1,
    "noise_sigma_V": 0.12,
}


def images(count: int, selected: int) -> pd.DataFrame:
    """V, of which the first `selected` images are L; stability says exactly how good the pseudo-mask is."""
    good = np.linspace(90, 10, count)
    return pd.DataFrame(
        {
            **Seeds(0, 0).columns,
            "id": [f"image {number}" for number in range(count)],
            "category": "benign",
            "selected": np.arange(count) < selected,
            "reason": ["taken"] * selected + ["left"] * (count - selected),
            "stability": good / 100,
            "prompt_iou": good / 2,
            "mask_iou": good,
            "random_subset": np.arange(count) % 2 == 0,
        }
    )


@pytest.fixture(scope="module")
def maps() -> dict[str, pd.DataFrame]:
    drawn = smooth_noise(np.random.default_rng(0), 10, 32, 0.1)
    size = [(64, 64)]
    boxes = [
        box_ious([PAPER_RULE], drawn, size).assign(source=source, **Seeds(0, 0).columns) for source in ("cams", "noise")
    ]
    return {
        "stability": pd.concat(boxes),
        "noise": sweep([PAPER_RULE], Noise(maps=5, sigmas=[0.05, 0.2]), 32, size),
        "blob": box_ious([PAPER_RULE], compact_blob(128)[None], [(128, 128)]),
    }


def table(selection: pd.DataFrame, maps: dict[str, pd.DataFrame], groups: Any = None, **learnt: Any) -> pd.DataFrame:
    frame = diagnostics_frame([LEARNT | learnt], selection, **maps, groups=groups or {})
    return frame.set_index("Quantity")


def test_quality_stands_for_v_l_u_and_the_controls(maps):
    found = table(images(41, 10), maps)
    for name, count, value in (("V", 41, "50.0"), ("L", 10, "81.0"), ("U", 31, "40.0"), ("random_subset", 21, "50.0")):
        line = found.loc[f"pseudo-mask IoU, {name} (%)"]
        assert (line["Images"], line["Value"]) == (str(count), value)
    assert found.loc["prompt's box IoU, V (%)", "Value"] == "25.0"
    low, high = map(float, found.loc["pseudo-mask IoU, V (%)", "95 % interval"].split(" to "))
    assert low < 50 < high
    assert found.loc["pseudo-mask IoU, L (%)", "95 % interval"] == ""  # ten images are too few


def test_a_score_that_ranks_the_masks_has_an_auroc_of_1_and_its_opposite_0(maps):
    selection = images(41, 10)
    line = "AUROC for a good pseudo-mask, V"
    assert table(selection, maps).loc[line, ["Value", "95 % interval"]].tolist() == ["1.000", "1.000 to 1.000"]
    selection["stability"] = 1 - selection["stability"]
    assert table(selection, maps).loc[line, "Value"] == "0.000"


def test_images_without_both_regions_rank_lowest(maps):
    selection = images(41, 10)
    selection.loc[selection["mask_iou"] <= 50, "stability"] = np.nan
    assert table(selection, maps).loc["AUROC for a good pseudo-mask, V", "Value"] == "1.000"


def test_the_auroc_has_an_interval_over_whole_groups(maps):
    selection = images(60, 20)
    selection["stability"] = np.random.default_rng(0).permutation(selection["stability"])
    line = "AUROC for a good pseudo-mask, V"
    low, high = map(float, table(selection, maps).loc[line, "95 % interval"].split(" to "))
    assert 0 < low < float(table(selection, maps).loc[line, "Value"]) < high < 1
    few = {image: str(number // 10) for number, image in enumerate(selection["id"])}
    assert table(selection, maps, few).loc[line, "95 % interval"] == ""


@pytest.mark.parametrize(("selected", "empty"), [(0, "L"), (12, "U")])
def test_an_empty_set_is_named(maps, selected, empty):
    found = table(images(12, selected), maps)
    assert found.loc[f"pseudo-mask IoU, {empty} (%)", ["Images", "Value"]].tolist() == ["0", "none: no image"]


def test_one_image_and_one_class_are_named_and_nothing_is_nan(maps):
    found = table(images(1, 1), maps, classifier_auc_K=None)
    assert found.loc["AUC on K (%)", "Value"] == "none: K has one class alone"
    assert found.loc["AUROC for a good pseudo-mask, V", "Value"] == "none: all pseudo-masks are equally good"
    assert not found.astype(str).apply(lambda column: column.str.contains("nan")).any().any()


def test_maps_without_regions_are_named(maps):
    flat = {name: part.assign(iou=np.nan) if "iou" in part else part for name, part in maps.items()}
    found = table(images(41, 10), flat)
    chance = next(line for line in found.index if line.startswith("chance"))
    assert found.loc[chance, "Value"] == "none: no CAM, or no noise, has both"
    blob = next(line for line in found.index if "blob" in line)
    assert found.loc[blob, "Value"] == "none: a region is missing: rejected"


def test_the_blob_is_said_to_be_rejected(maps):
    blob = next(line for line in table(images(41, 10), maps).index if "blob" in line)
    assert "alpha2 / alpha1 is 0.40" in blob
    assert table(images(41, 10), maps).loc[blob, "Value"].endswith(": rejected")


def test_reasons_are_counted(maps):
    found = table(images(40, 10), maps)
    assert found.loc["reason: taken (% of V)", ["Images", "Value"]].tolist() == ["10", "25.0"]
