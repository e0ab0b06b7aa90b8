"""The contract and the registry of weakly supervised methods: every file in baselines/ with a SPEC is one.

A method is a module `baselines/<id>.py` that imports no torch at its top and holds:

    SPEC      a MethodSpec
    make_net  (settings, weights) -> torch.nn.Module      untrained; weights None: no pretrained ones either
    fit       (settings, train: ImageSet, seed, weights, context) -> (trained net, loss history: epoch, total, ...)
    logits    (net, images, context) -> float32 (n, 2)    classes normal and tumour

and at least one of:

    cams      (settings, net, images: ImageSet, context) -> float32 (n, S, S) in [0, 1], tumour class;
              they become pseudo-labels by threshold and DenseCRF, from which a U-Net learns: row <id>
    segment   (settings, net, images, context) -> float32 (n, S, S) in [0, 1], tumour where above 0.5;
              judged as they are: row <id>_direct

settings is the method's own validated block of params.yaml (a MethodSettings; what in it describes a network that may
start from ImageNet weights is a bench.schema.Pretrained, so that `fetch` brings them), weights the folder of
checkpoints, context says where to compute, images alone are uint8 grey (n, S, S). All that a trained net knows is in
its parameters and buffers, which are saved with its results (bench/nets/saved.py loads them). Trainings of one fit
have different names, and what they change beside their network is named to them (`changes`), so that a killed fit goes
on from its checkpoints. The file's docstring says what the paper says ("Paper:"), what is unclear ("Unclear:"), what
was chosen ("Chosen:") and the cost ("Cost:").
"""

import importlib
import pkgutil
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from types import ModuleType
from typing import Literal

import numpy as np

import baselines
from bench.errors import UserError
from bench.schema import ABLATION, MethodSettings

# Which of the two classes is the tumour.
TUMOUR = 1
# Rows without a network that evaluate judges beside the methods: two that are image-blind, and the true box.
FLOOR, WHOLE_IMAGE, FILLED_BOX = "fixed_ellipse", "whole_image", "filled_box"


@dataclass(frozen=True)
class ImageSet:
    """All that a weakly supervised method may learn from: ids, uint8 grey (n, S, S), and int64 (n,), 1 = tumour."""

    ids: Sequence[str]
    images: np.ndarray
    labels: np.ndarray


@dataclass(frozen=True)
class MethodSpec:
    """What is known about a method without running it.

    id: file name, params key and table key. label: name in the tables. paper: the paper's Table III values in
    percent, None for a method that the paper does not have. settings: model of the method's block in params.yaml.
    threshold: where the original evaluation cuts the CAM, 0 to 1 (METHOD 5.3). labels: what supervision it needs.
    licence: of the original code. note: what was chosen where the paper is silent.
    """

    id: str
    label: str
    paper: Mapping[str, float] | None
    settings: type[MethodSettings]
    threshold: float
    labels: Literal["image"]
    licence: str
    note: str


@cache
def methods() -> dict[str, MethodSpec]:
    """All methods by id, sorted. Raises UserError when a file does not keep to the contract."""
    found = {}
    for name in sorted(module.name for module in pkgutil.iter_modules(baselines.__path__)):
        spec = getattr(method_module(name), "SPEC", None)
        if not isinstance(spec, MethodSpec) or spec.id != name:
            raise UserError(f"baselines/{name}.py needs a SPEC = MethodSpec(id={name!r}, ...)")
        taken = (*ABLATION, FLOOR, WHOLE_IMAGE, FILLED_BOX)
        if name in taken or name.startswith("oracle_") or name.endswith("_direct"):
            raise UserError(f"baselines/{name}.py: {name} is the name of another row - rename the method")
        missing = [function for function in ("make_net", "fit", "logits") if not hasattr(method_module(name), function)]
        if missing:
            raise UserError(f"baselines/{name}.py needs {', '.join(missing)} - bench/methods.py holds the contract")
        if not gives(name, "cams") and not gives(name, "segment"):
            raise UserError(f"baselines/{name}.py needs a function cams or a function segment")
        found[name] = spec
    return found


def method_module(method: str) -> ModuleType:
    """The module that holds a method's functions."""
    return importlib.import_module(f"baselines.{method}")


def gives(method: str, what: Literal["cams", "segment"]) -> bool:
    """Whether a method has the function `what`."""
    return hasattr(method_module(method), what)
