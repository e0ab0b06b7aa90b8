"""Reading the prepared images and image-level labels."""

from pathlib import Path

import cv2
import numpy as np
import pandas as pd

from bench.data.decode import read_rgb
from bench.errors import UserError

INDEX = "index.csv"
STORE = "store.npy"
ORIGINALS = "original"


def read_table(file: Path) -> pd.DataFrame:
    """A CSV file that a stage wrote; UserError when it is missing."""
    if not file.is_file():
        raise UserError(f"{file} is missing - run the stage that makes it (dvc repro)")
    return pd.read_csv(file)


def read_rows(store: Path, positions: np.ndarray) -> np.ndarray:
    """Rows `positions` of a store.npy, uint8 (k, S, S), read without loading the rest."""
    return np.ascontiguousarray(np.load(store, mmap_mode="r")[positions])


def read_original(originals: Path, image_id: str) -> np.ndarray:
    """RGB uint8 (H, W, 3) at the original size, from a folder of originals."""
    return read_rgb(originals / f"{image_id}.png")


def resize_mask(mask: np.ndarray, size: int) -> np.ndarray:
    """Bool (H, W) -> uint8 0/1 (size, size), nearest: the form of every mask store."""
    return cv2.resize(mask.astype(np.uint8), (size, size), interpolation=cv2.INTER_NEAREST_EXACT)
