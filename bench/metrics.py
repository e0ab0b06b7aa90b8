"""The one evaluator: per-image pixel counts at the original size, and the IoUs that are views of them.

Headline: mean over images of each image's IoU; second: IoU of the counts pooled over all images (METHOD 10c).
"""

from dataclasses import dataclass

import cv2
import numpy as np
import pandas as pd

COUNTS = ["tp", "fp", "fn", "tn"]


def to_mask(probability: np.ndarray, size: tuple[int, int]) -> np.ndarray:
    """Tumour probability (h, w) in [0, 1] -> bool mask at `size` = (width, height): bilinear, then > 0.5."""
    resized = cv2.resize(probability.astype(np.float32), size, interpolation=cv2.INTER_LINEAR)
    return np.asarray(resized > 0.5)


def counts(predicted: np.ndarray, truth: np.ndarray) -> dict[str, int]:
    """Pixels by outcome for bool masks of one shape (H, W); ValueError when they are not."""
    if predicted.shape != truth.shape or predicted.dtype != bool or truth.dtype != bool:
        raise ValueError(f"need bool masks of one shape, got {predicted.shape} and {truth.shape}")
    tp = int((predicted & truth).sum())
    fp, fn = int(predicted.sum()) - tp, int(truth.sum()) - tp
    return {"tp": tp, "fp": fp, "fn": fn, "tn": truth.size - tp - fp - fn}


@dataclass(frozen=True)
class Scores:
    """IoUs in percent."""

    tumor_iou: float
    background_iou: float

    @property
    def miou(self) -> float:
        """Mean of tumour and background IoU (paper, section III)."""
        return (self.tumor_iou + self.background_iou) / 2


def per_image_iou(table: pd.DataFrame) -> pd.DataFrame:
    """Tumour and background IoU of every row of counts, in percent; 0/0 (absent and not predicted) counts as 100."""
    wrong = table["fp"] + table["fn"]
    return pd.DataFrame(
        {
            "tumor_iou": _percent(table["tp"], table["tp"] + wrong),
            "background_iou": _percent(table["tn"], table["tn"] + wrong),
        },
        index=table.index,
    )


def _percent(hits: pd.Series, union: pd.Series) -> pd.Series:
    return (100.0 * hits / union.where(union > 0, 1)).where(union > 0, 100.0)


def mean_scores(table: pd.DataFrame) -> Scores:
    """Per-image mean over a table of counts (columns tp, fp, fn, tn)."""
    means = per_image_iou(table).mean()
    return Scores(float(means["tumor_iou"]), float(means["background_iou"]))


def pooled_scores(table: pd.DataFrame) -> Scores:
    """IoUs of the counts summed over the table."""
    pooled = per_image_iou(table[COUNTS].sum().to_frame().T).iloc[0]
    return Scores(float(pooled["tumor_iou"]), float(pooled["background_iou"]))


def fixed_ellipse(size: tuple[int, int]) -> np.ndarray:
    """The image-blind floor: a central ellipse, centre (128, 110) and semi-axes (64, 45) of a 256 x 256 image.

    size: (width, height) -> bool (H, W). METHOD 8.3 and 12.
    """
    width, height = size
    y, x = np.mgrid[:height, :width]
    u, v = (x + 0.5) * 256 / width - 0.5, (y + 0.5) * 256 / height - 0.5
    return np.asarray(((u - 128) / 64) ** 2 + ((v - 110) / 45) ** 2 <= 1)
