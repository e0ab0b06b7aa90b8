"""The classification loss and loop."""

import pytest
import torch

from bench.training.classification import multilabel_loss


def noise(*shape: int, seed: int = 0) -> torch.Tensor:
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed))


def test_the_classification_loss_is_the_mean_cross_entropy_of_two_yes_no_questions():
    logits, labels = noise(3, 2), [0, 1, 1]
    yes = torch.sigmoid(logits)
    terms = [
        -torch.log(yes[row, column] if column == label else 1 - yes[row, column])
        for row, label in enumerate(labels)
        for column in (0, 1)
    ]
    assert multilabel_loss(logits, torch.tensor(labels)).item() == pytest.approx(sum(terms).item() / 6, rel=1e-5)
