"""Judging predictions against the masks, and the diagnostics that need masks. Nothing here is ever trained on."""

from pathlib import Path

import cv2
import numpy as np
import pandas as pd

from bench.data.decode import read_mask
from bench.data.images import ORIGINALS, read_table
from bench.data.masks import read_original_mask
from bench.metrics import counts, fixed_ellipse, to_mask


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


def judge_ellipse(ids: list[str], masks: Path, index: pd.DataFrame) -> pd.DataFrame:
    """Counts of the fixed central ellipse, the floor that knows nothing of the image."""
    table = pd.DataFrame({"id": ids}).merge(index, on="id")
    rows = []
    for image_id in table["id"]:
        truth = read_original_mask(masks, image_id)
        rows.append(counts(fixed_ellipse((truth.shape[1], truth.shape[0])), truth))
    return pd.concat([table[["id", "category"]], pd.DataFrame(rows)], axis=1)


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


def classifier_accuracy(folder: Path) -> float:
    """Share of K, in percent, whose higher logit is the image's label."""
    table = read_table(folder / "classification.csv").query("set == 'K'")
    predicted = (table["logit_tumour"] > table["logit_normal"]).astype(int)
    return float(100 * (predicted == table["label"]).mean())
