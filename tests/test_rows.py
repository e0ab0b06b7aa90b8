"""Rows of the tables as data, and where their predictions lie."""

import pytest

import bench.rows
from bench.methods import MethodSpec, methods
from bench.paths import Paths
from bench.rows import OURS, ROWS, control_rows, method_rows, oracle_rows, predictions, selection
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
    rows = [*ROWS, *method_rows(["both"]), *oracle_rows(["both"]), *control_rows(["inverted"], ["pseudo_subset"])]
    places = {row.id: predictions(PATHS, row, Seeds(1, 3)).as_posix() for row in rows}
    run = "split-1-training-3"
    assert len(set(places.values())) == len(rows)
    assert places["gt_whole"] == f"data/phantom/predictions/gt/gt_whole/{run}"
    assert places[OURS.id] == f"data/phantom/predictions/weak/pseudo_mean_teacher/{run}"
    assert places["both"] == f"data/phantom/predictions/weak/both/{run}"
    assert places["both_direct"] == f"data/phantom/cams/both/{run}/direct"
    assert places["inverted_pseudo_subset"] == f"data/phantom/predictions/controls/inverted_pseudo_subset/{run}"
    assert places["oracle_both"] == f"data/phantom/predictions/oracle/oracle_both/{run}"


def test_a_control_row_is_its_row_on_another_selection():
    rows = control_rows(["oracle_subset", "noise_cam"], ["pseudo_mean_teacher", "pseudo_subset"])
    assert [(row.id, row.method, row.images) for row in rows] == [
        ("oracle_subset_pseudo_subset", "pseudo_subset", "subset"),
        ("oracle_subset_pseudo_mean_teacher", "pseudo_mean_teacher", "mean_teacher"),
        ("noise_cam_pseudo_subset", "pseudo_subset", "subset"),
        ("noise_cam_pseudo_mean_teacher", "pseudo_mean_teacher", "mean_teacher"),
    ]
    assert all(row.paper is None and row.labels == "pseudo" for row in rows)
    assert selection(PATHS, rows[0]).as_posix() == "data/phantom/controls/oracle_subset"
    assert selection(PATHS, OURS) == PATHS.selection


def test_the_settings_know_the_rows_of_table_2():
    assert tuple(row.id for row in ROWS) == ABLATION
