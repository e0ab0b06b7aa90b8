"""Which items the stage makes: methods that give CAMs, their thresholds, every seed."""

from typing import Any

import pytest

from bench.paths import Paths
from bench.schema import Crf, SeedAxes
from bench.settings import load
from bench.stages import crf


def made(monkeypatch: pytest.MonkeyPatch, threshold: str) -> dict[str, Any]:
    found = {}
    monkeypatch.setattr(crf, "run_and_lay_out", lambda items, engine, folder: found.update(items, folder=folder))
    block = Crf(parameters="irn_label", threshold=threshold)  # type: ignore[arg-type]
    crf.run(
        Paths("busi"), load("busi").model_copy(update={"crf": block, "seeds": SeedAxes(split=[0], training=[0, 3])})
    )
    return found


def test_every_method_and_seed_is_cut_at_the_methods_threshold(monkeypatch):
    found = made(monkeypatch, "official")
    assert found.pop("folder") == Paths("busi").crf
    thresholds = {place: item.settings["threshold"] for place, item in found.items()}
    assert (
        thresholds.items()
        >= {
            "resnet50_cam/split-0-training-0": 0.15,
            "resnet50_cam/split-0-training-3": 0.15,
            "amr/split-0-training-0": 0.20,
            "amr/split-0-training-3": 0.20,
        }.items()
    )
    assert found["amr/split-0-training-3"].inputs["cams"] == Paths("busi").cams / "amr" / "split-0-training-3"


def test_otsu_replaces_it(monkeypatch):
    found = made(monkeypatch, "otsu")
    assert found["amr/split-0-training-0"].settings["threshold"] == "otsu"


def test_a_method_without_cams_is_left_out(monkeypatch):
    monkeypatch.setattr(crf, "gives", lambda method, what: method != "amr")
    assert [place for place in made(monkeypatch, "official") if place.startswith("amr")] == []


def test_the_number_of_processes_is_no_part_of_the_key(monkeypatch):
    found = made(monkeypatch, "otsu")["amr/split-0-training-0"]
    assert found.aside == {"threads": load("busi").engine.threads}
    assert "threads" not in found.settings
