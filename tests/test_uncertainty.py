"""How intervals and comparisons are printed."""

import pytest

from bench.statistics import Comparison, Estimate
from bench.tables import METRICS
from bench.uncertainty import interval_cells, interval_note, interval_scalars, pairs_frame

ONE = Estimate(50.004, (45.126, 54.9), None)
TWO = Estimate(50.0, (45.0, 55.0), (-2.0, 102.0))


@pytest.mark.parametrize(
    ("estimate", "seeds", "cells"),
    [
        (ONE, 1, {"95 % interval": "45.1 to 54.9"}),
        (TWO, 2, {"95 % interval": "45.0 to 55.0", "95 % interval, seeds": "-2.0 to 102.0"}),
        (ONE, 2, {"95 % interval": "45.1 to 54.9", "95 % interval, seeds": "none"}),
        (Estimate(50.0, None, None), 1, {"95 % interval": "none"}),
        (None, 2, {"95 % interval": "not runnable", "95 % interval, seeds": "not runnable"}),
    ],
)
def test_cells_name_what_is_missing(estimate, seeds, cells):
    assert interval_cells(estimate, seeds) == cells


def test_one_seed_is_said_to_have_no_interval():
    assert "One seed: no interval over seeds" in interval_note(1)
    assert "t interval over 5 seeds" in interval_note(5)


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
        seeds=1,
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
