"""Per-image counts with given IoUs."""

from collections.abc import Sequence

import numpy as np
import pandas as pd

from bench.seeds import Seeds

LESION = 100_000


def counts_of(
    row: str,
    tumor: Sequence[float] | np.ndarray,
    background: float = 95.0,
    seed: int = 0,
    training: int = 0,
    ids: Sequence[str] = (),
) -> pd.DataFrame:
    """Counts of images whose tumour IoUs (in percent, below 100) and common background IoU are the given ones."""
    tp = np.round(LESION * np.asarray(tumor) / 100).astype(int)
    fn = LESION - tp
    tn = np.round(fn * background / (100 - background)).astype(int)
    names = list(ids) or [f"image {number}" for number in range(len(tp))]
    seeds = Seeds(seed, training).columns
    counts = {"tp": tp, "fp": 0, "fn": fn, "tn": tn}
    return pd.DataFrame({"row": row, **seeds, "id": names, "category": "benign", **counts})
