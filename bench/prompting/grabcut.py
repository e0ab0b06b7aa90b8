"""GrabCut from a box: the stand-in where no SAM weights can be had; never reported as SAM (METHOD 7)."""

from collections.abc import Iterable, Iterator

import cv2
import numpy as np
import numpy.typing as npt

from bench.pool import in_order
from bench.prompting import Box, Prompt, Segmenter, check_prompt
from bench.prompting.shapes import INSCRIBED, ellipse_in_box

WORKING_SIZE = 256  # longest side in pixels, where METHOD 7 measured the recipe; larger images are shrunk to it
SIGMA = 2.0  # pixels; speckle would split the colour models otherwise
MARGIN = 0.5  # window around the box, in box sizes a side
SURE_FOREGROUND = 0.5  # areas of concentric ellipses, as shares of the box's area
PROBABLE_BACKGROUND = 1.6
ITERATIONS = 5
NO_RECT = (0, 0, 0, 0)  # the labels take its place


class GrabCutSegmenter(Segmenter):
    """OpenCV's GrabCut started from nested ellipses in a window around the box (METHOD 7).

    cv2.GC_INIT_WITH_RECT collapses to empty masks on ultrasound, hence the ellipses. The innermost one is
    sure foreground, so a mask is never empty. `fallbacks` counts the boxes so far that left no background in
    the image (a few pixels wide or high, and filled by the box): their mask is the inscribed ellipse.
    """

    name = "GrabCut (not SAM)"

    def __init__(self, processes: int = 1) -> None:
        self.processes = processes
        self.fallbacks = 0

    def segment(self, image: npt.NDArray[np.uint8], box: Box) -> npt.NDArray[np.bool_]:
        """See Segmenter.segment; the same image and box always give the same mask."""
        check_prompt(image, box)
        height, width = image.shape[:2]
        scale = WORKING_SIZE / max(height, width)
        if scale >= 1:
            return self._segment(image, box)
        size = max(1, round(width * scale)), max(1, round(height * scale))
        small = np.asarray(cv2.resize(image, size, interpolation=cv2.INTER_AREA), dtype=np.uint8)
        mask = self._segment(small, _scaled(box, (width, height), size))
        shares = cv2.resize(mask.astype(np.float32), (width, height), interpolation=cv2.INTER_LINEAR)
        return np.asarray(shares > 0.5)

    def segment_all(self, prompts: Iterable[Prompt]) -> Iterator[npt.NDArray[np.bool_]]:
        """See Segmenter.segment_all; spread over `processes`, which changes no mask."""
        for mask, fallbacks in in_order(_one, prompts, self.processes):
            self.fallbacks += fallbacks
            yield mask

    def _segment(self, image: npt.NDArray[np.uint8], box: Box) -> npt.NDArray[np.bool_]:
        rows, columns, inner = _window(image.shape[0], image.shape[1], box)
        labels = _start((rows.stop - rows.start, columns.stop - columns.start), inner)
        mask = np.zeros(image.shape[:2], dtype=np.bool_)
        if np.all(labels & 1):
            self.fallbacks += 1
            mask[rows, columns] = True
            return mask
        window = np.ascontiguousarray(cv2.GaussianBlur(image, (0, 0), SIGMA)[rows, columns])
        # k-means draws the colour models' starts from OpenCV's global generator
        cv2.setRNGSeed(0)
        models = np.zeros((1, 65)), np.zeros((1, 65))
        cv2.grabCut(window, labels, NO_RECT, *models, ITERATIONS, cv2.GC_INIT_WITH_MASK)
        # foreground labels, sure and probable, are the odd ones
        _, components = cv2.connectedComponents(labels & 1)
        centre = (inner[1] + inner[3]) // 2, (inner[0] + inner[2]) // 2
        mask[rows, columns] = components == components[centre]
        return mask


def _one(image: npt.NDArray[np.uint8], box: Box) -> tuple[npt.NDArray[np.bool_], int]:
    """One prompt's mask, and whether it is the inscribed ellipse."""
    segmenter = GrabCutSegmenter()
    return segmenter.segment(image, box), segmenter.fallbacks


def _scaled(box: Box, old: tuple[int, int], new: tuple[int, int]) -> Box:
    """The pixels that `box` touches when an image of size `old` = (width, height) is shrunk to size `new`."""
    x_min, y_min, x_max, y_max = box
    return (
        x_min * new[0] // old[0],
        y_min * new[1] // old[1],
        -(-(x_max + 1) * new[0] // old[0]) - 1,
        -(-(y_max + 1) * new[1] // old[1]) - 1,
    )


def _window(height: int, width: int, box: Box) -> tuple[slice, slice, Box]:
    """Rows and columns of the window around `box`, and the box in the window's pixels."""
    x_min, y_min, x_max, y_max = (int(edge) for edge in box)
    margin_x = int(np.ceil(MARGIN * (x_max - x_min + 1)))
    margin_y = int(np.ceil(MARGIN * (y_max - y_min + 1)))
    left, top = max(0, x_min - margin_x), max(0, y_min - margin_y)
    rows = slice(top, min(height, y_max + margin_y + 1))
    columns = slice(left, min(width, x_max + margin_x + 1))
    return rows, columns, (x_min - left, y_min - top, x_max - left, y_max - top)


def _start(shape: tuple[int, int], box: Box) -> npt.NDArray[np.uint8]:
    """The labels GrabCut starts from: uint8 (H, W) of cv2.GC_*."""
    labels = np.full(shape, cv2.GC_BGD, dtype=np.uint8)
    labels[ellipse_in_box(shape, box, PROBABLE_BACKGROUND)] = cv2.GC_PR_BGD
    labels[ellipse_in_box(shape, box, INSCRIBED)] = cv2.GC_PR_FGD
    labels[ellipse_in_box(shape, box, SURE_FOREGROUND)] = cv2.GC_FGD
    return labels
