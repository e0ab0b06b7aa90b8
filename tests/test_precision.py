"""Precision `auto`: bf16 where the processor multiplies it itself, fp32 elsewhere; part of every item that computes."""

import importlib
import json

import pytest
import torch

import bench.runtime
from bench import precision
from bench.precision import of_item, resolve
from bench.schema import Engine
from bench.settings import PARAMS, load
from bench.sources import ROOT
from bench.stages.common import machine

ZEN4 = "flags\t\t: fpu avx2 avx512f avx512_bf16\n"
SAPPHIRE_RAPIDS = "flags\t\t: fpu avx2 avx512f amx_bf16 amx_tile\n"
GRAVITON3 = "Features\t: fp asimd sve bf16 i8mm\n"
ZEN3 = "flags\t\t: fpu avx2 sha_ni\n"
SKYLAKE_X = "flags\t\t: fpu avx2 avx512f avx512bw\n"
ENGINE = Engine(kind="inline", device="cpu", threads=2, gpus_per_item=1.0, checkpoint_seconds=0.0)


@pytest.mark.parametrize(
    ("cpuinfo", "meant"),
    [
        (ZEN4, "bf16"),
        (SAPPHIRE_RAPIDS, "bf16"),
        (GRAVITON3, "bf16"),
        (ZEN3, "fp32"),
        (SKYLAKE_X, "fp32"),
        (None, "fp32"),
    ],
)
def test_auto_is_what_the_processor_has(cpuinfo, meant, tmp_path, monkeypatch):
    file = tmp_path / "cpuinfo"
    if cpuinfo is not None:
        file.write_text(cpuinfo)
    monkeypatch.setattr(precision, "CPUINFO", file)
    assert resolve("auto", "cpu") == meant
    assert machine(ENGINE, "auto") == {"device": "cpu", "threads": 2, "auto_precision": meant}


@pytest.mark.parametrize("setting", ["fp32", "bf16"])
def test_a_named_precision_is_taken_at_its_word(setting, tmp_path, monkeypatch):
    monkeypatch.setattr(precision, "CPUINFO", tmp_path / "none")
    assert resolve(setting, "cpu") == setting
    assert of_item(setting, {}) == setting
    assert machine(ENGINE, setting) == {"device": "cpu", "threads": 2}


def test_an_item_keeps_what_auto_meant_where_the_command_was_given():
    assert of_item("auto", {"auto_precision": "bf16"}) == "bf16"


@pytest.mark.parametrize(("has", "meant"), [(True, "bf16"), (False, "fp32")])
def test_a_gpu_is_asked(has, meant, monkeypatch):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "is_bf16_supported", lambda including_emulation: has and not including_emulation)
    assert resolve("auto", "cuda") == meant


class ReachedError(Exception):
    """The item has set its context up."""


def tell(*arguments: object) -> None:
    """What stands in for bench.runtime.context: ends the item and says in which precision it would compute."""
    raise ReachedError(arguments[2])


@pytest.mark.parametrize("meant", ["fp32", "bf16"])
def test_every_item_computes_in_what_auto_meant(meant, monkeypatch, tmp_path):
    settings = load("phantom", ROOT / PARAMS)
    own = {"device": "cpu", "threads": 2, "auto_precision": meant}
    pseudo = {**settings.pseudo.model_dump(), "precision": "auto", "sizes": None, "image_size": 64}
    recipe = settings.row("gt_whole").model_dump()
    teacher = recipe.pop("mean_teacher")
    items = {
        "cams": {"method": "amr", "options": settings.cams["amr"], "seed": 0},
        "segmentation": {"row": "gt_whole", "images": "whole", "seed": 0, "recipe": recipe, "mean_teacher": teacher},
        "segmenter": settings.segmenter.model_dump(),
        "pseudo": pseudo,
    }
    # Imported before anything is replaced, or they would keep what stands in for it.
    modules = {name: importlib.import_module(f"bench.items.{name}") for name in items}
    monkeypatch.setattr(bench.runtime, "context", tell)
    for name, block in items.items():
        module = modules[name]
        monkeypatch.setattr(module, "context", tell, raising=False)
        assert '"precision": "auto"' in json.dumps(block), name
        with pytest.raises(ReachedError, match=meant):
            module.run({**block, **own}, {}, tmp_path)


@pytest.mark.parametrize(("device", "chosen"), [("auto", "fp32"), ("cpu", "auto")])
def test_a_context_takes_nothing_that_is_still_auto(device, chosen):
    with pytest.raises(ValueError, match="resolve them before"):
        bench.runtime.context(device, 1, chosen)
