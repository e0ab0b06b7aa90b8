"""Box prompt -> mask: SAM, its separately named stand-in GrabCut, and two diagnostics behind one protocol.

Importing this package loads neither torch nor OpenCV; `bench.prompting.kinds` makes a segmenter of a kind.
"""

from collections.abc import Iterable, Iterator
from typing import Any, Protocol

import numpy as np
import numpy.typing as npt

Box = tuple[int, int, int, int]
"""x_min, y_min, x_max, y_max: inclusive pixels of the original image (METHOD 10b)."""

Prompt = tuple[npt.NDArray[np.uint8], Box]
"""An image, uint8 (H, W, 3) RGB, and a box on it."""


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
