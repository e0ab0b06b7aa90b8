"""What is computed again after a change of a tiny profile's settings or of the code, and what is not."""

import json
import re
import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest

from bench import sources
from bench.cli import main
from tests.tiny import CONTROL_ROWS, DATA, METHODS, PROFILE, REPORTS, WEAK_ROWS, params, read_metrics, run, write_params


@pytest.mark.parametrize(
    ("stage", "items"), [("cams", 3), ("segmenter", 1), ("pseudo", 1), ("crf", 3), ("train_gt", 3), ("train_weak", 6)]
)
def test_a_stage_that_is_run_again_computes_nothing(stage, items, copied, capsys):
    capsys.readouterr()
    run(copied, stage)
    assert capsys.readouterr().out == f"{items} items, {items} of them already in the store\n"


def test_another_alpha_finds_the_image_embeddings_kept(copied):
    (pack,) = (copied / ".bench/embeddings").glob("*/embeddings.f16")
    before = pack.stat().st_size
    content = params()
    content[PROFILE]["select"].update(alpha1=20.0)
    write_params(copied, content)
    place = copied / DATA / "pseudo/split-0-training-0/store.npy"
    masks = place.read_bytes()
    run(copied, "select", "pseudo")
    assert place.read_bytes() != masks
    assert pack.stat().st_size == before > 0


def computed(folder: Path, capsys: pytest.CaptureFixture[str]) -> list[str]:
    """Run all stages that have items; names of the items that were computed, not found in the store."""
    capsys.readouterr()
    run(folder, "cams", "select", "segmenter", "pseudo", "crf", "train_gt", "train_weak", "oracle", "controls")
    return re.findall(
        r"^\[\d+/\d+\] ((?:(?!, split-|: done).)+)(?:, split-0-training-0)?$", capsys.readouterr().out, re.MULTILINE
    )


def test_a_change_of_one_row_trains_that_row_alone_and_going_back_nothing(copied, capsys):
    rows = (*WEAK_ROWS, *METHODS)

    weak = DATA / "predictions/weak"

    def predictions() -> dict[str, bytes]:
        return {row: (copied / weak / row / "split-0-training-0/probabilities.npy").read_bytes() for row in rows}

    before, content = predictions(), params()
    content[PROFILE]["train"]["rows"]["pseudo_subset"] = {"optimisation": {"learning_rate": 0.002}}
    write_params(copied, content)
    # Each control selection trains the same row.
    assert sorted(computed(copied, capsys)) == sorted(["pseudo_subset", *CONTROL_ROWS])
    assert [row for row in rows if predictions()[row] != before[row]] == ["pseudo_subset"]
    write_params(copied, params())
    assert computed(copied, capsys) == []
    assert predictions() == before


def test_a_change_of_the_teacher_trains_the_rows_that_have_one(copied, capsys):
    content = params()
    content[PROFILE]["train"]["common"]["mean_teacher"]["consistency_weight"] = 0.3
    write_params(copied, content)
    assert computed(copied, capsys) == ["gt_mean_teacher", "pseudo_mean_teacher"]


def test_rows_that_are_not_finished_are_gaps_and_nothing_is_computed(copied, capsys, monkeypatch):
    monkeypatch.chdir(copied)
    content = params()
    content[PROFILE]["train"]["rows"]["pseudo_subset"] = {"optimisation": {"learning_rate": 0.002}}
    write_params(copied, content)
    capsys.readouterr()
    for stage in ("train_gt", "train_weak", "evaluate", "tables", "report"):
        assert main([stage, "--profile", PROFILE, "--finished"]) == 0
    assert "done in" not in capsys.readouterr().out
    table = (copied / REPORTS / "table2.md").read_text()
    assert "pseudo_subset, split-0-training-0: not runnable: not finished when the tables were made." in table
    assert (
        "pseudo_subset, split-0-training-0: not runnable: not finished"
        in (copied / REPORTS / "report.html").read_text()
    )
    assert read_metrics(copied)["table2"]["pseudo_subset"]["tumor_iou"] is None
    assert read_metrics(copied)["table2"]["pseudo_whole"]["tumor_iou"] is not None


@pytest.mark.parametrize(
    ("method", "recipe", "threshold"),
    [("amr", {}, False), ("oaa_cam", {"oaa_cam": {"optimisation": {"learning_rate": 0.002}}}, True)],
    ids=["no threshold", "no training"],
)
def test_oracle_rows_that_are_not_finished_are_gaps(copied, capsys, monkeypatch, method, recipe, threshold):
    monkeypatch.chdir(copied)
    content = params()
    content[PROFILE]["oracle"] = [method]
    content[PROFILE]["train"]["rows"].update(recipe)
    write_params(copied, content)
    capsys.readouterr()
    for stage in ("oracle", "evaluate", "tables", "report"):
        assert main([stage, "--profile", PROFILE, "--finished"]) == 0
    assert "done in" not in capsys.readouterr().out
    row = f"oracle_{method}"
    text = (copied / REPORTS / "report.md").read_text()
    assert f"{row}, split-0-training-0: not runnable: not finished when the tables were made." in text
    (line,) = [line for line in text.splitlines() if line.startswith(f"| {row} ")]
    assert ("| none " not in line) == threshold


def test_true_boxes_whose_masks_are_not_finished_are_a_gap(copied, monkeypatch):
    monkeypatch.chdir(copied)
    for record in (copied / ".bench/runs").glob("*/item.json"):
        if json.loads(record.read_text())["name"].startswith("true boxes"):
            shutil.rmtree(record.parent)
    for stage in ("controls", "evaluate", "tables", "report"):
        assert main([stage, "--profile", PROFILE, "--finished"]) == 0
    table = (copied / REPORTS / "controls.md").read_text()
    (line,) = [line for line in table.splitlines() if line.startswith("| oracle_box ")]
    assert "not judged" in line
    for text in (table, (copied / REPORTS / "report.html").read_text()):
        assert "oracle_box, split-0-training-0: not runnable: not finished" in text


@pytest.mark.parametrize(
    ("changed", "prompted"),
    [({"alpha1": 30.0}, ["pseudo-masks by sam_phantom"]), ({"top_fraction": 0.6}, [])],
    ids=["other boxes", "the same boxes"],
)
def test_a_change_of_the_selection_reaches_what_comes_after_it_and_nothing_else(copied, capsys, changed, prompted):
    content = params()
    content[PROFILE]["select"].update(changed)
    write_params(copied, content)
    with_selection = ["gt_subset", "gt_mean_teacher", *WEAK_ROWS]
    if not prompted:
        with_selection.remove("pseudo_whole")
    assert sorted(computed(copied, capsys)) == sorted([*prompted, *with_selection, *CONTROL_ROWS])
    assert computed(copied, capsys) == []


@pytest.fixture
def sources_copied(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """A copy of the sources, from which the items' keys are made."""
    for package in sources.PACKAGES:
        ignored = shutil.ignore_patterns("__pycache__")
        shutil.copytree(sources.ROOT / package, tmp_path / "sources" / package, ignore=ignored)
    monkeypatch.setattr(sources, "ROOT", tmp_path / "sources")
    # Processes of a pool would find the originals.
    monkeypatch.setattr("bench.pool.source_file", lambda _module: None)
    sources.imports.cache_clear()
    yield tmp_path / "sources"
    sources.imports.cache_clear()


@pytest.mark.parametrize(
    ("module", "dependents"),
    [
        ("baselines/swin_mil.py", ["swin_mil"]),
        # The oracle row of OAA has a threshold, and so a DenseCRF, of its own.
        ("bench/crf.py", ["DenseCRF, amr", "DenseCRF, oaa_cam", "DenseCRF, oaa_cam", "DenseCRF, swin_mil"]),
        ("bench/prompting/grabcut.py", []),
        # Which is measured beside ellipses; its checkpoint comes out the same, and so do the masks.
        ("bench/prompting/shapes.py", ["sam_phantom"]),
        ("bench/items/oracle.py", ["oracle threshold of oaa_cam"]),
        ("bench/evaluation.py", []),
    ],
)
def test_an_edited_module_makes_exactly_its_dependents_stale(copied, sources_copied, capsys, module, dependents):
    with (sources_copied / module).open("a", encoding="utf-8") as source:
        source.write("# edited\n")
    assert sorted(computed(copied, capsys)) == dependents
    assert computed(copied, capsys) == []
