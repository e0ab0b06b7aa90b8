"""The contract and the registry of weakly supervised methods: every file in baselines/ with a SPEC is one.

A method is a module `baselines/<id>.py` that imports no torch at its top and holds:

    SPEC     a MethodSpec
    fit      (settings, train: ImageSet, seed, weights, context) -> (model, loss history)
    logits   (model, images, context) -> float32 (n, 2), classes normal and tumour
    cams     (settings, model, images, context) -> float32 (n, S, S) in [0, 1], tumour class

settings is the method's own validated block of params.yaml (a MethodSettings), weights the folder of checkpoints,
context says where to compute, images are uint8 grey (n, S, S).
"""

import importlib
import pkgutil
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from types import ModuleType

import numpy as np

import baselines
from bench.errors import UserError
from bench.schema import MethodSettings


@dataclass(frozen=True)
class ImageSet:
    """All that a weakly supervised method may learn from: uint8 grey (n, S, S), and int64 (n,), 1 = tumour."""

    images: np.ndarray
    labels: np.ndarray


@dataclass(frozen=True)
class MethodSpec:
    """What is known about a method without running it.

    id: file name, params key and table key. label: name in the paper's tables. paper: the paper's Table III
    values in percent. settings: model of the method's block in params.yaml. licence: of the original code.
    note: what was chosen where the paper is silent.
    """

    id: str
    label: str
    paper: Mapping[str, float]
    settings: type[MethodSettings]
    licence: str
    note: str


@cache
def methods() -> dict[str, MethodSpec]:
    """All methods by id, sorted. Raises UserError when a file's SPEC is missing or has another id than the file."""
    found = {}
    for name in sorted(module.name for module in pkgutil.iter_modules(baselines.__path__)):
        spec = getattr(method_module(name), "SPEC", None)
        if not isinstance(spec, MethodSpec) or spec.id != name:
            raise UserError(f"baselines/{name}.py needs a SPEC = MethodSpec(id={name!r}, ...)")
        found[name] = spec
    return found


def method_module(method: str) -> ModuleType:
    """The module that holds a method's functions."""
    return importlib.import_module(f"baselines.{method}")
