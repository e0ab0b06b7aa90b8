"""What the stages that run items share: resolving the device, laying results out."""

import shutil
from collections.abc import Iterable, Sequence
from pathlib import Path

from bench.engine import on_cluster, run_items
from bench.errors import UserError
from bench.files import replacing_folder
from bench.paths import NET
from bench.precision import resolve
from bench.schema import Engine
from bench.store import RECORD, Item


def machine(engine: Engine, precision: str = "fp32") -> dict[str, str | int]:
    """device and threads for an item's settings, and with precision "auto" what that means here.

    Device "auto" becomes "cuda" where there is a GPU on this machine. On a cluster "cuda" is taken at its word: its
    GPUs may be on other machines.
    """
    device = _device(engine)
    found: dict[str, str | int] = {"device": device, "threads": engine.threads}
    return found | ({"auto_precision": resolve("auto", device)} if precision == "auto" else {})


def _device(engine: Engine) -> str:
    if engine.device == "cpu" or (engine.device == "cuda" and on_cluster(engine)):
        return engine.device
    import torch

    found = torch.cuda.is_available()
    if engine.device == "cuda" and not found:
        raise UserError("engine.device is cuda, but PyTorch finds no GPU - set it to auto or cpu")
    return "cuda" if found else "cpu"


def run_and_lay_out(
    items: Iterable[tuple[str, Item]],
    engine: Engine,
    folder: Path,
    notes: dict[str, str] | None = None,
    ahead: Sequence[Item] = (),
) -> None:
    """Run the items and make `folder` of their results, each at its relative place.

    notes: further small text files by relative path (why a row could not run). ahead: as in `run_items`.
    """
    pairs = list(items)
    results = run_items([item for _, item in pairs], engine, ahead=ahead)
    with replacing_folder(folder) as out:
        for (place, _), result in zip(pairs, results, strict=True):
            # The record differs from run to run by its times.
            shutil.copytree(result, out / place, ignore=shutil.ignore_patterns(NET, RECORD))
        for place, text in (notes or {}).items():
            (out / place).parent.mkdir(parents=True, exist_ok=True)
            (out / place).write_text(text + "\n", encoding="utf-8")
