"""How well a score ranks positives above negatives."""

import numpy as np


def auroc(scores: np.ndarray, positive: np.ndarray) -> float | None:
    """Area under the ROC curve, 0 to 1: the chance that a positive outscores a negative, ties by half.

    scores: float (n,), finite. positive: bool (n,). None when one of the two classes is empty.
    """
    count = int(positive.sum())
    if count in (0, len(positive)):
        return None
    from scipy import stats  # takes half a second, which the start of every stage would pay

    # Mann and Whitney's U from ranks, without the p of SciPy's test, which costs several times as much.
    wins = stats.rankdata(scores)[positive].sum() - count * (count + 1) / 2
    return float(wins / (count * (len(positive) - count)))
