"""The losses against their formulas, written out in numpy."""

import math
from itertools import pairwise

import numpy as np
import pytest
import torch

from bench.training.losses import consistency_loss, consistency_weight, soft_dice, supervised_loss


@pytest.fixture
def logits() -> torch.Tensor:
    return 3 * torch.randn(3, 2, 5, 4, generator=torch.Generator().manual_seed(1))


@pytest.fixture
def target() -> torch.Tensor:
    return torch.randint(0, 2, (3, 5, 4), generator=torch.Generator().manual_seed(2))


def softmax(logits: torch.Tensor) -> np.ndarray:
    shifted = np.exp(logits.numpy().astype(np.float64))
    return shifted / shifted.sum(1, keepdims=True)


def dice_by_hand(probabilities: np.ndarray, target: np.ndarray) -> float:
    losses = []
    for label in (0, 1):
        p, y = probabilities[:, label], (target == label).astype(np.float64)
        losses.append(1 - (2 * np.sum(p * y) + 1e-5) / (np.sum(p * p) + np.sum(y * y) + 1e-5))
    return sum(losses) / 2


def test_dice_is_the_squared_form_summed_over_the_batch_for_both_classes(logits, target):
    expected = dice_by_hand(softmax(logits), target.numpy())
    assert soft_dice(logits.softmax(1), target).item() == pytest.approx(expected, rel=1e-5)


def test_dice_of_a_class_that_is_absent_and_not_predicted_is_zero():
    background = torch.zeros(2, 3, 3, dtype=torch.int64)
    probabilities = torch.stack([torch.ones(2, 3, 3), torch.zeros(2, 3, 3)], 1)
    assert soft_dice(probabilities, background).item() == pytest.approx(0, abs=1e-6)


def test_supervised_loss_is_half_cross_entropy_plus_half_dice(logits, target):
    probabilities, labels = softmax(logits), target.numpy()
    entropies = [
        -math.log(probabilities[image, labels[image, row, column], row, column])
        for image, row, column in np.ndindex(labels.shape)
    ]
    expected = 0.5 * (sum(entropies) / len(entropies) + dice_by_hand(probabilities, labels))
    assert supervised_loss(logits, target).item() == pytest.approx(expected, rel=1e-5)


def test_a_perfect_prediction_costs_nothing_and_its_opposite_much(target):
    one_hot = torch.stack([target == 0, target == 1], 1).float()
    assert supervised_loss(40 * one_hot, target).item() == pytest.approx(0, abs=1e-6)
    assert supervised_loss(-40 * one_hot, target).item() > 1


def test_the_supervised_loss_of_half_precision_logits_is_computed_in_float32(logits, target):
    half = logits.bfloat16()
    loss = supervised_loss(half, target)
    assert loss.dtype == torch.float32
    assert loss.item() == pytest.approx(supervised_loss(half.float(), target).item(), rel=1e-6)


def test_consistency_is_the_mean_squared_difference_of_the_softmax_outputs(logits):
    other = logits.flip(0) + 1
    expected = np.mean((softmax(logits) - softmax(other)) ** 2)
    assert consistency_loss(logits, other).item() == pytest.approx(expected, rel=1e-5)


def test_consistency_of_equal_logits_is_zero(logits):
    assert consistency_loss(logits, logits.clone()).item() == 0


def test_beta_starts_at_the_maximum_times_e_to_minus_five_and_is_full_from_the_ramps_end_on():
    assert consistency_weight(0, 400, 0.1) == pytest.approx(0.1 * math.exp(-5))
    assert consistency_weight(200, 400, 0.1) == pytest.approx(0.1 * math.exp(-5 / 4))
    for update in (400, 401, 10_000):
        assert consistency_weight(update, 400, 0.1) == pytest.approx(0.1)


def test_beta_grows_during_the_ramp():
    weights = [consistency_weight(update, 50, 1.0) for update in range(51)]
    assert all(later > earlier for earlier, later in pairwise(weights))


def test_a_ramp_of_no_updates_is_full_at_once():
    assert consistency_weight(0, 0, 0.1) == pytest.approx(0.1)
