"""Tables I to III as views."""

import pandas as pd
import pytest

from bench.metrics import Scores
from bench.rows import ROWS, Row
from bench.tables import interval_text, iou_frame, iou_table, table1, table1_frame


def split() -> pd.DataFrame:
    rows = [
        ("b1", "benign", "N"),
        ("b2", "benign", "K"),
        ("m1", "malignant", "N"),
        ("n1", "normal", "N"),
        ("n2", "normal", "K"),
    ]
    return pd.DataFrame(rows, columns=["id", "category", "set"])


def selection() -> pd.DataFrame:
    return pd.DataFrame([("b1", "benign", True), ("m1", "malignant", False)], columns=["id", "category", "selected"])


def per_image(row: str, seed: int, hits: list[int]) -> pd.DataFrame:
    """Images of 100 pixels with 10 of tumour, of which `hits` are found."""
    return pd.DataFrame(
        [
            {"row": row, "split_seed": seed, "training_seed": 0, "tp": tp, "fp": 0, "fn": 10 - tp, "tn": 90}
            for tp in hits
        ]
    )


def test_table_1_counts_every_set():
    counts = table1(split(), selection())
    assert counts["entire"] == {"benign": 2, "malignant": 1, "normal": 2, "total": 5}
    assert counts["V"] == {"benign": 1, "malignant": 1, "normal": 0, "total": 2}
    assert counts["X"] == {"benign": 1, "malignant": 0, "normal": 0, "total": 1}
    assert counts["L"] == {"benign": 1, "malignant": 0, "normal": 0, "total": 1}
    assert counts["U"] == {"benign": 0, "malignant": 1, "normal": 0, "total": 1}


def test_a_table_of_ious_is_the_mean_over_images_and_then_over_seeds():
    table = pd.concat([per_image("gt_whole", 0, [10, 5]), per_image("gt_whole", 1, [0, 1])])
    headline, pooled = iou_table(table, ["gt_whole", "gt_subset"])
    assert headline["gt_whole"]["tumor_iou"] == pytest.approx((75 + 5) / 2)
    assert pooled["gt_whole"].tumor_iou == pytest.approx((75 + 5) / 2)
    assert headline["gt_subset"] == {"tumor_iou": None, "background_iou": None, "miou": None}


def test_values_have_two_decimals():
    headline, _ = iou_table(per_image("gt_whole", 0, [1, 1, 2]), ["gt_whole"])
    assert headline["gt_whole"]["tumor_iou"] == 13.33


def test_the_papers_numbers_stand_only_where_they_belong():
    headline = {"gt_whole": {"tumor_iou": 60.0, "background_iou": 90.0, "miou": 75.0}}
    pooled = {"gt_whole": Scores(61.0, 91.0)}
    beside = iou_frame(ROWS[:1], headline, pooled, with_paper=True).iloc[0]
    assert (beside["Tumor IoU (paper)"], beside["Difference"], beside["mIoU (pooled)"]) == ("67.9", "-7.90", "76.00")
    assert not any("paper" in name for name in iou_frame(ROWS[:1], headline, pooled, with_paper=False).columns)
    counts = table1(split(), selection())
    assert table1_frame(counts, with_paper=True).iloc[0]["Benign"] == "2 (437)"
    assert table1_frame(counts, with_paper=False).iloc[0]["Benign"] == "2"


def test_a_row_without_results_says_so():
    nothing = {"gt_subset": dict.fromkeys(("tumor_iou", "background_iou", "miou"))}
    frame = iou_frame(ROWS[1:2], nothing, {}, with_paper=True)
    assert frame.iloc[0]["Tumor IoU"] == "not runnable"
    assert frame.iloc[0]["Tumor IoU (pooled)"] == "not runnable"


def test_a_method_that_the_paper_does_not_have_stands_without_its_numbers():
    row = Row("seventh", "Seventh", "crf", "whole", None)
    headline = {"seventh": {"tumor_iou": 60.0, "background_iou": 90.0, "miou": 75.0}}
    line = iou_frame([row], headline, {"seventh": Scores(61.0, 91.0)}, with_paper=True).iloc[0]
    assert line["Tumor IoU"] == "60.00"
    assert (line["Tumor IoU (paper)"], line["Difference"], line["mIoU (paper)"]) == ("", "", "")


def test_further_cells_follow_the_tumour_iou():
    headline = {row.id: {"tumor_iou": 60.0, "background_iou": 90.0, "miou": 75.0} for row in ROWS[:2]}
    frame = iou_frame(ROWS[:2], headline, {}, with_paper=True, beside_tumor={ROWS[0].id: {"95 % interval": "5 to 7"}})
    assert list(frame.columns[2:5]) == ["Tumor IoU", "95 % interval", "Tumor IoU (paper)"]
    assert frame.iloc[0]["95 % interval"] == "5 to 7"


def test_an_interval_that_is_not_there_is_named():
    assert interval_text((1.04, 22.96)) == "1.0 to 23.0"
    assert interval_text(None) == "none"
