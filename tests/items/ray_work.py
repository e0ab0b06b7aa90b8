"""Work for the engines' tests. A module without test code, so that a worker need not import pytest."""

import json
import os
import sys
import time
from pathlib import Path
from typing import Any

import numpy as np

from bench.errors import UserError
from bench.store import checkpoints_beside


class PeculiarError(Exception):
    """Cannot be made again from its arguments."""

    def __init__(self, one: str, other: str) -> None:
        super().__init__(f"{one} and {other}")


def look_around(settings: dict[str, Any], inputs: dict[str, Path], out: Path) -> None:
    """Write down where this runs, and a sum whose last bits depend on the number of threads."""
    began, warm = time.time(), "torch" in sys.modules
    import torch

    import bench
    from bench.runtime import context

    context("cpu", settings["threads"], "fp32")
    factors = torch.randn(257, 4001, generator=torch.Generator().manual_seed(0))
    np.save(out / "product.npy", (factors @ factors.T).numpy())
    facts = {
        "process": os.getpid(),
        "warm": warm,
        "threads": torch.get_num_threads(),
        "folder": str(Path.cwd()),
        "code": bench.__file__,
        "inputs": {name: str(path) for name, path in inputs.items()},
        "content": {name: path.read_text(encoding="utf-8") for name, path in inputs.items() if path.is_file()},
        "names": {name: sorted(file.name for file in path.rglob("*")) for name, path in inputs.items()},
    }
    print(f"a line of {settings['name']}", flush=True)
    time.sleep(3)  # Ray brings lines home a little later, and those of a process's last moments not always
    facts |= {"began": began, "ended": time.time()}
    (out / "facts.json").write_text(json.dumps(facts), encoding="utf-8")


def fail(settings: dict[str, Any], inputs: dict[str, Path], out: Path) -> None:
    """Raise the error that the settings name."""
    errors = {
        "UserError": UserError("mend this"),
        "FloatingPointError": FloatingPointError("the loss is not finite in epoch 2"),
        "PeculiarError": PeculiarError("this", "that"),
    }
    raise errors[settings["error"]]


def leave(settings: dict[str, Any], inputs: dict[str, Path], out: Path) -> None:
    """End the process with a half result: at once, or by a signal, or as a script would."""
    (out / "half").touch()
    if "signal" not in settings:
        os._exit(9)
    if settings["signal"]:
        os.kill(os.getpid(), settings["signal"])
    sys.exit(3)


def die(settings: dict[str, Any], inputs: dict[str, Path], out: Path) -> None:
    """End the process without a word, until the checkpoint shows that it did so `deaths` times; then write it."""
    folder = checkpoints_beside(out)
    assert folder is not None
    folder.mkdir(exist_ok=True)
    file = folder / "latest"
    lives = file.read_text(encoding="utf-8") if file.exists() else ""
    file.write_text(lives + "x", encoding="utf-8")
    if len(lives) < settings["deaths"]:
        time.sleep(settings["seconds"])
        os._exit(1)
    (out / "lives").write_text(lives, encoding="utf-8")


def wait(settings: dict[str, Any], inputs: dict[str, Path], out: Path) -> None:
    """Say that it began, and take its time."""
    Path(settings["began"]).touch()
    time.sleep(120)
