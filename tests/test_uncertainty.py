"""How intervals and comparisons are printed."""

import pytest

from bench.rows import ROWS
from bench.schema import SeedAxes
from bench.statistics import Comparison, Estimate, Spread
from bench.tables import METRICS
from bench.uncertainty import interval_cells, interval_note, interval_scalars, pairs_frame, spread_frame

ONE_RUN = SeedAxes(split=[0], training=[0])
TWO_RUNS = SeedAxes(split=[0, 1], training=[0])
ONE = Estimate(50.004, (45.126, 54.9), None)
TWO = Estimate(50.0, (45.0, 55.0), (-2.0, 102.0))


@pytest.mark.parametrize(
    ("estimate", "seeds", "cells"),
    [
        (ONE, ONE_RUN, {"95 % interval": "45.1 to 54.9"}),
        (TWO, TWO_RUNS, {"95 % interval": "45.0 to 55.0", "95 % interval, seeds": "-2.0 to 102.0"}),
        (ONE, TWO_RUNS, {"95 % interval": "45.1 to 54.9", "95 % interval, seeds": "none"}),
        (Estimate(50.0, None, None), ONE_RUN, {"95 % interval": "none"}),
        (None, TWO_RUNS, {"95 % interval": "not runnable", "95 % interval, seeds": "not runnable"}),
    ],
)
def test_cells_name_what_is_missing(estimate, seeds, cells):
    assert interval_cells(estimate, seeds) == cells


def test_one_seed_is_said_to_have_no_interval():
    assert "One seed: no interval over seeds" in interval_note(ONE_RUN, True)


@pytest.mark.parametrize(
    ("split", "training", "expected"),
    [
        ([0, 1, 2], [0], "t interval over 3 splits, whose"),
        ([0, 1, 2], [5, 6], "t interval over 3 splits of 2 trainings each, whose"),
        ([4], [0, 1], "t interval over 2 trainings of one split; others may differ more"),
    ],
)
def test_the_note_says_which_seed_the_interval_is_over(split, training, expected):
    seeds = SeedAxes(split=split, training=training)
    assert expected in interval_note(seeds, False)
    assert "lack runs" not in interval_note(seeds, False)
    assert interval_note(seeds, True).endswith(
        "Rows that lack runs: over the splits that they have, or the trainings of a single one."
    )


def test_the_spread_of_runs_names_missing_rows_and_what_one_run_cannot_tell():
    spreads = {"gt_whole": Spread(4, 50.0, 1.5, 0.0), "gt_subset": Spread(1, 40.0, None, None), "gt_mean_teacher": None}
    frame = spread_frame(ROWS[:3], spreads, SeedAxes(split=[0, 1], training=[0, 1]))
    assert frame.drop(columns="Method").to_numpy().tolist() == [
        ["gt_whole", "4 of 4", "50.00", "1.50", "0.00"],
        ["gt_subset", "1 of 4", "40.00", "none", "none"],
        ["gt_mean_teacher", "0 of 4", "not runnable", "none", "none"],
    ]


def test_scalars_are_there_where_intervals_are():
    ends = {"low": 45.13, "high": 54.9}
    assert interval_scalars({"a": dict.fromkeys(METRICS, ONE)}) == {
        "images": {"a": dict.fromkeys(METRICS, ends)},
        "seeds": {},
    }
    assert interval_scalars({"a": dict.fromkeys(METRICS, Estimate(1.0, None, None))}) == {"images": {}, "seeds": {}}
    assert interval_scalars({"a": dict.fromkeys(METRICS, TWO)})["seeds"]["a"]["miou"] == {"low": -2.0, "high": 102.0}


def test_pairs_show_both_p_values_and_name_missing_rows():
    frame = pairs_frame(
        {
            "II": [Comparison("a", "b", Estimate(-1.5, (-3.0, -0.1), None), 0.03, 0.06, "cannot tell")],
            "III": [Comparison("a", "gone", None, None, None, "cannot tell")],
        },
        seeds=ONE_RUN,
    )
    assert frame.to_dict("records") == [
        {
            "Table": "II",
            "Row": "a",
            "Against": "b",
            "Difference": "-1.50",
            "95 % interval": "-3.0 to -0.1",
            "p": "0.0300",
            "p (Holm)": "0.0600",
            "Verdict": "cannot tell",
        },
        {
            "Table": "III",
            "Row": "a",
            "Against": "gone",
            "Difference": "row missing",
            "95 % interval": "not runnable",
            "p": "",
            "p (Holm)": "",
            "Verdict": "cannot tell",
        },
    ]
