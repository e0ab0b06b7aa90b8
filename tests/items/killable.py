"""An attempt at an item in a process that may be killed: from outside at any time, or by itself at an exact point.

A module of its own, with all that items need, so that a server of processes imports it once and forks every attempt.
"""

import contextlib
import os
import signal
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any

import torch
import torch._dynamo  # PyTorch's optimisers load it when the first of them is made

import bench.items.cams
import bench.items.segmentation
import bench.items.segmenter  # noqa: F401
from bench.store import Item, Store

KEY = "k"


def die() -> None:
    """End at once, with nothing tidied."""
    os.kill(os.getpid(), signal.SIGKILL)


def plant(point: str, count: int) -> None:
    """Die at the `count`-th checkpoint, "half" written, or at the `count`-th rename, "before" or "after" it.

    A count of 0 means the rename by which the item is finished.
    """
    passed = 0

    def reached() -> bool:
        nonlocal passed
        passed += 1
        return passed == count

    save, replace = torch.save, Path.replace

    def save_half(content: Any, file: Path) -> None:
        save(content, file)
        if reached():
            os.truncate(file, file.stat().st_size // 2)
            die()

    def replace_or_die(self: Path, target: Path) -> Path:
        ends = reached() if count else target.name == KEY
        if ends and point == "before":
            die()
        replace(self, target)
        if ends:
            die()
        return target

    if point == "half":
        torch.save = save_half
    else:
        Path.replace = replace_or_die  # type: ignore[method-assign]


def attempt(root: Path, item: Item, planted: tuple[str, int] | None, log: Path, begun: Connection) -> None:
    """Compute `item` in the store at `root`, or find it finished; what is said goes into `log`."""
    if planted:
        plant(*planted)
    with log.open("a") as stream, contextlib.redirect_stdout(stream):
        begun.send(None)
        Store(root).compute(item, KEY)
