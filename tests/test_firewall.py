"""The firewall's status is read off dvc.yaml."""

from pathlib import Path

from bench.firewall import passed_on, status
from bench.pipeline import read_stages


def stages() -> dict:
    return {
        "prepare": {"do": {"deps": ["data/${item}/raw"], "outs": ["data/${item}/images", "data/${item}/masks"]}},
        "learn": {"do": {"deps": ["data/${item}/images/store.npy"], "outs": ["data/${item}/net"]}},
        "judge": {"do": {"deps": ["data/${item}/net", "data/${item}/masks"], "outs": ["data/${item}/scores"]}},
        "print": {"do": {"deps": ["data/${item}/scores"], "outs": [{"reports/${item}/t.md": {"cache": False}}]}},
    }


def test_readers_others_and_what_passes_between_them():
    assert status(stages()) == {
        "stages that read masks": "prepare, judge",
        "stages that read none": "learn, print",
        "what these get from those": "images (learn); scores (print)",
    }
    assert passed_on(stages()) == {("learn", "data/${item}/images/store.npy"), ("print", "data/${item}/scores")}


def test_a_stage_that_begins_to_read_masks_is_named():
    changed = stages()
    changed["learn"]["do"]["deps"].append("data/one/masks/store.npy")
    assert status(changed)["stages that read masks"] == "prepare, learn, judge"


def test_without_a_pipeline_nothing_is_promised(tmp_path):
    assert read_stages(tmp_path / "dvc.yaml") is None
    assert status(None) == {"stages that read masks": "not known, there is no dvc.yaml"}


def test_the_projects_own_pipeline_is_read():
    found = read_stages(Path(__file__).resolve().parents[1] / "dvc.yaml")
    assert "controls" in status(found)["stages that read masks"].split(", ")
    assert "train_weak" in status(found)["stages that read none"].split(", ")
