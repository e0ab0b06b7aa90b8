"""Judging predictions against the masks, and the diagnostics that need masks. Nothing here is ever trained on."""

from pathlib import Path

import cv2
import numpy as np
import pandas as pd

from bench.auroc import auroc
from bench.boxes import CORNERS
from bench.data.decode import read_mask
from bench.data.images import ORIGINALS, read_table
from bench.data.masks import read_original_mask
from bench.methods import FILLED_BOX, FLOOR, WHOLE_IMAGE
from bench.metrics import counts, fixed_ellipse, to_mask
from bench.selection import Box, box_iou


def judge_predictions(folder: Path, masks: Path, index: pd.DataFrame) -> pd.DataFrame:
    """Counts of one item's predictions at the original size: id, category, tp, fp, fn, tn.

    folder: probabilities.npy (k, S, S) and ids.csv of an item. masks: the masks folder.
    """
    table = read_table(folder / "ids.csv").merge(index, on="id")
    probabilities = np.load(folder / "probabilities.npy", mmap_mode="r")
    rows = []
    for position, image in enumerate(table.itertuples()):
        truth = read_original_mask(masks, str(image.id))
        rows.append(counts(to_mask(probabilities[position], (truth.shape[1], truth.shape[0])), truth))
    return pd.concat([table[["id", "category"]], pd.DataFrame(rows)], axis=1)


def judge_bounds(images: pd.DataFrame, masks: Path) -> pd.DataFrame:
    """Counts of the masks that no network made: row (FLOOR, FILLED_BOX or WHOLE_IMAGE), id, category, tp, fp, fn, tn.

    The fixed ellipse and the whole image know nothing of the image; the box is the truth's own. images: id, category.
    """
    lines = []
    for image_id, category in images[["id", "category"]].itertuples(index=False):
        truth = read_original_mask(masks, image_id)
        made = {FLOOR: fixed_ellipse((truth.shape[1], truth.shape[0])), FILLED_BOX: filled_box(truth)}
        for row, mask in {**made, WHOLE_IMAGE: np.ones_like(truth)}.items():
            lines.append({"row": row, "id": image_id, "category": category, **counts(mask, truth)})
    return pd.DataFrame(lines)


def true_box(truth: np.ndarray) -> Box | None:
    """The box around all lesions of a mask, bool (H, W); None without a lesion."""
    columns, rows = np.flatnonzero(truth.any(axis=0)), np.flatnonzero(truth.any(axis=1))
    if not columns.size:
        return None
    return int(columns[0]), int(rows[0]), int(columns[-1]), int(rows[-1])


def filled_box(truth: np.ndarray) -> np.ndarray:
    """The mask that is its box, bool (H, W)."""
    filled, box = np.zeros_like(truth), true_box(truth)
    if box:
        filled[box[1] : box[3] + 1, box[0] : box[2] + 1] = True
    return filled


def prompt_iou(selection: pd.DataFrame, masks: Path) -> list[float]:
    """IoU in percent of the box that prompts the segmenter and the box around the truth, by line; 0 without a box."""
    found = []
    for image_id, *corners in selection[["id", *CORNERS]].itertuples(index=False):
        box = true_box(read_original_mask(masks, image_id))
        if box is None or not np.isfinite(corners).all():
            found.append(0.0)
            continue
        x_min, y_min, x_max, y_max = (int(corner) for corner in corners)
        found.append(100 * box_iou(box, (x_min, y_min, x_max, y_max)))
    return found


def judge_pseudo_masks(folder: Path, images: pd.DataFrame, masks: Path) -> pd.DataFrame:
    """Counts of the pseudo-masks of V at the original size: tp, fp, fn, tn beside id, category and, if there, selected.

    images: one line an image of V, with these columns.
    """
    rows = [
        counts(read_mask(folder / ORIGINALS / f"{image_id}.png"), read_original_mask(masks, image_id))
        for image_id in images["id"]
    ]
    return pd.concat([images.filter(["id", "category", "selected"]), pd.DataFrame(rows)], axis=1)


def peak_in_lesion(folder: Path, masks: Path) -> pd.Series:
    """Per image of V, by id: does the CAM's highest pixel, at the original size, lie in a lesion?"""
    ids = read_table(folder / "ids.csv")["id"]
    cams = np.load(folder / "cams.npy", mmap_mode="r")
    inside = {}
    for position, image_id in enumerate(ids):
        truth = read_original_mask(masks, image_id)
        cam = cv2.resize(cams[position].astype(np.float32), truth.shape[::-1], interpolation=cv2.INTER_LINEAR)
        inside[image_id] = bool(truth[np.unravel_index(int(cam.argmax()), cam.shape)])
    return pd.Series(inside)


def larger_class(folder: Path) -> float:
    """Accuracy on K, in percent, of whoever calls every image the class that K has more of."""
    tumour = read_table(folder / "classification.csv").query("set == 'K'")["label"].mean()
    return float(100 * max(tumour, 1 - tumour))


def classifier_auc(folder: Path) -> float | None:
    """Area under the ROC curve of the logits' difference on K, in percent; None when K has one class alone."""
    table = read_table(folder / "classification.csv").query("set == 'K'")
    area = auroc((table["logit_tumour"] - table["logit_normal"]).to_numpy(), (table["label"] == 1).to_numpy())
    return None if area is None else 100 * area


def classifier_accuracy(folder: Path) -> float:
    """Share of K, in percent, whose higher logit is the image's label."""
    table = read_table(folder / "classification.csv").query("set == 'K'")
    predicted = (table["logit_tumour"] > table["logit_normal"]).astype(int)
    return float(100 * (predicted == table["label"]).mean())
