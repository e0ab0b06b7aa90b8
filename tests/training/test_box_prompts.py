"""Box noise and losses against independent statements of their formulae."""

import math

import pytest
import torch

from bench.runtime import context
from bench.schema import Optimisation
from bench.training.box_prompts import Prompted, jittered, prompt_losses, train_on_boxes

SIDE = 1024


def noise(width: float, height: float) -> torch.Tensor:
    boxes = torch.tensor([[100.0, 200.0, 100.0 + width, 200.0 + height]]).repeat(20_000, 1)
    return jittered(boxes, SIDE, torch.Generator().manual_seed(0)) - boxes


def test_noise_is_a_tenth_of_each_side():
    assert noise(50, 80).std(0).tolist() == pytest.approx([5, 8, 5, 8], rel=0.03)
    assert noise(50, 80).mean(0).abs().max() < 0.2


def test_noise_ends_at_20_of_1024_pixels():
    moved = noise(900, 50)
    assert moved[:, [0, 2]].abs().max() == 20
    assert (moved[:, 0].abs() == 20).float().mean() > 0.5
    half = torch.tensor([[0.0, 0.0, 500.0, 500.0]]).repeat(1000, 1)
    assert (jittered(half, 512, torch.Generator().manual_seed(0)) - half).abs().max() == 10


def test_losses_of_a_hand_example():
    # Two cells: one object, probability 3/4; one background, probability 1/4.
    logits = torch.tensor([[[math.log(3), -math.log(3)]]])
    targets = torch.tensor([[[1.0, 0.0]]])
    losses = prompt_losses(logits, torch.tensor([0.8]), targets)
    focal = (0.25 * 0.25**2 * -math.log(0.75) + 0.75 * 0.25**2 * -math.log(0.75)) / 2
    dice = 1 - (2 * 0.75 + 1) / (1 + 1 + 1)
    assert losses["focal"].item() == pytest.approx(focal, rel=1e-5)
    assert losses["dice"].item() == pytest.approx(dice, rel=1e-5)
    assert losses["quality"].item() == pytest.approx(0.2**2, rel=1e-5)
    assert losses["total"].item() == pytest.approx(20 * focal + dice + 0.04, rel=1e-5)


def test_losses_stay_finite_where_nothing_is_found():
    losses = prompt_losses(torch.full((2, 4, 4), -200.0), torch.zeros(2), torch.zeros(2, 4, 4))
    assert all(math.isfinite(value) for value in losses.values())


class OneMask(torch.nn.Module):
    """Answers every box with the same logits."""

    def __init__(self) -> None:
        super().__init__()
        self.logits = torch.nn.Parameter(torch.zeros(4, 4))


def trained(seed: int) -> tuple[torch.Tensor, float]:
    """Learn one mask that is the same for all images; the boxes seen, and the last loss over the first."""
    truth = torch.zeros(6, 4, 4)
    truth[:, 1:3, 1:3] = 1
    data = Prompted(torch.zeros(6, 3, 16, 16), torch.tensor([[4.0, 4.0, 11.0, 11.0]]).repeat(6, 1), truth)
    net, seen = OneMask(), []

    def answer(pixels: torch.Tensor, boxes: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        seen.append(boxes)
        return net.logits.expand(len(pixels), 4, 4), boxes[:, 0] * 0

    settings = Optimisation(
        epochs=30, batch_size=4, learning_rate=0.1, betas=[0.9, 0.999], weight_decay=0.0, precision="fp32"
    )
    average, history = train_on_boxes("test", net, answer, data, settings, seed, context("cpu", 1, "fp32"))
    assert torch.equal(average.logits > 0, truth[0] > 0)
    assert (average.logits.abs() < net.logits.abs()).all()  # it lags behind
    assert list(history.columns) == ["epoch", "total", "focal", "dice", "quality"]
    assert len(seen) == 60
    return torch.cat(seen), float(history["total"].iloc[-1] / history["total"].iloc[0])


def test_training_learns_and_repeats_itself():
    boxes, ratio = trained(0)
    assert ratio < 0.8
    assert torch.equal(trained(0)[0], boxes)
    assert not torch.equal(trained(1)[0], boxes)
