"""Controls against the rows they control, and gaps by name."""

import numpy as np
import pandas as pd

from bench.control_table import BOUNDS, controls_frame, gap
from bench.controls import WHAT
from bench.rows import control_rows
from bench.schema import SeedAxes
from bench.statistics import compare, row_estimates
from tests.counts import counts_of

RANDOM = np.random.default_rng(0)
IOUS = RANDOM.uniform(20, 80, 60)
ROWS = control_rows(["random_subset", "oracle_subset"], ["pseudo_subset"])


def frame(per_image: pd.DataFrame, rows=ROWS) -> pd.DataFrame:
    found = row_estimates(per_image, [*(row.id for row in rows), "pseudo_subset", *BOUNDS])
    pairs = compare(per_image, [(row.id, row.method) for row in rows])
    return controls_frame(rows, found, pairs, "SAM", SeedAxes(split=[0], training=[0])).set_index("Row")


def test_each_control_is_held_against_its_row():
    better = np.clip(IOUS + RANDOM.uniform(5, 15, 60), 0, 99)
    per_image = pd.concat(
        [
            counts_of("pseudo_subset", IOUS),
            counts_of("random_subset_pseudo_subset", IOUS),
            counts_of("oracle_subset_pseudo_subset", better),
        ]
    )
    table = frame(per_image)
    assert table.loc["oracle_subset_pseudo_subset", "Verdict"] == "better"
    assert float(table.loc["oracle_subset_pseudo_subset", "Difference"]) > 4
    assert table.loc["random_subset_pseudo_subset", ["Difference", "Verdict"]].tolist() == ["+0.00", "cannot tell"]
    assert table.loc["pseudo_subset", "Against"] == ""
    assert table.loc["noise_cam", "Tumor IoU"] == "not trained"
    assert table.loc["oracle_box", "Tumor IoU"] == "not judged"
    assert "prompt to SAM" in table.loc["oracle_box", "What"]


def test_a_control_without_results_is_named():
    table = frame(counts_of("pseudo_subset", IOUS))
    line = table.loc["random_subset_pseudo_subset"]
    assert line["Tumor IoU"] == line["mIoU"] == line["95 % interval"] == "not runnable"
    assert (line["Difference"], line["Verdict"]) == ("", "cannot tell")


def test_without_any_control_all_are_named():
    table = frame(counts_of("pseudo_subset", IOUS), [])
    assert list(table.index) == [*WHAT, *BOUNDS]
    assert gap([]).endswith("random_subset, noise_cam, inverted, oracle_subset.")
    assert gap(control_rows(list(WHAT), ["pseudo_subset"])) == ""


def test_one_test_image_has_values_and_no_interval():
    table = frame(counts_of("pseudo_subset", [50.0]))
    assert table.loc["pseudo_subset", ["Tumor IoU", "95 % interval"]].tolist() == ["50.00", "none"]
