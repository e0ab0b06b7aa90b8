"""The raw data set in BUSI's layout, images and masks side by side; only download and prepare may import it."""

import re
from pathlib import Path

import numpy as np

from bench.data.categories import CATEGORIES
from bench.data.decode import read_mask
from bench.errors import UserError
from bench.paths import Paths


def folder(paths: Paths) -> Path:
    """benign/, malignant/ and normal/, each with "<class> (<n>).png" and its masks."""
    return paths.data / "raw"


def image_files(raw: Path) -> list[Path]:
    """The images (not the masks), by category and then by number."""
    files = [file for category in CATEGORIES for file in (raw / category).glob("*.png") if "_mask" not in file.name]
    if not files:
        raise UserError(f"{raw} holds no images - run the download stage (dvc repro)")
    return sorted(files, key=lambda file: (CATEGORIES.index(file.parent.name), _number(file), file.name))


def _number(file: Path) -> int:
    found = re.search(r"\((\d+)\)", file.stem)
    return int(found.group(1)) if found else 0


def mask_files(image: Path) -> list[Path]:
    """The masks beside an image, one at least; 17 images of BUSI have several (METHOD 8.3)."""
    pattern = re.escape(image.stem) + r"_mask(_\d+)?\.png"
    files = sorted(file for file in image.parent.iterdir() if re.fullmatch(pattern, file.name))
    if not files:
        raise UserError(f"{image} has no mask beside it - run the download stage again")
    return files


def combined_mask(image: Path) -> np.ndarray:
    """All masks beside an image OR-ed, bool (H, W)."""
    return np.asarray(np.logical_or.reduce([read_mask(file) for file in mask_files(image)]))
