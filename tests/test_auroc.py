"""Area under the ROC curve against what it is by definition."""

import numpy as np
import pytest

from bench.auroc import auroc


@pytest.mark.parametrize(
    ("scores", "positive", "area"),
    [
        ([1, 2, 3, 4], [0, 0, 1, 1], 1.0),
        ([4, 3, 2, 1], [0, 0, 1, 1], 0.0),
        ([5, 5, 5, 5], [0, 1, 0, 1], 0.5),
        ([1, 2, 2, 3], [0, 0, 1, 1], 3.5 / 4),
    ],
)
def test_it_is_the_chance_that_a_positive_outscores_a_negative(scores, positive, area):
    assert auroc(np.array(scores, float), np.array(positive, bool)) == area


def test_it_counts_pairs_as_by_hand():
    random = np.random.default_rng(0)
    scores, positive = random.integers(0, 8, 60).astype(float), random.random(60) > 0.6
    pairs = scores[positive][:, None] - scores[~positive]
    assert auroc(scores, positive) == pytest.approx(np.mean((pairs > 0) + 0.5 * (pairs == 0)))


@pytest.mark.parametrize("positive", [[True, True], [False, False], []])
def test_one_class_alone_has_none(positive):
    assert auroc(np.zeros(len(positive)), np.array(positive, bool)) is None
