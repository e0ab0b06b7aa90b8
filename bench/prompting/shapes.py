"""Masks that follow from the box alone: diagnostics beside the segmenters that look at the image."""

import math

import numpy as np
import numpy.typing as npt

from bench.prompting import Box, Segmenter, check_prompt

INSCRIBED = math.pi / 4
"""Area of the ellipse inscribed in a box, as a share of the box's area."""


def ellipse_in_box(shape: tuple[int, int], box: Box, area: float = INSCRIBED) -> npt.NDArray[np.bool_]:
    """Draw the ellipse concentric with `box` and of its proportions: bool (H, W) for shape (H, W).

    `area` is the ellipse's area as a share of the box's; a pixel is True when its centre lies inside.
    The box may leave the image; what lies outside is cut off.
    """
    x_min, y_min, x_max, y_max = box
    rows, columns = np.ogrid[: shape[0], : shape[1]]
    x = (2 * columns - x_min - x_max) / (x_max - x_min + 1)
    y = (2 * rows - y_min - y_max) / (y_max - y_min + 1)
    inside: npt.NDArray[np.bool_] = x**2 + y**2 <= area / INSCRIBED
    return inside


class EllipseSegmenter(Segmenter):
    """The ellipse inscribed in the box (METHOD 7)."""

    name = "ellipse in the box"

    def segment(self, image: npt.NDArray[np.uint8], box: Box) -> npt.NDArray[np.bool_]:
        """See Segmenter.segment."""
        check_prompt(image, box)
        return ellipse_in_box((image.shape[0], image.shape[1]), box)


class BoxSegmenter(Segmenter):
    """The whole box (METHOD 7)."""

    name = "filled box"

    def segment(self, image: npt.NDArray[np.uint8], box: Box) -> npt.NDArray[np.bool_]:
        """See Segmenter.segment."""
        check_prompt(image, box)
        x_min, y_min, x_max, y_max = box
        mask = np.zeros(image.shape[:2], dtype=np.bool_)
        mask[y_min : y_max + 1, x_min : x_max + 1] = True
        return mask
