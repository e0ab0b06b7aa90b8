"""Which rows the stages that train them run, in which order, and why some cannot."""

from typing import Any

import pytest

from bench.data.images import STORE
from bench.files import write_json
from bench.paths import Paths
from bench.rows import NOT_RUNNABLE, ROWS
from bench.settings import load
from bench.stages import training

RUN = "split-0-training-0"


@pytest.fixture
def made(tmp_path, monkeypatch) -> Any:
    """What train_rows gives to the engine for the six rows of the ablation: places in their order, and notes."""
    settings, folder = load("busi"), tmp_path / "selection"
    folder.mkdir()
    monkeypatch.setattr(training, "selection", lambda paths, row: folder)

    def run(**summary: Any) -> tuple[list[str], dict[str, str]]:
        write_json(
            folder / f"{RUN}.json", {"rule": "threshold", "made_by": "no rule", "selected": 5, "images": 9} | summary
        )
        found: list[tuple[list[str], dict[str, str]]] = []
        monkeypatch.setattr(
            training,
            "run_or_note_gaps",
            lambda items, engine, folder, notes: found.append(([place for place, _ in items], dict(notes))),
        )
        training.train_rows(
            Paths("busi"), settings, ROWS, lambda row, seeds: {"labels": tmp_path / STORE}, tmp_path / "out"
        )
        return found[0]

    return run


def test_the_rows_that_take_longest_begin_first(made):
    places, notes = made()
    assert places[:2] == [f"gt_mean_teacher/{RUN}", f"pseudo_mean_teacher/{RUN}"]
    assert sorted(places) == sorted(f"{row.id}/{RUN}" for row in ROWS)
    assert notes == {}


def test_without_a_selection_only_the_rows_on_all_images_are_trained(made):
    places, notes = made(rule="none")
    assert places == [f"{row.id}/{RUN}" for row in ROWS if row.images == "whole"]
    assert notes == {f"{row.id}/{RUN}/{NOT_RUNNABLE}": "no rule" for row in ROWS if row.images != "whole"}


def test_a_mean_teacher_needs_images_without_labels(made):
    places, notes = made(selected=9)
    assert places == [f"{row.id}/{RUN}" for row in ROWS if row.images != "mean_teacher"]
    assert set(notes.values()) == {"U is empty: every image of V was selected"}
