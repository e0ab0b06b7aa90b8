"""The panels of the figures, chosen by quantiles, never by hand. Reads masks to show the truth."""

from pathlib import Path

import cv2
import numpy as np
import pandas as pd

from bench.boxes import CORNERS
from bench.data.decode import read_mask
from bench.data.images import ORIGINALS, read_original, read_table
from bench.data.masks import read_original_mask
from bench.metrics import per_image_iou, to_mask
from bench.report.figures import BROAD, NARROW, PREDICTED, TRUTH, Panel, quantile_picks


def regions(selection: pd.DataFrame, cams: Path, pseudo: Path, images: Path, masks: Path) -> list[list[Panel]]:
    """Figure 1: image with both regions, CAM, truth, pseudo-mask, at quantiles of the box IoU, stable first."""
    positions = quantile_picks(selection["iou"], (1.0, 0.75, 0.5, 0.25, 0.0))
    return [_region_row(selection.iloc[position], position, cams, pseudo, images, masks) for position in positions]


def _region_row(line: pd.Series, position: int, cams: Path, pseudo: Path, images: Path, masks: Path) -> list[Panel]:
    image = read_original(images / ORIGINALS, line["id"])
    cam = np.load(cams / "cams.npy", mmap_mode="r")[position].astype(np.float32)
    boxes = [
        (colour, tuple(float(line[f"{prefix}{corner}"]) for corner in CORNERS))
        for colour, prefix in ((BROAD, ""), (NARROW, "narrow_"))
        if pd.notna(line[f"{prefix}x_min"])
    ]
    chosen = "L" if line["selected"] else "U"
    return [
        Panel(image, f"{line['id']}: box IoU {line['iou']:.2f} ({chosen})", boxes=boxes),  # type: ignore[arg-type]
        Panel(image, "CAM", cam=cv2.resize(cam, image.shape[1::-1])),
        Panel(image, "truth", outlines=[(TRUTH, read_original_mask(masks, line["id"]))]),
        Panel(image, "pseudo-mask", outlines=[(PREDICTED, read_mask(pseudo / ORIGINALS / f"{line['id']}.png"))]),
    ]


def roads(
    selection: pd.DataFrame, methods: dict[str, tuple[Path, Path]], images: Path, masks: Path
) -> list[list[Panel]]:
    """The baselines' road: truth, then every method's CAM with the outline of its pseudo-label.

    methods: label -> folders of CAMs and of pseudo-labels of one seed. Images at quantiles of the lesion's share.
    """
    share = pd.Series([read_original_mask(masks, image_id).mean() for image_id in selection["id"]])
    rows = []
    for position in quantile_picks(share, (0.9, 0.7, 0.5, 0.3, 0.1)):
        image_id = selection["id"].iloc[position]
        image = read_original(images / ORIGINALS, image_id)
        panels = [Panel(image, str(image_id), outlines=[(TRUTH, read_original_mask(masks, image_id))])]
        for label, (cams, labels) in methods.items():
            cam = np.load(cams / "cams.npy", mmap_mode="r")[position].astype(np.float32)
            mask = read_mask(labels / ORIGINALS / f"{image_id}.png")
            panels.append(Panel(image, label, outlines=[(PREDICTED, mask)], cam=cv2.resize(cam, image.shape[1::-1])))
        rows.append(panels)
    return rows


def predictions(
    per_image: pd.DataFrame, folders: dict[str, Path], reference: str, images: Path, masks: Path
) -> list[list[Panel]]:
    """Figure 3: image, truth and the rows' predictions, at quantiles of the row `reference`'s tumour IoU.

    per_image: row, id and counts of one seed. folders: label -> prediction folder, in the order to be shown.
    """
    iou = _tumor_iou(per_image, reference)
    return _predicted_rows(iou, quantile_picks(iou, (0.9, 0.7, 0.5, 0.3, 0.1)), folders, images, masks)


def extremes(
    per_image: pd.DataFrame, folders: dict[str, Path], reference: str, images: Path, masks: Path
) -> list[list[Panel]]:
    """As predictions, for the three best and the three worst images of the row `reference`, the best first."""
    iou = _tumor_iou(per_image, reference)
    ranked = np.argsort(-iou.to_numpy(), kind="stable")
    picks = list(dict.fromkeys(map(int, (*ranked[:3], *ranked[-3:]))))
    return _predicted_rows(iou, picks, folders, images, masks)


def _tumor_iou(per_image: pd.DataFrame, row: str) -> pd.Series:
    """Tumour IoU of a row in percent, by image id."""
    return per_image_iou(per_image[per_image["row"] == row].set_index("id"))["tumor_iou"]


def _predicted_rows(
    iou: pd.Series, positions: list[int], folders: dict[str, Path], images: Path, masks: Path
) -> list[list[Panel]]:
    rows = []
    for image_id in iou.index[positions]:
        image = read_original(images / ORIGINALS, image_id)
        panels = [
            Panel(image, f"{image_id}: IoU {iou[image_id]:.0f} %"),
            Panel(image, "truth", outlines=[(TRUTH, read_original_mask(masks, image_id))]),
        ]
        for label, folder in folders.items():
            panels.append(Panel(image, label, outlines=[(PREDICTED, _predicted(folder, image_id, image))]))
        rows.append(panels)
    return rows


def _predicted(folder: Path, image_id: str, image: np.ndarray) -> np.ndarray:
    position = list(read_table(folder / "ids.csv")["id"]).index(image_id)
    probability = np.load(folder / "probabilities.npy", mmap_mode="r")[position]
    return to_mask(probability, (image.shape[1], image.shape[0]))
