"""The threshold of a method's CAMs that fits the training masks best: a ceiling that uses pixel labels (METHOD 5.3)."""

from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from bench.data.images import read_rows, read_table
from bench.files import write_json
from bench.metrics import COUNTS, mean_scores

STEPS = np.round(np.arange(0.05, 0.96, 0.05), 2)


def run(settings: dict[str, Any], inputs: dict[str, Path], out: Path) -> None:
    """Fill `out`: curve.csv (threshold, tumor_iou in percent) and threshold.json, the lowest best step.

    Mean IoU over V of CAM > threshold against the masks, at the training size and before DenseCRF.
    settings: none. inputs: index, cams (a method's folder of one seed), labels (the masks' store).
    """
    index = read_table(inputs["index"])["id"]
    position = {image_id: row for row, image_id in enumerate(index)}
    ids = read_table(inputs["cams"] / "ids.csv")["id"]
    truth = read_rows(inputs["labels"], np.array([position[image_id] for image_id in ids])) > 0
    cams = np.load(inputs["cams"] / "cams.npy")
    scores = [100 * mean_iou(cams > step, truth) for step in STEPS]
    pd.DataFrame({"threshold": STEPS, "tumor_iou": scores}).to_csv(out / "curve.csv", index=False)
    write_json(out / "threshold.json", {"threshold": float(STEPS[np.argmax(scores)])})


def mean_iou(masks: np.ndarray, truth: np.ndarray) -> float:
    """Mean over images of the tumour IoU, 0 to 1, of bool (n, S, S) masks, by the evaluator's rules."""
    outcomes = (masks & truth, masks & ~truth, ~masks & truth, ~masks & ~truth)
    counts = pd.DataFrame({name: outcome.sum((1, 2)) for name, outcome in zip(COUNTS, outcomes, strict=True)})
    return mean_scores(counts).tumor_iou / 100
