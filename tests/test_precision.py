"""Precision `auto`: bf16 where the processor multiplies it itself, fp32 elsewhere; part of every item that computes."""

import pytest
import torch

from bench import precision
from bench.precision import of_item, resolve
from bench.schema import Engine
from bench.stages.common import machine

ZEN4 = "flags\t\t: fpu avx2 avx512f avx512_bf16\n"
SAPPHIRE_RAPIDS = "flags\t\t: fpu avx2 avx512f amx_bf16 amx_tile\n"
GRAVITON3 = "Features\t: fp asimd sve bf16 i8mm\n"
ZEN3 = "flags\t\t: fpu avx2 sha_ni\n"
SKYLAKE_X = "flags\t\t: fpu avx2 avx512f avx512bw\n"


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
    engine = Engine(kind="inline", device="cpu", threads=2, gpus_per_item=1.0, checkpoint_seconds=0.0)
    assert machine(engine) == {"device": "cpu", "threads": 2, "auto_precision": meant}


@pytest.mark.parametrize("setting", ["fp32", "bf16"])
def test_a_named_precision_is_taken_at_its_word(setting, tmp_path, monkeypatch):
    monkeypatch.setattr(precision, "CPUINFO", tmp_path / "none")
    assert resolve(setting, "cpu") == setting
    assert of_item(setting, {"auto_precision": "fp32"}) == setting


def test_an_item_keeps_what_auto_meant_where_the_command_was_given():
    assert of_item("auto", {"auto_precision": "bf16"}) == "bf16"


@pytest.mark.parametrize(("has", "meant"), [(True, "bf16"), (False, "fp32")])
def test_a_gpu_is_asked(has, meant, monkeypatch):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "is_bf16_supported", lambda including_emulation: has and not including_emulation)
    assert resolve("auto", "cuda") == meant
