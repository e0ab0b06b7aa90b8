"""CAMs of many images to masks by threshold and DenseCRF, spread over processes. Imports neither torch nor pandas."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import cv2
import numpy as np
from numpy.typing import NDArray
from PIL import Image

from bench.crf import PARAMETERS, otsu, refine, threshold_mask
from bench.data.decode import read_rgb
from bench.pool import in_order


@dataclass(frozen=True)
class Work:
    """What is the same for all images.

    cams: a file float16 (n, S, S) in [0, 1]. originals: folder of <id>.png. masks: folder for the results' <id>.png.
    parameters: a name in PARAMETERS. threshold: a number, or "otsu" for each image's own.
    """

    cams: Path
    originals: Path
    masks: Path
    parameters: str
    threshold: float | str


@dataclass(frozen=True)
class Refined:
    """One image's result: bool (H, W) at the original size, threshold, foreground share before and after.

    empty_crf: the CRF left no foreground, so the mask is the thresholded CAM.
    """

    mask: NDArray[np.bool_]
    threshold: float
    share_before: float
    share: float
    empty_crf: bool


def refine_all(work: Work, ids: Sequence[str], processes: int) -> Iterator[Refined]:
    """Results in the order of `ids`, which is the order of the CAMs; the same for any number of processes.

    Each mask is written (1 bit) before its result is given. One process is this one. Raises UserError for an
    unreadable image and for a process that dies.
    """
    return in_order(partial(refine_one, work), enumerate(ids), processes)


def refine_one(work: Work, position: int, image_id: str) -> Refined:
    """CAM number `position`, upsampled to the image's size before threshold and CRF (METHOD 5.3)."""
    image = np.ascontiguousarray(read_rgb(work.originals / f"{image_id}.png"))
    height, width = image.shape[:2]
    small = np.load(work.cams, mmap_mode="r")[position].astype(np.float32)
    cam = cv2.resize(small, (width, height), interpolation=cv2.INTER_LINEAR)
    threshold = otsu(cam) if isinstance(work.threshold, str) else work.threshold
    before = threshold_mask(cam, threshold)
    mask = refine(image, cam, threshold, PARAMETERS[work.parameters])
    empty = not mask.any()
    if empty:
        mask = before
    Image.fromarray(mask).save(work.masks / f"{image_id}.png")
    return Refined(mask, threshold, float(before.mean()), float(mask.mean()), empty)
