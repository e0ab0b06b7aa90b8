"""The ground-truth masks. A test watches that few stages import this (README, the mask firewall)."""

from pathlib import Path

import numpy as np

from bench.data.decode import read_mask
from bench.data.images import ORIGINALS
from bench.paths import Paths

# id, category, masks: how many masks of the raw data set were joined.
COUNTS = "counts.csv"


def folder(paths: Paths) -> Path:
    """store.npy, uint8 0/1 (n, S, S) in the order of the images' index, original/<id>.png and counts.csv."""
    return paths.data / "masks"


def read_original_mask(masks: Path, image_id: str) -> np.ndarray:
    """Bool (H, W) at the original size."""
    return read_mask(masks / ORIGINALS / f"{image_id}.png")
