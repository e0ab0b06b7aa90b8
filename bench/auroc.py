"""How well a score ranks positives above negatives."""

import numpy as np
from scipy import stats


def auroc(scores: np.ndarray, positive: np.ndarray) -> float | None:
    """Area under the ROC curve, 0 to 1: the chance that a positive outscores a negative, ties by half.

    scores: float (n,), finite. positive: bool (n,). None when one of the two classes is empty.
    """
    if positive.all() or not positive.any():
        return None
    wins = stats.mannwhitneyu(scores[positive], scores[~positive]).statistic
    return float(wins / (positive.sum() * (~positive).sum()))
