"""The run store: finished items rest under the key of everything that made them.

An item's key is the SHA-256 over its function, its resolved settings (seed and device included), the content of
its inputs, the sources of the modules that make it and the versions of the libraries. The store is no DVC output:
DVC deletes a stage's outputs before it runs the stage again, while a finished item must never be computed twice.

    <root>/<key>/               a finished item and its record, item.json
    <root>/.<key>.partial/      an unfinished one: what is known of it, item.json
        out/                    its folder to be, emptied before the item begins
        checkpoints/            its trainings' latest state, from which the next attempt goes on
    <root>/.<key>.lock          held by the process that computes it
"""

import hashlib
import importlib
import importlib.metadata
import json
import os
import shutil
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from contextvars import ContextVar
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from filelock import FileLock, Timeout

from bench.errors import UserError
from bench.files import digest, refusals_explained, write_json
from bench.progress import say
from bench.sources import source_digest

RECORD = "item.json"
OUT = "out"
CHECKPOINTS = "checkpoints"
PARTIAL = ".partial"
LOCK = ".lock"
WAITING = "another process computes this item; waiting for it"
# Least time between two checkpoints of the item that is being computed. It reaches the training past the item's
# settings, because these make its key and this changes no result.
CHECKPOINT_SECONDS: ContextVar[float] = ContextVar("checkpoint_seconds", default=0.0)

# Libraries whose version decides the last bits of a result.
PACKAGES = (
    "numpy",
    "opencv-python-headless",
    "pillow",
    "pydensecrf2",
    "scipy",
    "segment-anything",
    "segmentation-models-pytorch",
    "timm",
    "torch",
    "torchvision",
)


@dataclass(frozen=True)
class Item:
    """One unit of work (method x seed): calls `function(settings, inputs, out)`, which fills folder `out`.

    function: "module:name". settings: JSON-able. inputs: what it may read, by name.
    modules: further modules whose sources decide the result, which the function loads by name. aside: further settings
    for the function that decide nothing of this item's result (how many processes), and so are no part of its key.
    """

    name: str
    function: str
    settings: Mapping[str, Any]
    inputs: Mapping[str, Path]
    modules: tuple[str, ...] = field(default=())
    aside: Mapping[str, Any] = field(default_factory=dict)

    @property
    def imported(self) -> tuple[str, ...]:
        """The modules that it is run with: its function's, and those that this loads by name."""
        return self.function.split(":")[0], *self.modules

    def key(self) -> str:
        """SHA-256 (hex) of everything that decides the result."""
        content = {
            "function": self.function,
            "settings": self.settings,
            "inputs": {name: digest(path) for name, path in sorted(self.inputs.items())},
            "sources": source_digest(*self.imported),
            "packages": {package: importlib.metadata.version(package) for package in PACKAGES},
        }
        return hashlib.sha256(json.dumps(content, sort_keys=True).encode()).hexdigest()

    def refuse_changed_inputs(self, key: str) -> None:
        """Raise UserError where the inputs are no longer those that `key` was made of."""
        if self.key() != key:
            raise UserError(f"{self.name}: its inputs changed since this command began - give it again")


class HeldError(Exception):
    """Another process computes the item."""


class Store:
    """Folder of finished items, one sub-folder a key.

    checkpoint_seconds: least time between two checkpoints of one training; 0 keeps one every epoch.
    """

    def __init__(self, root: Path, checkpoint_seconds: float = 0.0) -> None:
        self.root = root
        self.checkpoint_seconds = checkpoint_seconds

    def find(self, key: str) -> Path | None:
        """Folder of the finished item, or None. Its time stamp says that it was used now."""
        folder = self.root / key
        if not folder.is_dir():
            return None
        # A store that may only be read serves its items all the same.
        with suppress(OSError):
            os.utime(folder)
        return folder

    def partial(self, key: str) -> Path:
        """Folder of an item while it is not finished."""
        return self.root / f".{key}{PARTIAL}"

    @contextmanager
    def lock(self, key: str, wait: bool = True) -> Iterator[None]:
        """Hold an item for this process alone; the system frees it when the process ends, in whatever way.

        Raises HeldError when another process holds it and `wait` is false.
        """
        file = self.root / f".{key}{LOCK}"
        lock = FileLock(file)
        self.root.mkdir(parents=True, exist_ok=True)
        try:
            lock.acquire(blocking=False)
        except Timeout:
            if not wait:
                raise HeldError from None
            say(WAITING)
            lock.acquire(poll_interval=0.2)
        try:
            yield
        finally:
            # While it is held: whoever waits then finds its file gone, and takes a new one.
            file.unlink(missing_ok=True)
            lock.release()

    def compute(self, item: Item, key: str, wait: bool = True) -> Path:
        """Run `item`, or find it finished by another process that had its lock first.

        Its folder appears under `key` only when it has ended without an error. A failed or killed item leaves its
        checkpoints, from which the next call goes on. UserError when the disk refuses the write.
        Raises HeldError when another process computes the item and `wait` is false.
        """
        finished, partial = self.root / key, self.partial(key)
        with refusals_explained(finished), self.lock(key, wait):
            if self.find(key):
                return finished
            try:
                shutil.rmtree(partial / OUT, ignore_errors=True)
                (partial / OUT).mkdir(parents=True)
                # Before the folder is emptied, which makes room again.
                with refusals_explained(finished):
                    self._fill(item, partial)
                (partial / OUT).replace(finished)
            finally:
                self._clear(key)
        return finished

    def clear(self, key: str) -> None:
        """Remove what a killed attempt at an item left, its checkpoints excepted, where no process computes it."""
        with suppress(HeldError, OSError), self.lock(key, wait=False):
            self._clear(key)

    def _clear(self, key: str) -> None:
        partial = self.partial(key)
        unfinished = (partial / CHECKPOINTS).is_dir() and not (self.root / key).is_dir()
        shutil.rmtree(partial / OUT if unfinished else partial, ignore_errors=True)

    def _fill(self, item: Item, partial: Path) -> None:
        """Run `item` in its folder and write down what it is."""
        record: dict[str, Any] = {"name": item.name, "function": item.function, "settings": dict(item.settings)}
        write_json(partial / RECORD, record)
        out, resumed, start = partial / OUT, (partial / CHECKPOINTS).is_dir(), time.monotonic()
        token = CHECKPOINT_SECONDS.set(self.checkpoint_seconds)
        try:
            resolve(item.function)({**item.settings, **item.aside}, dict(item.inputs), out)
        finally:
            CHECKPOINT_SECONDS.reset(token)
        # "seconds" counts the last attempt alone; "resumed" says whether there were others.
        record |= {"seconds": round(time.monotonic() - start, 1), "resumed": resumed}
        record |= {"finished": f"{datetime.now(UTC):%Y-%m-%dT%H:%M:%SZ}", "files": digests(out)}
        write_json(out / RECORD, record)


def checkpoints_beside(out: Path) -> Path | None:
    """Where an item that fills `out` keeps its checkpoints; None when it does not run in a store, which names it."""
    return out.parent / CHECKPOINTS if out.parent.suffix == PARTIAL else None


def digests(folder: Path) -> dict[str, str]:
    """SHA-256 (hex) of every file of an item's folder but its record, by relative name."""
    files = sorted(file for file in folder.rglob("*") if file.is_file() and file != folder / RECORD)
    return {file.relative_to(folder).as_posix(): digest(file) for file in files}


def resolve(function: str) -> Any:
    """The object that "module:name" names."""
    module, name = function.split(":")
    return getattr(importlib.import_module(module), name)
