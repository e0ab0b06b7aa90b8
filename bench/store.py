"""The run store: finished items rest under the key of everything that made them.

An item's key is the SHA-256 over its function, its resolved settings (seed and device included), the content of
its inputs, the sources of the modules that make it and the versions of the libraries. The store is no DVC output:
DVC deletes a stage's outputs before it runs the stage again, while a finished item must never be computed twice.
"""

import hashlib
import importlib
import importlib.metadata
import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from bench.files import digest, replacing_folder
from bench.sources import source_digest

# Libraries whose version decides the last bits of a result.
PACKAGES = (
    "numpy",
    "opencv-python-headless",
    "pillow",
    "pydensecrf2",
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
    modules: further modules whose sources decide the result (the method's own file).
    """

    name: str
    function: str
    settings: Mapping[str, Any]
    inputs: Mapping[str, Path]
    modules: tuple[str, ...] = field(default=())

    def key(self) -> str:
        """SHA-256 (hex) of everything that decides the result."""
        module = self.function.split(":")[0]
        content = {
            "function": self.function,
            "settings": self.settings,
            "inputs": {name: digest(path) for name, path in sorted(self.inputs.items())},
            "sources": source_digest(module, *self.modules),
            "packages": {package: importlib.metadata.version(package) for package in PACKAGES},
        }
        return hashlib.sha256(json.dumps(content, sort_keys=True).encode()).hexdigest()


class Store:
    """Folder of finished items, one sub-folder a key."""

    def __init__(self, root: Path) -> None:
        self.root = root

    def find(self, key: str) -> Path | None:
        """Folder of the finished item, or None."""
        folder = self.root / key
        return folder if folder.is_dir() else None

    def compute(self, item: Item, key: str) -> Path:
        """Run `item`; its folder appears under `key` only when it has ended without an error."""
        with replacing_folder(self.root / key) as out:
            resolve(item.function)(dict(item.settings), dict(item.inputs), out)
        return self.root / key


def resolve(function: str) -> Any:
    """The object that "module:name" names."""
    module, name = function.split(":")
    return getattr(importlib.import_module(module), name)
