"""Every test image of one seed with the outlines of all rows, small enough to lie in one page. Reads masks."""

import base64
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np
import pandas as pd

from bench.data.images import ORIGINALS, read_original, read_table
from bench.data.masks import read_original_mask
from bench.metrics import fixed_ellipse, per_image_iou, to_mask

# Longest side of a thumbnail in pixels, and of the grid of whole numbers that outlines are drawn on.
THUMBNAIL, GRID = 224, 448
WEBP_QUALITY = 70
# How far an outline may lie from the mask's border, on that grid.
TOLERANCE = 1.0
# With so many thumbnails and a dozen rows of outlines a page has about 8 MB.
MOST = 400


@dataclass(frozen=True)
class Case:
    """One image. size: (width, height) of the grid. thumbnail: a data URI. truth: the outline as an SVG path."""

    id: str
    category: str
    size: tuple[int, int]
    thumbnail: str
    truth: str


@dataclass(frozen=True)
class CaseRow:
    """One row on every case: tumour IoU in percent and outline, None without a result. note: what is missing."""

    id: str
    label: str
    ious: Sequence[float | None]
    outlines: Sequence[str | None]
    note: str

    @property
    def ran(self) -> bool:
        """Whether it has any result."""
        return any(iou is not None for iou in self.ious)


@dataclass(frozen=True)
class Cases:
    """What the browser of the report shows. test_images: how many there are, those that are not shown included."""

    images: Sequence[Case]
    rows: Sequence[CaseRow]
    test_images: int


def gather_cases(
    per_image: pd.DataFrame,
    rows: Mapping[str, tuple[str, Path | None]],
    reasons: Mapping[str, str],
    floor: str,
    images: Path,
    masks: Path,
) -> Cases:
    """All test images, or every so-manieth of them when they are more than MOST.

    per_image: row, id, category and counts of one seed. rows: id -> label and folder of predictions, in the order to be
    shown; rows of per_image that are not among them follow. reasons: by row, why it has no results. floor: the row of
    the fixed ellipse.
    """
    tested = per_image.drop_duplicates("id").sort_values(["category", "id"], kind="stable")
    shown = tested.iloc[:: -(-len(tested) // MOST) or 1]
    sizes: dict[str, tuple[int, int]] = {}
    found = []
    for line in shown.itertuples():
        image_id = str(line.id)
        image, truth = read_original(images / ORIGINALS, image_id), read_original_mask(masks, image_id)
        sizes[image_id] = (image.shape[1], image.shape[0])
        size = _scaled(sizes[image_id], GRID)
        found.append(Case(image_id, str(line.category), size, _thumbnail(image), outline(truth)))
    known = {**rows, **{row: (row, None) for row in per_image["row"].unique() if row not in rows}}
    return Cases(
        found,
        [
            _row(row, label, folder, per_image[per_image["row"] == row], reasons.get(row, ""), sizes, row == floor)
            for row, (label, folder) in known.items()
        ],
        len(tested),
    )


def _row(
    row: str,
    label: str,
    folder: Path | None,
    judged: pd.DataFrame,
    reason: str,
    sizes: Mapping[str, tuple[int, int]],
    is_floor: bool,
) -> CaseRow:
    iou = dict(zip(judged["id"].astype(str), per_image_iou(judged)["tumor_iou"], strict=True))
    drawn: dict[str, str] = {}
    note = reason
    if is_floor:
        drawn = {image_id: outline(fixed_ellipse(size)) for image_id, size in sizes.items()}
    elif folder is not None and (folder / "probabilities.npy").is_file():
        positions = {str(image_id): place for place, image_id in enumerate(read_table(folder / "ids.csv")["id"])}
        probabilities = np.load(folder / "probabilities.npy", mmap_mode="r")
        drawn = {
            image_id: outline(to_mask(probabilities[positions[image_id]], size))
            for image_id, size in sizes.items()
            if image_id in positions
        }
    elif iou:
        note = "its predictions are not kept, so no outline is shown"
    ious = [round(float(iou[image_id]), 1) if image_id in iou else None for image_id in sizes]
    return CaseRow(row, label, ious, [drawn.get(image_id) for image_id in sizes], note)


def _scaled(size: tuple[int, int], longest: int) -> tuple[int, int]:
    scale = longest / max(size)
    return max(1, round(size[0] * scale)), max(1, round(size[1] * scale))


def _thumbnail(image: np.ndarray) -> str:
    """RGB uint8 (H, W, 3) -> a WebP data URI."""
    small = cv2.resize(image, _scaled((image.shape[1], image.shape[0]), THUMBNAIL), interpolation=cv2.INTER_AREA)
    return data_uri(small, WEBP_QUALITY)


def data_uri(image: np.ndarray, quality: int) -> str:
    """RGB uint8 (H, W, 3) -> WebP of that quality (1 to 100) as a data URI."""
    done, content = cv2.imencode(".webp", image[..., ::-1], [cv2.IMWRITE_WEBP_QUALITY, quality])
    assert done
    return f"data:image/webp;base64,{base64.b64encode(content.tobytes()).decode()}"


def outline(mask: np.ndarray) -> str:
    """Bool (H, W) -> its borders, holes included, as an SVG path on the grid; "" for an empty mask."""
    height, width = mask.shape
    scale = GRID / max(height, width)
    borders, _ = cv2.findContours(mask.astype(np.uint8), cv2.RETR_CCOMP, cv2.CHAIN_APPROX_NONE)
    scaled = (((border + 0.5) * scale).astype(np.float32) for border in borders)
    return "".join(_path(cv2.approxPolyDP(border, TOLERANCE, True)) for border in scaled)


def _path(border: np.ndarray) -> str:
    """Corners (k, 1, 2) -> a closed SVG path in relative whole numbers."""
    corners = np.round(border[:, 0]).astype(int)
    steps = " ".join(f"{x} {y}" for x, y in np.diff(corners, axis=0)).replace(" -", "-")
    return f"M{corners[0][0]} {corners[0][1]}{f'l{steps}' if steps else ''}z"
