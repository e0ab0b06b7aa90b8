"""What Algorithm 1 makes of maps that know nothing of an image: smooth Gaussian noise, one compact blob (METHOD C).

Lengths are shares of the image's side. A Gaussian field is white noise behind a Gaussian filter of width sigma, so
sigma says all about its smoothness; it is drawn on a torus so much larger than the map that the map's opposite edges
know nothing of each other.
"""

from collections.abc import Sequence
from dataclasses import asdict, dataclass, fields
from functools import cache

import numpy as np
import pandas as pd
from scipy import fft, ndimage

from bench.progress import track
from bench.schema import Noise
from bench.seeding import seed_for
from bench.selection import Stability, stability

Size = tuple[int, int]
"""(width, height) of an original image."""


@dataclass(frozen=True)
class Rule:
    """Algorithm 1 with the paper's kind of decision: box IoU above a threshold. alphas in percent of the pixels."""

    alpha1: float
    alpha2: float
    upper_level: int
    iou_threshold: float

    def apply(self, cam: np.ndarray, size: Size) -> Stability:
        """Both regions of one map (h, w) at an image's original size."""
        return stability(cam, size, self.alpha1, self.alpha2, self.upper_level)

    def ious(self, maps: np.ndarray, sizes: Sequence[Size]) -> np.ndarray:
        """Box IoUs of maps (n, h, w) at n original sizes: float64 (n,), NaN without both regions."""
        found = [self.apply(cam, size).iou for cam, size in zip(maps, sizes, strict=True)]
        return np.array([np.nan if iou is None else iou for iou in found])


# Columns of a rule in tables.
RULE = [field.name for field in fields(Rule)]
PAPER_RULE = Rule(2.5, 1.0, 250, 0.7)


def smooth_noise(rng: np.random.Generator, count: int, side: int, sigma: float) -> np.ndarray:
    """Stationary Gaussian noise: float32 (count, side, side), filtered by a Gaussian of `sigma` sides."""
    torus = fft.next_fast_len(side + int(np.ceil(6 * sigma * side)), real=True)
    maps = np.empty((count, side, side), np.float32)
    for position in range(count):
        spectrum = fft.rfft2(rng.standard_normal((torus, torus), dtype=np.float32))
        filtered = ndimage.fourier_gaussian(spectrum, sigma * side, n=torus)
        maps[position] = fft.irfft2(filtered, s=(torus, torus))[:side, :side]
    return maps


def smoothness(maps: np.ndarray) -> np.ndarray:
    """Estimate the sigma of maps (n, h, w) of any scale, in sides: float64 (n,), infinite for a constant map.

    Of a Gaussian field the variance of one derivative is that of the field over 2 sigma^2. A map that is smooth beside
    its own size shows less than its full variance, so large values come out too small, of noise as of CAMs.
    """
    estimates = np.full(len(maps), np.inf)
    for position, cam in enumerate(maps):
        values = cam.astype(np.float64)
        steps = [np.diff(values, axis=axis) * values.shape[axis] for axis in (0, 1)]
        slopes = sum(float((step**2).mean()) for step in steps)
        if slopes > 0:
            estimates[position] = np.sqrt(values.var() / slopes)
    return estimates


def matched_sigma(maps: np.ndarray, sigmas: Sequence[float], count: int) -> float:
    """The sigma at which noise looks as smooth as `maps` (n, h, h), by the medians of `smoothness`.

    Interpolated between `sigmas` (ascending), `count` noise maps at each; never outside their range.
    """
    medians = [_median_smoothness(count, maps.shape[-1], sigma) for sigma in sigmas]
    return float(np.interp(np.median(smoothness(maps)), np.maximum.accumulate(medians), sigmas))


@cache
def _median_smoothness(count: int, side: int, sigma: float) -> float:
    """Of the noise maps that stand for one sigma."""
    return float(np.median(smoothness(drawn_noise(count, side, sigma))))


def drawn_noise(count: int, side: int, sigma: float) -> np.ndarray:
    """The noise maps that stand for one sigma, always the same: float32 (count, side, side)."""
    return smooth_noise(np.random.default_rng(seed_for("noise", str(sigma))), count, side, sigma)


def box_ious(rules: Sequence[Rule], maps: np.ndarray, sizes: Sequence[Size]) -> pd.DataFrame:
    """Box IoUs of maps (n, h, w) by rule: the rule's values, map (its number), iou (NaN without both regions).

    sizes: of original images, taken in turn.
    """
    turns = [sizes[position % len(sizes)] for position in range(len(maps))]
    tables = [pd.DataFrame({**asdict(rule), "map": range(len(maps)), "iou": rule.ious(maps, turns)}) for rule in rules]
    return pd.concat(tables, ignore_index=True)


def sweep(rules: Sequence[Rule], options: Noise, side: int, sizes: Sequence[Size]) -> pd.DataFrame:
    """What the rules make of noise: one line a sigma and rule, with the smoothness that is estimated of it.

    accepted: maps with a box IoU above the threshold; without_regions: maps that lack a region; median_iou: of the
    others, NaN where there are none; smoothness: median, in sides.
    """
    lines = []
    for sigma in track(options.sigmas, "noise through Algorithm 1"):
        maps = drawn_noise(options.maps, side, sigma)
        for rule, (_, found) in zip(rules, box_ious(rules, maps, sizes).groupby(RULE, sort=False), strict=True):
            lines.append(
                {
                    "sigma": sigma,
                    **asdict(rule),
                    **_summary(rule, found["iou"]),
                    "smoothness": _median_smoothness(options.maps, side, sigma),
                }
            )
    return pd.DataFrame(lines)


def _summary(rule: Rule, ious: pd.Series) -> dict[str, float]:
    return {
        "maps": len(ious),
        "accepted": int((ious > rule.iou_threshold).sum()),
        "without_regions": int(ious.isna().sum()),
        "median_iou": float(ious.median()),
    }


def compact_blob(side: int) -> np.ndarray:
    """One round peak in the middle, far from the edges: float64 (side, side), falling linearly to 0."""
    y, x = (np.mgrid[:side, :side] + 0.5) / side
    return np.asarray(np.maximum(0, 1 - np.hypot(x - 0.5, y - 0.5) / 0.4))
