"""Breast-ultrasound phantoms: the project's own data set, laid out as BUSI.

Tissue, look-alikes and scanner settings come from one distribution for all three categories; only a lesion
and the shadow or enhancement below it tell a category.
"""

import math
import os
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image
from scipy.ndimage import gaussian_filter

from bench.data.bmode import (
    Floats,
    broken,
    draw_scanner,
    fibres,
    residual_gain,
    ridge,
    scan,
    smooth_noise,
    tissue,
    transmission,
)
from bench.data.categories import CATEGORIES
from bench.files import replacing_folder
from bench.pool import in_order
from bench.progress import track

WIDTHS = (150, 260)
HEIGHTS = (120, 220)
AREAS = (0.024, 0.14)
PAIR_AREAS = (0.024, 0.06)
PAIR_SHARE = 0.05
PLACEMENTS = 40
# Phantoms for a process to be worth its start, which takes as long as rendering some twenty.
PROCESS_JOBS = 50
Bools = NDArray[np.bool_]


@dataclass(frozen=True)
class Phantom:
    """One simulated scan.

    `image` is the uint8 (H, W) grey B-mode image; `masks` holds one bool (H, W) array per lesion, true inside
    it, pairwise disjoint, and is empty for a normal breast.
    """

    image: NDArray[np.uint8]
    masks: tuple[Bools, ...]


@dataclass(frozen=True)
class Lesion:
    """Geometry and acoustics of one lesion; echo strengths in dB against the surround, widths in pixels."""

    mask: Bools
    distance: Floats  # px outside the margin along the ray from the centre, negative inside
    steepness: Floats  # 0..1, how squarely the beam meets the margin
    contrast: float  # dB below the surround
    texture: float  # dB, standard deviation of the interior
    softness: float  # px, blur of the margin
    rim: float  # dB, thin bright margin
    halo: float  # dB, broad bright surround
    effect: float  # dB lost through the thickest part; negative enhances
    edges: float  # dB lost in the refraction shadows beside the lesion


def render(category: str, index: int, seed: int) -> Phantom:
    """Simulate phantom number `index` of `category` (benign, malignant or normal).

    Width (150..260 px) and height (120..220 px) are drawn with everything else from a generator of its own,
    seeded by (seed, category, index), so that no other phantom influences this one. Raises ValueError for
    an unknown category and for a negative index or seed.
    """
    rng = np.random.default_rng([seed, CATEGORIES.index(category), index])
    shape = int(rng.integers(HEIGHTS[0], HEIGHTS[1] + 1)), int(rng.integers(WIDTHS[0], WIDTHS[1] + 1))
    echo = tissue(rng, shape)
    _add_lookalikes(rng, echo)
    gain = residual_gain(rng, shape)
    scanner = draw_scanner(rng, echo + gain)
    lesions = _lesions(rng, shape, category) if category != "normal" else []
    for lesion in lesions:
        echo = _with_lesion(rng, echo, lesion)
        gain = gain + _behind(lesion)
    return Phantom(scan(echo, gain, scanner, rng), tuple(lesion.mask for lesion in lesions))


def render_all(jobs: Sequence[tuple[str, int]], seed: int, processes: int) -> Iterator[Phantom]:
    """The phantoms of (category, index), in order; see `render`. Of many, up to `processes` are rendered at once."""
    worthwhile = min(processes, max(len(jobs) // PROCESS_JOBS, 1))
    yield from in_order(render, [(category, index, seed) for category, index in jobs], worthwhile)


def write(raw: Path, counts: Mapping[str, int], seed: int) -> None:
    """Fill folder `raw` with `counts[category]` phantoms per category, in the layout of BUSI, all or nothing.

    Phantoms count from 1: "benign/benign (1).png" (8-bit grey) with "benign (1)_mask.png" (8-bit, 0 or 255)
    and, for further lesions, "benign (1)_mask_1.png" and so on; a normal breast has one empty mask. What
    stood at `raw` before is gone afterwards. Raises UserError when the disk refuses the write and ValueError
    for an unknown category.
    """
    jobs = [(category, index) for category, count in counts.items() for index in range(1, count + 1)]
    with replacing_folder(raw) as folder:
        for category in counts:
            (folder / category).mkdir()
        rendered = track(render_all(jobs, seed, len(os.sched_getaffinity(0))), "phantoms", len(jobs))
        for (category, index), phantom in zip(jobs, rendered, strict=True):
            _save(folder / category, f"{category} ({index})", phantom)


def _save(folder: Path, stem: str, phantom: Phantom) -> None:
    Image.fromarray(phantom.image).save(folder / f"{stem}.png")
    masks = phantom.masks or (np.zeros(phantom.image.shape, dtype=bool),)
    for number, mask in enumerate(masks):
        suffix = f"_mask_{number}" if number else "_mask"
        Image.fromarray(mask.astype(np.uint8) * 255).save(folder / f"{stem}{suffix}.png")


def _polar(shape: tuple[int, int], centre: tuple[float, float]) -> tuple[Floats, Floats]:
    """Radius (px) and angle (0..2 pi) of every pixel seen from `centre` (row, column)."""
    rows = np.arange(shape[0], dtype=np.float32)[:, None] - np.float32(centre[0])
    columns = np.arange(shape[1], dtype=np.float32)[None] - np.float32(centre[1])
    return np.hypot(rows, columns), np.arctan2(rows, columns) % np.float32(2 * np.pi)


def _ellipse(angles: Floats, aspect: float, tilt: float) -> Floats:
    """Radius over angle of an ellipse of unit area scale, `aspect` times wider than tall before the tilt."""
    turned = angles - tilt
    radius: Floats = 1 / np.sqrt(np.cos(turned) ** 2 / aspect + np.sin(turned) ** 2 * aspect)
    return radius


def _add_lookalikes(rng: np.random.Generator, echo: Floats) -> None:
    """Set oval fat lobules with bright septa, but without any posterior effect, into `echo` in place."""
    height, width = echo.shape
    for _ in range(rng.poisson(1.2)):
        centre = height * rng.uniform(0.15, 0.75), width * rng.uniform(0.1, 0.9)
        size = math.sqrt(height * width * math.exp(rng.uniform(math.log(0.012), math.log(0.08))) / math.pi)
        radius, angles = _polar((height, width), centre)
        margin = size * _ellipse(angles, rng.uniform(1.4, 3.2), rng.uniform(-0.3, 0.3))
        distance = radius - margin * (1 + 0.05 * smooth_noise(rng, (height, width), (25, 25)))
        level = float(_ring(echo, distance).mean()) + rng.uniform(-2, 3)
        inside = np.clip(0.5 - distance / 2, 0, 1)
        fill = level + 1.2 * smooth_noise(rng, (height, width), (5, 14)) + _septum(rng, echo.shape)
        echo += inside * (fill - echo)
        echo += rng.uniform(5, 11) * ridge(distance, 1.4) * broken(rng, (height, width))


def _septum(rng: np.random.Generator, shape: tuple[int, int]) -> Floats:
    return rng.uniform(2, 8) * fibres(rng, shape, (12, 40), 1.0)


def _ring(echo: Floats, distance: Floats) -> Floats:
    """Echo strengths (dB) of the pixels up to 8 px outside a margin."""
    return echo[(distance > 0) & (distance < 8)]


def _lesions(rng: np.random.Generator, shape: tuple[int, int], category: str) -> list[Lesion]:
    """Draw one lesion, or now and then two that lie apart."""
    if rng.random() >= PAIR_SHARE:
        return [_lesion(rng, shape, category, AREAS)]
    first = _lesion(rng, shape, category, PAIR_AREAS)
    for _ in range(PLACEMENTS):
        second = _lesion(rng, shape, category, PAIR_AREAS)
        if float(first.distance[second.mask].min()) > 4:
            return [first, second]
    return [first]


def _lesion(rng: np.random.Generator, shape: tuple[int, int], category: str, areas: tuple[float, float]) -> Lesion:
    """Draw one lesion whose mask lies wholly inside an image of `shape` and covers a share in `areas`."""
    outline = _malignant_outline(rng) if category == "malignant" else _benign_outline(rng)
    height, width = shape
    angles = np.arange(len(outline)) * (2 * np.pi / len(outline))
    area = height * width * math.exp(rng.uniform(math.log(areas[0]), math.log(areas[1])))
    outline = outline * math.sqrt(area / (np.pi * float(np.mean(outline**2))))
    ys, xs = outline * np.sin(angles), outline * np.cos(angles)
    outline = outline * min(1, 0.8 * height / float(np.ptp(ys)), 0.9 * width / float(np.ptp(xs)))
    ys, xs = outline * np.sin(angles), outline * np.cos(angles)
    row = _between(height * rng.normal(0.42, 0.13), 0.08 * height - ys.min(), 0.95 * height - ys.max())
    column = _between(width * rng.normal(0.5, 0.16), 0.02 * width - xs.min(), 0.98 * width - xs.max())
    radius, around = _polar(shape, (row, column))
    grid = np.append(angles, 2 * np.pi)
    margin = np.interp(around, grid, np.append(outline, outline[0])).astype(np.float32)
    distance = radius - margin
    make = _malignant if category == "malignant" else _benign
    return make(rng, distance, np.abs(np.sin(around)))


def _between(value: float, low: float, high: float) -> float:
    return float(min(max(value, low), high))


def _benign_outline(rng: np.random.Generator) -> NDArray[np.float64]:
    """Radius over 720 angles of a smooth, gently lobed oval."""
    angles = np.linspace(0, 2 * np.pi, 720, endpoint=False)
    outline = _ellipse(angles, rng.uniform(1.2, 2.3), rng.uniform(-0.25, 0.25))
    for order in (2, 3, 4):
        outline = outline * (1 + rng.normal(0, 0.035) * np.cos(order * angles + rng.uniform(0, 2 * np.pi)))
    return np.asarray(outline, dtype=np.float64)


def _malignant_outline(rng: np.random.Generator) -> NDArray[np.float64]:
    """Radius over 720 angles of an irregular mass, microlobulated or spiculated."""
    angles = np.linspace(0, 2 * np.pi, 720, endpoint=False)
    outline = _ellipse(angles, rng.uniform(0.6, 1.25), rng.uniform(-0.4, 0.4))
    for order in range(2, 9):
        outline = outline * (1 + rng.normal(0, 0.16 / order) * np.cos(order * angles + rng.uniform(0, 2 * np.pi)))
    if rng.random() < 0.5:
        lobes = np.abs(np.sin(rng.integers(9, 18) / 2 * angles + rng.normal(0, 0.4) * np.sin(2 * angles)))
        return np.asarray(outline * (1 + rng.uniform(0.06, 0.13) * (lobes - 0.6)), dtype=np.float64)
    for _ in range(rng.integers(5, 12)):
        away = (angles - rng.uniform(0, 2 * np.pi) + np.pi) % (2 * np.pi) - np.pi
        outline = outline * (1 + rng.uniform(0.1, 0.45) * np.exp(-np.abs(away) / rng.uniform(0.05, 0.12)))
    return np.asarray(outline, dtype=np.float64)


def _benign(rng: np.random.Generator, distance: Floats, steepness: Floats) -> Lesion:
    cyst = rng.random() < 0.15
    enhances = cyst or rng.random() < 0.75
    return Lesion(
        mask=distance < 0,
        distance=distance,
        steepness=steepness,
        contrast=rng.uniform(18, 28) if cyst else rng.uniform(10, 16),
        texture=rng.uniform(0.3, 1.5),
        softness=rng.uniform(0.3, 0.9),
        rim=rng.uniform(4, 11) if rng.random() < 0.6 else 0.0,
        halo=0.0,
        effect=-rng.uniform(3, 10) if enhances else 0.0,
        edges=rng.uniform(0, 6),
    )


def _malignant(rng: np.random.Generator, distance: Floats, steepness: Floats) -> Lesion:
    return Lesion(
        mask=distance < 0,
        distance=distance,
        steepness=steepness,
        contrast=rng.uniform(9, 16),
        texture=rng.uniform(1.5, 3.5),
        softness=rng.uniform(1.0, 2.3),
        rim=0.0,
        halo=rng.uniform(2, 6) if rng.random() < 0.5 else 0.0,
        effect=rng.uniform(4, 14) if rng.random() < 0.8 else 0.0,
        edges=0.0,
    )


def _with_lesion(rng: np.random.Generator, echo: Floats, lesion: Lesion) -> Floats:
    """The echo map (dB) with `lesion` in place of the tissue; `echo` stays as it was."""
    shape = lesion.mask.shape
    inside = gaussian_filter(lesion.mask.astype(np.float32), lesion.softness)
    grain = smooth_noise(rng, shape, (5, 9)) + 0.6 * smooth_noise(rng, shape, (12, 14))
    ring = _ring(echo, lesion.distance)
    # A lesion between a bright and a dark layer would otherwise vanish in the dark one.
    level = min(float(ring.mean()) - lesion.contrast, float(np.quantile(ring, 0.2)) - 3)
    fill = level + lesion.texture * grain
    echo = echo + inside * (fill - echo)
    halo = lesion.halo * ridge(lesion.distance - 4, 4.0) * (lesion.distance > 0)
    return echo + halo + lesion.rim * ridge(lesion.distance, 1.2) * lesion.steepness**2


def _behind(lesion: Lesion) -> Floats:
    """Gain in dB that the lesion adds on its own rows and below them: shadow, enhancement, edge shadows."""
    thickness = lesion.mask.sum(axis=0)
    gain = transmission(lesion.mask * np.float32(lesion.effect / thickness.max()), 1.5)
    columns = np.flatnonzero(thickness)
    across = np.arange(len(thickness), dtype=np.float32)
    rows = np.arange(len(lesion.mask), dtype=np.float32)[:, None]
    middle = np.flatnonzero(lesion.mask.any(axis=1)).mean()
    started = np.clip((rows - middle) / 4, 0, 1)
    strips = ridge(across - columns[0], 1.8) + ridge(across - columns[-1], 1.8)
    behind: Floats = gain - lesion.edges * started * strips
    return behind
