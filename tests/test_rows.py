"""Rows of the tables as data, and where their predictions lie."""

import pytest

import bench.rows
from bench.methods import MethodSpec, methods
from bench.paths import Paths
from bench.rows import OURS, ROWS, method_rows, oracle_rows, predictions
from bench.schema import ABLATION, MethodSettings
from bench.seeds import Seeds

PATHS = Paths("phantom")


@pytest.fixture
def invented(monkeypatch: pytest.MonkeyPatch) -> None:
    """Three methods that give CAMs, masks, or both."""
    functions = {"maps": {"cams"}, "shapes": {"segment"}, "both": {"cams", "segment"}}
    specs = {
        name: MethodSpec(name, name.upper(), None, MethodSettings, 0.5, "image", "MIT", "invented")
        for name in functions
    }
    monkeypatch.setattr(bench.rows, "methods", lambda: specs)
    monkeypatch.setattr(bench.rows, "gives", lambda name, what: what in functions[name])


def test_a_method_has_a_row_for_its_cams_and_one_for_its_masks(invented):
    rows = method_rows(["both", "shapes", "maps"])
    assert [(row.id, row.labels) for row in rows] == [
        ("both", "crf"),
        ("both_direct", "direct"),
        ("shapes_direct", "direct"),
        ("maps", "crf"),
    ]
    assert rows[1].label == "BOTH, its own masks"
    assert all(row.paper is None and not row.needs_selection for row in rows)


def test_the_papers_numbers_come_with_the_method():
    for row in method_rows(methods()):
        spec = methods()[row.id.removesuffix("_direct")]
        assert row.paper == (spec.paper and (spec.paper["tumor_iou"], spec.paper["background_iou"], spec.paper["miou"]))


def test_every_kind_of_row_has_a_place_of_its_own(invented):
    rows = [*ROWS, *method_rows(["both"]), *oracle_rows(["both"])]
    places = {row.id: predictions(PATHS, row, Seeds(1, 3)).as_posix() for row in rows}
    assert len(set(places.values())) == len(rows)
    assert places["gt_whole"] == "data/phantom/predictions/gt/gt_whole/split-1-training-3"
    assert places[OURS.id] == "data/phantom/predictions/weak/pseudo_mean_teacher/split-1-training-3"
    assert places["both"] == "data/phantom/predictions/weak/both/split-1-training-3"
    assert places["both_direct"] == "data/phantom/cams/both/split-1-training-3/direct"
    assert places["oracle_both"] == "data/phantom/predictions/oracle/oracle_both/split-1-training-3"


def test_the_settings_know_the_rows_of_table_2():
    assert tuple(row.id for row in ROWS) == ABLATION
