"""A segmenter by the name of its kind."""

import importlib
from collections.abc import Callable
from pathlib import Path

from bench.errors import UserError
from bench.prompting import Segmenter
from bench.schema import SamSizes

# Module and class of each kind. Imported by name, so that an item's key counts the sources of its own kind alone.
KINDS = {
    "sam": ("bench.prompting.sam", "SamSegmenter"),
    "grabcut": ("bench.prompting.grabcut", "GrabCutSegmenter"),
    "ellipse": ("bench.prompting.shapes", "EllipseSegmenter"),
    "box": ("bench.prompting.shapes", "BoxSegmenter"),
}


def make_segmenter(
    kind: str,
    *,
    variant: str,
    checkpoint: Path | None,
    weights: Path,
    device: str,
    precision: str = "fp32",
    sizes: SamSizes | None = None,
    cache: Path | None = None,
    processes: int = 1,
) -> Segmenter:
    """Make the segmenter `kind`: sam, grabcut, ellipse or box (METHOD 7).

    processes: over how many grabcut spreads its images. The rest matters for sam only: `variant` is vit_h, vit_l,
    vit_b or phantom (which needs `sizes`); `checkpoint` is a file of that variant, or None for the official one, cached
    in the folder `weights`; `device` is a torch device such as "cpu"; `precision` is the image encoder's, fp32 or bf16;
    `cache` is the folder of image embeddings, or None to keep none. Raises UserError for an unknown kind or variant and
    for weights that are missing or damaged.
    """
    if kind not in KINDS:
        raise UserError(f"unknown segmenter {kind!r} - choose one of {', '.join(KINDS)}")
    module, name = KINDS[kind]
    make: Callable[..., Segmenter] = getattr(importlib.import_module(module), name)
    match kind:
        case "sam":
            return make(variant, checkpoint, weights, device, precision, sizes, cache)
        case "grabcut":
            return make(processes)
        case _:
            return make()
