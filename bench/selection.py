"""Algorithm 1 of the paper: two regions of interest from a CAM, and the images whose regions agree.

Paper, section II-B; every case the paper leaves open is METHOD 10a.
"""

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import cv2
import numpy as np

Box = tuple[int, int, int, int]
LEVELS = 256


@dataclass(frozen=True)
class Roi:
    """One region of interest: intensity T (None: no level is rare enough) and box (None: no pixel in [T, cap])."""

    level: int | None
    box: Box | None

    @property
    def reason(self) -> str:
        """Why there is no box: "saturated" (no T exists), "empty" (no pixel in [T, cap]); "" when there is one."""
        if self.level is None:
            return "saturated"
        return "" if self.box else "empty"


@dataclass(frozen=True)
class Stability:
    """Both regions of one image and their IoU (None without both regions)."""

    broad: Roi
    narrow: Roi
    iou: float | None


def quantise(cam: np.ndarray) -> np.ndarray:
    """Min-max normalise a CAM (H, W) of any float range to uint8 0..255; a constant map becomes all zero."""
    low, high = float(cam.min()), float(cam.max())
    if not np.isfinite([low, high]).all():
        raise ValueError("the CAM holds values that are not finite")
    if high == low:
        return np.zeros(cam.shape, np.uint8)
    return np.rint((cam.astype(np.float64) - low) * (255.0 / (high - low))).astype(np.uint8)


def threshold_level(levels: np.ndarray, alpha: float) -> int | None:
    """T: the smallest intensity such that at most `alpha` percent of the pixels lie at or above it.

    C(i) counts the pixels >= i (the paper's line 2 is misprinted as a constant). None when even the top level
    holds more than `alpha` percent. levels: uint8 (H, W).
    """
    at_or_above = np.cumsum(np.bincount(levels.ravel(), minlength=LEVELS)[::-1])[::-1]
    allowed = np.flatnonzero(at_or_above <= alpha / 100.0 * levels.size)
    return int(allowed[0]) if allowed.size else None


def region(levels: np.ndarray, alpha: float, upper_level: int) -> Roi:
    """The box around the pixels in [T, upper_level], inclusive pixel coordinates (x_min, y_min, x_max, y_max)."""
    level = threshold_level(levels, alpha)
    if level is None:
        return Roi(None, None)
    inside = (levels >= level) & (levels <= upper_level)
    columns, rows = np.flatnonzero(inside.any(axis=0)), np.flatnonzero(inside.any(axis=1))
    if not columns.size:
        return Roi(level, None)
    return Roi(level, (int(columns[0]), int(rows[0]), int(columns[-1]), int(rows[-1])))


def box_iou(a: Box, b: Box) -> float:
    """IoU of two boxes of inclusive pixel coordinates."""
    width = min(a[2], b[2]) - max(a[0], b[0]) + 1
    height = min(a[3], b[3]) - max(a[1], b[1]) + 1
    shared = max(width, 0) * max(height, 0)
    return shared / (_area(a) + _area(b) - shared)


def _area(box: Box) -> int:
    return (box[2] - box[0] + 1) * (box[3] - box[1] + 1)


def stability(cam: np.ndarray, size: tuple[int, int], alpha1: float, alpha2: float, upper_level: int) -> Stability:
    """Both regions of one CAM at the image's original size, and their IoU.

    cam: float (h, w). size: (width, height) of the original image, to which the CAM is upsampled bilinearly.
    alpha1 > alpha2 in percent: the broad region prompts the segmenter, the narrow one only tests stability.
    """
    levels = quantise(cv2.resize(cam.astype(np.float32), size, interpolation=cv2.INTER_LINEAR))
    broad, narrow = (region(levels, alpha, upper_level) for alpha in (alpha1, alpha2))
    iou = box_iou(broad.box, narrow.box) if broad.box and narrow.box else None
    return Stability(broad, narrow, iou)


@dataclass(frozen=True)
class Selection:
    """The subset L as a flag per image, why, and which rule made it ("none": L is too small to train on)."""

    selected: list[bool]
    reasons: list[str]
    rule: Literal["threshold", "top_fraction", "none"]


def choose(
    ids: Sequence[str],
    results: Sequence[Stability],
    *,
    rule: Literal["threshold", "top_fraction"],
    iou_threshold: float,
    top_fraction: float,
    fallback: Literal["top_fraction", "none"],
    batch_size: int,
) -> Selection:
    """Make L. `threshold` is the paper's rule; when it gives fewer than `batch_size` images, `fallback` decides.

    No image without both regions is ever selected.
    """
    if rule == "threshold":
        chosen = [result.iou is not None and result.iou > iou_threshold for result in results]
        if sum(chosen) >= batch_size:
            return Selection(chosen, _reasons(results, chosen, "IoU above threshold", "IoU too low"), "threshold")
        if fallback == "none":
            return Selection(chosen, _reasons(results, chosen, "IoU above threshold", "IoU too low"), "none")
    chosen = most_stable(ids, results, top_fraction)
    made: Literal["top_fraction", "none"] = "top_fraction" if sum(chosen) >= batch_size else "none"
    return Selection(chosen, _reasons(results, chosen, "among the most stable", "not among the most stable"), made)


def most_stable(ids: Sequence[str], results: Sequence[Stability], share: float) -> list[bool]:
    """Flags of the `share` of all images with the highest box IoU; ties fall by a hash of the id, not by order."""
    ranked = sorted(
        (index for index, result in enumerate(results) if result.iou is not None),
        key=lambda index: (-(results[index].iou or 0.0), hashlib.sha256(ids[index].encode()).digest()),
    )
    kept = set(ranked[: round(share * len(ids))])
    return [index in kept for index in range(len(ids))]


def _reasons(results: Sequence[Stability], chosen: Sequence[bool], yes: str, no: str) -> list[str]:
    return [yes if flag else _missing(result) or no for result, flag in zip(results, chosen, strict=True)]


def _missing(result: Stability) -> str:
    """Which of the two regions is missing and why; "" when both are there."""
    named = (("alpha1", result.broad), ("alpha2", result.narrow))
    return "; ".join(f"no ROI at {name}: {roi.reason}" for name, roi in named if roi.reason)
