"""Decoding of image and mask files."""

import zlib
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from bench.errors import UserError

UNREADABLE = (OSError, SyntaxError, ValueError, EOFError, zlib.error, Image.DecompressionBombError)


def read_rgb(path: Path) -> NDArray[np.uint8]:
    """Decode a PNG of any mode to uint8 (H, W, 3); alpha is ignored. UserError when it cannot be decoded."""
    return np.array(_decoded(path).convert("RGB"))


def read_mask(path: Path) -> NDArray[np.bool_]:
    """Decode a PNG of any mode to bool (H, W): True where R, G or B exceeds 127; alpha is ignored.

    BUSI holds masks of mode 1, L, RGB and RGBA (METHOD 8.3). UserError when the file cannot be decoded.
    """
    image = _decoded(path)
    if image.mode in {"1", "L"}:
        mask: NDArray[np.bool_] = np.asarray(image.convert("L")) > 127
    else:
        mask = np.any(np.asarray(image.convert("RGB")) > 127, axis=2)
    return mask


def _decoded(path: Path) -> Image.Image:
    try:
        with Image.open(path, formats=("PNG",)) as image:
            image.load()
            return image
    except FileNotFoundError:
        raise UserError(f"{path} is missing - run the stage that makes it (dvc repro)") from None
    except UNREADABLE as error:
        raise UserError(f"{path} is not a readable PNG - replace it with an intact copy") from error
