"""Which precision `auto` means on a machine: bf16 where it is native, else fp32. Imports torch for GPUs alone."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

# What /proc/cpuinfo calls instructions that multiply bfloat16: x86-64's two kinds, and Arm's.
NATIVE = frozenset({"avx512_bf16", "amx_bf16", "bf16"})
CPUINFO = Path("/proc/cpuinfo")


def resolve(precision: str, device: str) -> str:
    """fp32 or bf16 for a setting fp32, bf16 or auto on `device`, "cpu" or "cuda".

    A processor that only emulates bfloat16 is many times slower in it than in float32 (README, GPU and cluster).
    """
    if precision != "auto":
        return precision
    return "bf16" if is_native(device) else "fp32"


def of_item(precision: str, settings: Mapping[str, Any]) -> str:
    """What a setting means for an item, whose settings hold what `auto` meant where the command was given."""
    return str(settings["auto_precision"]) if precision == "auto" else precision


def is_native(device: str) -> bool:
    """Whether `device` of this machine multiplies bfloat16 itself; a GPU of another machine counts as one that does."""
    if device == "cpu":
        words = CPUINFO.read_text(encoding="utf-8").split() if CPUINFO.is_file() else []
        return not NATIVE.isdisjoint(words)
    import torch

    return not torch.cuda.is_available() or torch.cuda.is_bf16_supported(including_emulation=False)
