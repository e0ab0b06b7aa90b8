"""Near-duplicate images: pairs by correlation of small thumbnails, and the groups they form. Never reads masks."""

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from PIL import Image
from scipy.sparse.csgraph import connected_components

from bench.data.categories import CATEGORIES
from bench.data.decode import read_rgb
from bench.data.overlays import COLOURED, coloured_share, stroke_pixels
from bench.progress import track

# Side of the image that is kept, in thumbnails: thumbnails of its crops are made from it.
TILE = 4
# Crops are tried in steps of this share of a side.
STEP = 0.04
DECIMALS = 4


@dataclass(frozen=True)
class Survey:
    """What one reading of all images gives, in their order.

    tiles: float32 (n, T, T), grey. digests: SHA-256 of size and pixels. flags: id, category, coloured_share, colour,
    stroke_pixels, annotated.
    """

    tiles: np.ndarray
    digests: list[str]
    flags: pd.DataFrame


def survey(files: Sequence[Path], categories: Sequence[str], thumbnail: int) -> Survey:
    """Read every image once. Raises UserError naming a file that is missing or no PNG."""
    side = TILE * thumbnail
    tiles = np.empty((len(files), side, side), np.float32)
    digests, flags = [], []
    for position, file in enumerate(track(files, "audit: images")):
        image = read_rgb(file)
        grey = Image.fromarray(image).convert("L")
        tiles[position] = np.asarray(grey.resize((side, side), Image.Resampling.BILINEAR))
        digests.append(hashlib.sha256(str(image.shape).encode() + image.tobytes()).hexdigest())
        colour, strokes = coloured_share(image), stroke_pixels(image)
        flags.append((file.stem, categories[position], round(colour, 6), colour > COLOURED, strokes, strokes > 0))
    columns = ["id", "category", "coloured_share", "colour", "stroke_pixels", "annotated"]
    return Survey(tiles, digests, pd.DataFrame(flags, columns=columns))


def correlations(tiles: np.ndarray, thumbnail: int, crop: float) -> np.ndarray:
    """Normalised cross-correlation of every two images, float32 (n, n), symmetric, rounded to 4 decimals.

    The highest over the thumbnails of one image's crops, up to the share `crop` cut off its height and off its width,
    against the thumbnail of the whole other. Brightness, contrast and size play no part; mirrored and turned images
    are not looked for. An image of one grey level correlates with nothing.
    """
    count, side, steps = len(tiles), tiles.shape[1], int(crop / STEP + 1e-6)
    cuts = [(first * STEP, last * STEP) for first in range(steps + 1) for last in range(steps + 1 - first)]
    resizings = [_resizing(side, thumbnail, first, last) for first, last in cuts]
    rows = tiles.reshape(-1, side)
    whole: np.ndarray | None = None
    best = np.full((count, count), -1, np.float32)
    for across in resizings:
        narrow = (rows @ across.T).reshape(count, side, thumbnail).transpose(0, 2, 1).reshape(-1, side)
        for down in resizings:
            units = _units((narrow @ down.T).reshape(count, -1))
            whole = units if whole is None else whole  # the first crop cuts nothing off
            np.maximum(best, units @ whole.T, out=best)
    return np.asarray(np.round(np.maximum(best, best.T), DECIMALS))


def _resizing(side: int, thumbnail: int, first: float, last: float) -> np.ndarray:
    """The matrix (thumbnail, side) that resizes a line of pixels, anti-aliased, without the shares at its ends."""
    lines = Image.fromarray(np.eye(side, dtype=np.float32))
    box = (0, first * side, side, (1 - last) * side)
    return np.asarray(lines.resize((side, thumbnail), Image.Resampling.BILINEAR, box))


def _units(vectors: np.ndarray) -> np.ndarray:
    """Every vector without its mean and of length 1; 0 where it is constant."""
    centred = vectors - vectors.mean(axis=1, keepdims=True)
    length = np.linalg.norm(centred, axis=1, keepdims=True)
    units: np.ndarray = np.divide(centred, length, out=np.zeros_like(centred), where=length > 1e-3)
    return units


def near_duplicates(correlation: np.ndarray, digests: Sequence[str], flags: pd.DataFrame, ncc: float) -> pd.DataFrame:
    """One line a pair that correlates above `ncc` or is pixel for pixel the same.

    Columns first, second (ids, in the images' order), ncc, exact, same_class.
    """
    names, classes, equal = flags["id"].to_numpy(), flags["category"].to_numpy(), np.asarray(digests)
    exact = equal[:, None] == equal
    first, second = np.nonzero(np.triu((correlation > ncc) | exact, 1))
    return pd.DataFrame(
        {
            "first": names[first],
            "second": names[second],
            "ncc": np.where(exact, np.float32(1), correlation)[first, second].astype(float).round(DECIMALS),
            "exact": exact[first, second],
            "same_class": classes[first] == classes[second],
        }
    )


def groups(ids: Sequence[str], pairs: pd.DataFrame) -> pd.DataFrame:
    """Columns id, group: images joined by pairs, directly or over others; numbered by their first image."""
    position = {image_id: index for index, image_id in enumerate(ids)}
    joined = np.zeros((len(ids), len(ids)), bool)
    joined[pairs["first"].map(position), pairs["second"].map(position)] = True
    labels = connected_components(joined, directed=False)[1]
    return pd.DataFrame({"id": list(ids), "group": pd.factorize(labels)[0]})


def summary(pairs: pd.DataFrame, grouped: pd.DataFrame, flags: pd.DataFrame) -> dict[str, Any]:
    """Counts and the pairs that need a look, as the report prints them."""
    sizes = grouped["group"].value_counts()
    several = sizes[sizes > 1]

    def listed(chosen: pd.DataFrame) -> list[list[str]]:
        return [[str(first), str(second)] for first, second in zip(chosen["first"], chosen["second"], strict=True)]

    def by_class(flagged: pd.Series) -> dict[str, int]:
        return {name: int((flagged & (flags["category"] == name)).sum()) for name in CATEGORIES}

    return {
        "images": len(flags),
        "images_by_class": by_class(flags["id"].notna()),
        "groups": len(several),
        "images_in_groups": int(several.sum()),
        "images_in_groups_by_class": by_class(grouped["group"].isin(several.index)),
        "largest_group": int(sizes.max()),
        "pairs": len(pairs),
        "exact_duplicates": listed(pairs[pairs["exact"]]),
        "cross_class_pairs": listed(pairs[~pairs["same_class"]]),
        "colour_by_class": by_class(flags["colour"]),
        "annotated_by_class": by_class(flags["annotated"]),
    }
