"""Algorithm 1 over a grid of alpha1, alpha2 and IoU threshold: what L would be, and how good, without training.

The numbers are those of bench.selection; the work that the cells of a grid share is done once an image.
"""

import hashlib
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import product
from pathlib import Path
from typing import Any, Literal

import cv2
import numpy as np

from bench.data.categories import TUMOURS
from bench.files import digest
from bench.noise import PAPER_RULE
from bench.selection import Box, Roi, Stability, box_iou, choose, quantise, region

# The paper's setting: alpha1 and alpha2 in percent, IoU threshold.
PAPER = (PAPER_RULE.alpha1, PAPER_RULE.alpha2, PAPER_RULE.iou_threshold)


@dataclass(frozen=True)
class Axes:
    """The values of the grid, each axis ascending; alphas in percent of an image's pixels."""

    alpha1: tuple[float, ...]
    alpha2: tuple[float, ...]
    iou_threshold: tuple[float, ...]

    def pairs(self) -> list[tuple[float, float]]:
        """(alpha1, alpha2) of every possible cell: the narrow region holds fewer pixels than the broad one."""
        return [(broad, narrow) for broad, narrow in product(self.alpha1, self.alpha2) if narrow < broad]

    def impossible(self) -> list[tuple[float, float]]:
        """(alpha1, alpha2) of the cells that Algorithm 1 does not have."""
        return [(broad, narrow) for broad, narrow in product(self.alpha1, self.alpha2) if narrow >= broad]


@dataclass(frozen=True)
class Swept:
    """One image of V: its region at every alpha, and the box around its lesions (None: its mask is empty)."""

    id: str
    category: str
    regions: Mapping[float, Roi]
    truth: Box | None


@dataclass(frozen=True)
class Rules:
    """What of the profile decides L beside the grid's axes."""

    top_fraction: float
    batch_size: int


def basis(cams: Path, upper_level: int) -> str:
    """What the regions of a run's images come from: a digest of its CAMs and of Algorithm 1's upper level."""
    parts = digest(cams / "cams.npy"), digest(cams / "ids.csv"), str(upper_level)
    # Digits alone could be read back from a table as a number.
    return f"cams-{hashlib.sha256(' '.join(parts).encode()).hexdigest()[:16]}"


def regions(cam: np.ndarray, size: tuple[int, int], alphas: Sequence[float], upper_level: int) -> dict[float, Roi]:
    """`bench.selection.region` of one CAM (h, w) at the original size (width, height), for every alpha at once."""
    levels = quantise(cv2.resize(cam.astype(np.float32), size, interpolation=cv2.INTER_LINEAR))
    return {alpha: region(levels, alpha, upper_level) for alpha in alphas}


def rows(
    images: Sequence[Swept], axes: Axes, rules: Rules, mask_ious: Mapping[float, Sequence[float]]
) -> Iterator[dict[str, Any]]:
    """One line a possible cell, in the order of the axes; all qualities in percent, None where they are not known.

    mask_ious: by alpha1, the tumour IoU in percent of every image's pseudo-mask, in the order of `images`.
    """
    ids = [image.id for image in images]
    prompts = {alpha: [_prompt_iou(image, alpha) for image in images] for alpha in axes.alpha1}
    for alpha1, alpha2 in axes.pairs():
        results = [_stability(image, alpha1, alpha2) for image in images]
        boxes, masks = prompts[alpha1], mask_ious.get(alpha1, [None] * len(images))
        shared = {
            "without_roi": sum(result.iou is None for result in results),
            "box_iou_V": _mean(boxes, [True] * len(images)),
            "mask_iou_V": _mean(masks, [True] * len(images)),
        }
        ranked, _ = _chosen(ids, results, "top_fraction", 0.0, rules)
        for threshold in axes.iou_threshold:
            chosen, made = _chosen(ids, results, "threshold", threshold, rules)
            rest = [not flag for flag in chosen]
            by_class = {
                name: sum(flag and image.category == name for flag, image in zip(chosen, images, strict=True))
                for name in TUMOURS
            }
            yield {
                "alpha1": alpha1,
                "alpha2": alpha2,
                "iou_threshold": threshold,
                "selected": sum(chosen),
                **by_class,
                "share": round(100 * sum(chosen) / len(images), 2),
                "trainable": made == "threshold",
                "box_iou_L": _mean(boxes, chosen),
                "mask_iou_L": _mean(masks, chosen),
                "mask_iou_U": _mean(masks, rest),
                **shared,
                "ranked": sum(ranked),
                "ranked_box_iou_L": _mean(boxes, ranked),
                "ranked_mask_iou_L": _mean(masks, ranked),
            }


def _stability(image: Swept, alpha1: float, alpha2: float) -> Stability:
    broad, narrow = image.regions[alpha1], image.regions[alpha2]
    return Stability(broad, narrow, box_iou(broad.box, narrow.box) if broad.box and narrow.box else None)


def _chosen(
    ids: Sequence[str],
    results: Sequence[Stability],
    rule: Literal["threshold", "top_fraction"],
    threshold: float,
    rules: Rules,
) -> tuple[list[bool], str]:
    """Flags of L under one rule without a fallback, and the rule, "none" when L is smaller than one batch."""
    selection = choose(
        ids,
        results,
        rule=rule,
        iou_threshold=threshold,
        top_fraction=rules.top_fraction,
        fallback="none",
        batch_size=rules.batch_size,
    )
    return selection.selected, selection.rule


def _prompt_iou(image: Swept, alpha1: float) -> float | None:
    """IoU in percent of the broad region and the true box; 0 without a region, None without a lesion."""
    if image.truth is None:
        return None
    box = image.regions[alpha1].box
    return 100 * box_iou(box, image.truth) if box else 0.0


def _mean(values: Sequence[float | None], flags: Sequence[bool]) -> float | None:
    """Mean over the flagged images of what is known; None when nothing is."""
    known = [value for value, flag in zip(values, flags, strict=True) if flag and value is not None]
    return round(float(np.mean(known)), 2) if known else None
