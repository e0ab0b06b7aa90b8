"""The diary of stages: one line a stage that ended, the latest one counts."""

import pytest

from bench.timings import latest, recorded


def test_the_latest_line_of_each_stage_counts(tmp_path):
    diary = tmp_path / "deep" / "timings.csv"
    for profile, stage in [("a", "split"), ("b", "split"), ("a", "cams"), ("a", "split")]:
        with recorded(profile, stage, diary):
            pass
    found = latest("a", diary)
    assert list(found["stage"]) == ["cams", "split"]
    assert (found["seconds"] < 1).all()
    assert (found["peak_mib"] > 1).all()


def test_a_stage_that_failed_leaves_no_line(tmp_path):
    with pytest.raises(ValueError, match="no"), recorded("a", "split", tmp_path / "timings.csv"):
        raise ValueError("no")
    assert not len(latest("a", tmp_path / "timings.csv"))
