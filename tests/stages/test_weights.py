"""Pretrained weights decide results, so their hashes are part of the keys of the items that start from them."""

from dataclasses import replace
from pathlib import Path

import pytest

from bench.artefacts import IMAGENET, SAM
from bench.data.images import STORE
from bench.paths import Paths
from bench.rows import ROWS, method_rows
from bench.settings import load
from bench.stages import cams, pseudo, training
from bench.store import Item

PARAMS = Path(__file__).resolve().parents[2] / "params.yaml"


@pytest.fixture
def settings_of(monkeypatch):
    """Function: name of a profile -> settings of its items by name, nothing is run."""
    found: list[Item] = []

    def collect(items, *_, ahead=()):
        found.extend(item for _, item in items)

    for stage in (cams, pseudo, training):
        monkeypatch.setattr(stage, "run_and_lay_out", collect)
    monkeypatch.setattr(training, "read_json", lambda _: {"rule": "threshold", "selected": 1, "images": 2})

    def collected(profile: str) -> dict[str, dict]:
        found.clear()
        paths, settings = Paths(profile), load(profile, PARAMS)
        cams.run(paths, settings)
        pseudo.run(paths, settings)
        rows = [*ROWS, *(row for row in method_rows(settings.cams) if row.labels == "crf")]
        training.train_rows(paths, settings, rows, lambda row, seed: {"labels": paths.crf / STORE}, paths.crf)
        return {f"{item.function.split(':')[0]} {item.name}": dict(item.settings) for item in found}

    return collected


def changed(before: dict[str, dict], after: dict[str, dict]) -> list[str]:
    """Kind and name of the items whose settings differ."""
    found = [name for name in before if before[name] != after[name]]
    return sorted(name.removeprefix("bench.items.").removesuffix(", split-0-training-0") for name in found)


UNETS = [*(row.id for row in ROWS), "amr", "oaa_cam", "recam", "resnet50_cam", "swin_mil", "vgg16_cam"]
WITH_RESNET50 = [f"cams {name}" for name in ("amr", "oaa_cam", "recam", "resnet50_cam")]


@pytest.mark.parametrize(
    ("table", "name", "dependents"),
    [
        (IMAGENET, "swin_t", ["cams swin_mil"]),
        (IMAGENET, "resnet50", sorted([*WITH_RESNET50, *(f"segmentation {name}" for name in UNETS)])),
        (IMAGENET, "resnet18", []),
        (SAM, "vit_h", ["pseudo pseudo-masks by sam"]),
        (SAM, "vit_b", []),
    ],
)
def test_other_weights_make_those_items_stale_that_start_from_them(settings_of, monkeypatch, table, name, dependents):
    before, small = settings_of("busi"), settings_of("phantom")
    monkeypatch.setitem(table, name, replace(table[name], sha256="0" * 64))
    assert changed(before, settings_of("busi")) == dependents
    assert changed(small, settings_of("phantom")) == []


def test_another_address_makes_nothing_stale(settings_of, monkeypatch):
    before = settings_of("busi")
    monkeypatch.setitem(IMAGENET, "vgg16", replace(IMAGENET["vgg16"], urls=("https://mirror.example.org/vgg16.pth",)))
    assert changed(before, settings_of("busi")) == []
