"""The raw data set in BUSI's layout, images and masks side by side; only download and prepare may import it."""

import re
from collections import defaultdict
from collections.abc import Sequence
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


def mask_files(images: Sequence[Path]) -> list[list[Path]]:
    """The masks beside each image, one at least; 17 images of BUSI have several (METHOD 8.3)."""
    beside = defaultdict(list)
    # Once a folder: looking for each image's masks would take the square of the time.
    for folder in {image.parent for image in images}:
        for file in sorted(folder.iterdir()):
            if found := re.fullmatch(r"(.+)_mask(_\d+)?\.png", file.name):
                beside[folder / f"{found[1]}.png"].append(file)
    if lacking := next((image for image in images if image not in beside), None):
        raise UserError(f"{lacking} has no mask beside it - run the download stage again")
    return [beside[image] for image in images]


def joined(files: Sequence[Path]) -> np.ndarray:
    """The masks of one image OR-ed, bool (H, W)."""
    return np.asarray(np.logical_or.reduce([read_mask(file) for file in files]))
