"""Box prompt -> mask: SAM, its separately named stand-in GrabCut, and two diagnostics behind one protocol.

Importing this package loads neither torch nor OpenCV; `make_segmenter` loads what the chosen kind needs.
"""

from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any, Protocol

import numpy as np
import numpy.typing as npt

from bench.errors import UserError
from bench.schema import SamSizes

Box = tuple[int, int, int, int]
"""x_min, y_min, x_max, y_max: inclusive pixels of the original image (METHOD 10b)."""

Prompt = tuple[npt.NDArray[np.uint8], Box]
"""An image, uint8 (H, W, 3) RGB, and a box on it."""

KINDS = ("sam", "grabcut", "ellipse", "box")


class Segmenter(Protocol):
    """Anything that turns one box on one image into one mask."""

    name: str  # what tables call it

    def segment(self, image: npt.NDArray[np.uint8], box: Box) -> npt.NDArray[np.bool_]:
        """Segment what `box` holds: image uint8 (H, W, 3) RGB -> bool (H, W), True on the lesion.

        Raises ValueError for an image of another shape or dtype, and for a box that is not inside it.
        """

    def segment_all(self, prompts: Iterable[Prompt]) -> Iterator[npt.NDArray[np.bool_]]:
        """The masks of many prompts, in their order; prompts are taken as they are needed, a few ahead."""
        for image, box in prompts:
            yield self.segment(image, box)


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
    match kind:
        case "sam":
            from bench.prompting.sam import SamSegmenter

            return SamSegmenter(variant, checkpoint, weights, device, precision, sizes, cache)
        case "grabcut":
            from bench.prompting.grabcut import GrabCutSegmenter

            return GrabCutSegmenter(processes)
        case "ellipse":
            from bench.prompting.shapes import EllipseSegmenter

            return EllipseSegmenter()
        case "box":
            from bench.prompting.shapes import BoxSegmenter

            return BoxSegmenter()
    raise UserError(f"unknown segmenter {kind!r} - choose one of {', '.join(KINDS)}")


def check_prompt(image: npt.NDArray[Any], box: Box) -> None:
    """Raise ValueError unless image is uint8 (H, W, 3) and box is four ordered whole numbers inside it."""
    if image.dtype != np.uint8 or image.ndim != 3 or image.shape[2] != 3:
        raise ValueError(f"image must be uint8 (H, W, 3), got {image.dtype} {image.shape}")
    if len(box) != 4 or not all(isinstance(edge, int | np.integer) for edge in box):
        raise ValueError(f"box must be four whole numbers x_min, y_min, x_max, y_max, got {box}")
    x_min, y_min, x_max, y_max = box
    height, width = image.shape[:2]
    if not (0 <= x_min <= x_max < width and 0 <= y_min <= y_max < height):
        raise ValueError(f"box {box} is not ordered or leaves the image of {width} x {height} pixels")
