"""AMR: its losses, what each of them and each stage teaches, climbing, and the fusion of its CAMs."""

from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import torch

import baselines.amr
import bench.cam
import bench.training.classification
from baselines.amr import AmrSettings, cam_loss, cams, climbed_cams, fit, make_net
from bench.cam import EPSILON, plain_cams, with_mirror
from bench.methods import TUMOUR, ImageSet
from bench.nets.modulation import AttentionModulation
from bench.runtime import context
from bench.settings import load

BLOCK = load("phantom", Path(__file__).resolve().parents[1] / "params.yaml").cams["amr"]
# Maps are looked at cell by cell here; tests/test_cells.py is about where they lie.
BLOCK = {**BLOCK, "network": {**BLOCK["network"], "cells": "official"}}
NONE = Path("unused")
FP32 = context("cpu", 2, "fp32")


def settings(**changes: Any) -> AmrSettings:
    optimisation = {**BLOCK["optimisation"], "epochs": 1, "batch_size": 4, "precision": "fp32"}
    # Settling the statistics would change buffers that the graph of a first update still needs.
    unsettled = {**BLOCK, "optimisation": optimisation, "settle_batch_norm": False}
    return AmrSettings.model_validate({**unsettled, **changes})


def maps(seed: int) -> torch.Tensor:
    return torch.randn(4, 2, 3, 5, generator=torch.Generator().manual_seed(seed))


def images() -> ImageSet:
    rng = np.random.default_rng(0)
    return ImageSet("abcdef", rng.integers(0, 256, (6, 32, 32), dtype=np.uint8), np.array([0, 1, 0, 1, 0, 1]))


@pytest.fixture
def first_update(monkeypatch: pytest.MonkeyPatch) -> tuple[torch.nn.ModuleDict, dict[str, torch.Tensor]]:
    """Both branches and the losses of the first update, before any step."""
    found = {}

    def once(what: str, parameters: Any, losses: Any, *rest: Any, **options: Any) -> pd.DataFrame:
        found.update(losses(0))
        return pd.DataFrame()

    monkeypatch.setattr(bench.training.classification, "optimise", once)
    net, _ = fit(settings(), images(), 0, NONE, FP32)
    return net, found


def test_the_cam_loss_on_all_images_is_the_mean_absolute_difference_of_positive_parts():
    spotlight, compensation = maps(1), maps(2)
    terms = [
        abs(max(s, 0) - max(c, 0))
        for s, c in zip(spotlight.flatten().tolist(), compensation.flatten().tolist(), strict=True)
    ]
    assert cam_loss(spotlight, compensation, "all").item() == pytest.approx(sum(terms) / len(terms), rel=1e-5)


def test_the_official_cam_loss_adds_the_mirrored_second_image_to_the_first():
    spotlight, compensation = maps(1), maps(2)
    positive = [np.maximum(part.numpy(), 0) for part in (spotlight, compensation)]
    sums = [part[0] + part[1][:, :, ::-1] for part in positive]
    expected = np.abs(sums[0] - sums[1]).mean()
    assert cam_loss(spotlight, compensation, "official").item() == pytest.approx(expected, rel=1e-5)
    spotlight[2:] += 10  # the rest of the batch is ignored
    assert cam_loss(spotlight, compensation, "official").item() == pytest.approx(expected, rel=1e-5)


@pytest.mark.parametrize("pairing", ["all", "official"])
def test_equal_maps_cost_nothing(pairing):
    assert cam_loss(maps(1), maps(1), pairing).item() == 0


def test_the_total_weighs_the_losses_by_a_half_a_half_and_a_twentieth(first_update):
    _, losses = first_update
    expected = 0.5 * losses["spotlight"] + 0.5 * losses["compensation"] + 0.05 * losses["cam"]
    assert losses["total"].item() == pytest.approx(expected.item(), rel=1e-5)
    assert min(losses["spotlight"].item(), losses["compensation"].item(), losses["cam"].item()) > 0


@pytest.mark.parametrize(
    ("loss", "taught"),
    [
        ("spotlight", {"spotlight"}),
        ("compensation", {"compensation"}),
        ("cam", {"spotlight", "compensation"}),
        ("total", {"spotlight", "compensation"}),
    ],
)
def test_each_loss_teaches_its_branch_and_the_cam_loss_both(loss, taught, first_update):
    net, losses = first_update
    losses[loss].backward()
    for branch in ("spotlight", "compensation"):
        half = net[branch]
        parts = {"stem": half.stem[0], "last block": half.blocks()[-1], "classifier": half.classifier}
        for name, part in parts.items():
            moved = sum(p.grad.abs().sum().item() for p in part.parameters() if p.grad is not None)
            assert (moved > 0) == (branch in taught), (branch, name)


def test_only_the_compensation_branch_is_modulated_in_every_block():
    net = make_net(settings(network={**BLOCK["network"], "encoder": "resnet18"}), NONE)
    counts = {
        branch: sum(isinstance(module, AttentionModulation) for module in net[branch].modules())
        for branch in ("spotlight", "compensation")
    }
    assert counts == {"spotlight": 0, "compensation": 8}


@pytest.mark.parametrize("share", [0.5, 0.8])
def test_normalised_branches_are_fused_by_share_and_normalised_again(share, monkeypatch):
    branches = np.random.default_rng(1).random((3, 2, 6, 6), dtype=np.float32)
    monkeypatch.setattr(bench.cam, "multi_scale_cams", lambda *_: branches)
    fused = cams(settings(spotlight_share=share), torch.nn.ModuleDict(), images(), FP32)
    for found, (spotlight, compensation) in zip(fused, branches, strict=True):
        expected = share * spotlight + (1 - share) * compensation
        assert np.allclose(found, expected / expected.max(), atol=1e-4)


def test_cams_are_maps_of_the_tumour_class_of_each_branch(monkeypatch):
    class Branch(torch.nn.Module):
        def __init__(self, tumour: float) -> None:
            super().__init__()
            self.tumour = tumour

        def forward(self, batch: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
            normal = torch.full_like(batch[:, :1], 9.0)
            return normal.mean((2, 3)), torch.cat([normal, torch.full_like(normal, self.tumour)], 1)

    def seen(maps_of: Any, *rest: Any) -> np.ndarray:
        found.append(maps_of(torch.zeros(2, 3, 4, 4)))
        return np.ones((1, 2, 4, 4), np.float32)

    found: list[torch.Tensor] = []
    monkeypatch.setattr(bench.cam, "multi_scale_cams", seen)
    net = torch.nn.ModuleDict({"spotlight": Branch(2.0), "compensation": Branch(-3.0)})
    cams(settings(), net, images(), FP32)
    assert found[0].shape == (2, 2, 4, 4)
    assert (found[0][:, 0] == 2).all()
    assert (found[0][:, 1] == 0).all()  # after ReLU


State = dict[str, torch.Tensor]


def fit_in_two_stages(monkeypatch: pytest.MonkeyPatch, **changes: Any) -> tuple[list[State], pd.DataFrame]:
    """Copies of the network's tensors before the first stage, between the stages and at the end; the history."""
    nets: list[torch.nn.ModuleDict] = []
    states: list[State] = []

    def kept(*arguments: Any) -> torch.nn.ModuleDict:
        nets.append(make_net(*arguments))
        return nets[0]

    def state() -> State:
        return {name: value.clone() for name, value in nets[0].state_dict().items()}

    def stage(*arguments: Any, **options: Any) -> pd.DataFrame:
        states.append(state())
        return train(*arguments, **options)

    train = bench.training.classification.train_classifier
    monkeypatch.setattr(baselines.amr, "make_net", kept)
    monkeypatch.setattr(bench.training.classification, "train_classifier", stage)
    _, history = fit(settings(training="two_stage", spotlight_epochs=2, **changes), images(), 0, NONE, FP32)
    return [*states, state()], history


def moved(before: State, after: State) -> set[str]:
    return {name for name, value in after.items() if not torch.equal(value, before[name])}


def test_each_of_two_stages_moves_its_parts_only(monkeypatch):
    (start, between, end), history = fit_in_two_stages(monkeypatch)
    parameters = {name for name, _ in make_net(settings(), NONE).named_parameters()}
    spotlight = {name for name in start if name.startswith("spotlight.")}
    assert moved(start, between) == spotlight

    learning = ("compensation.classifier", *(f"compensation.stages.{stage}" for stage in (1, 2, 3)))
    learns = {name for name in parameters if name.startswith(learning)} | {"spotlight.classifier.weight"}
    assert moved(between, end) & parameters == learns
    # No statistics of the frozen spotlight either.
    assert moved(between, end) & spotlight == {"spotlight.classifier.weight"}
    assert list(history["epoch"]) == [1, 2, 3]
    assert np.isfinite(history["total"]).all()
    assert np.isfinite(history["cam"]).tolist() == [False, False, True]


def test_in_the_second_stage_the_spotlight_learns_from_the_cam_loss_alone(monkeypatch):
    (_, between, end), _ = fit_in_two_stages(monkeypatch, loss_weights=[0.5, 0.5, 0.0])
    assert not {name for name in moved(between, end) if name.startswith("spotlight.")}


class Smooth(torch.nn.Module):
    """A tiny network in float64 whose features have no kinks, so that differences of its maps give their slopes."""

    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(2)
        self.body = torch.nn.Sequential(torch.nn.Conv2d(3, 4, 3, stride=2), torch.nn.Softplus())
        self.classifier = torch.nn.Conv2d(4, 2, 1, bias=False)
        with torch.no_grad():
            self.classifier.weight.copy_(torch.tensor([[0.5, 1, -1, -0.3], [1, -1, 2, -2]])[:, :, None, None])
        self.double()
        self.seen: list[torch.Tensor] = []

    def features(self, images: torch.Tensor) -> torch.Tensor:
        self.seen.append(images.detach().clone())
        features: torch.Tensor = self.body(images)
        return features


def class_maps(net: Smooth, pair: np.ndarray) -> np.ndarray:
    with torch.no_grad():
        return net.classifier(net.body(torch.from_numpy(pair))).numpy()


def cams_by_hand(net: Smooth, pair: np.ndarray) -> np.ndarray:
    """(2, h, w). A slope of the score is the class weight where the map is positive and 0 elsewhere."""
    maps = class_maps(net, pair)[:, TUMOUR]
    area = (maps > 0).sum((1, 2), keepdims=True)
    weights = net.classifier.weight[TUMOUR].detach().numpy()
    return np.maximum(maps, 0) * area / (area.sum() * (weights > 0).sum())


def sum_by_hand(net: Smooth, pair: np.ndarray) -> np.ndarray:
    image, mirrored = cams_by_hand(net, pair)
    return image + mirrored[:, ::-1]


def climbed_by_hand(net: Smooth, pair: np.ndarray, iterations: int) -> np.ndarray:
    """Sum of the maps of a pair (2, 3, s, s), whose climbing follows differences of the objective."""
    low, high, first, total = pair.min(), pair.max(), sum_by_hand(net, pair), np.zeros(())
    for _ in range(iterations):
        total = total + cams_by_hand(net, pair)
        now = sum_by_hand(net, pair)
        counted = now / now.max() > 0.5

        def objective(pair: np.ndarray, counted: np.ndarray = counted) -> float:
            scores = np.maximum(class_maps(net, pair), 0).mean((2, 3)).sum(0)
            change = np.abs(sum_by_hand(net, pair) - first)
            return float(2 * scores[1] - (scores[0] + scores[1]) - 7 * (change * counted).sum())

        slopes = np.zeros_like(pair)
        for place in np.ndindex(*pair.shape):
            shift = np.zeros_like(pair)
            shift[place] = 1e-6
            slopes[place] = (objective(pair + shift) - objective(pair - shift)) / 2e-6
        pair = np.clip(pair + 0.08 * slopes / np.abs(slopes).max(), low, high)
    return total


def pairs(count: int, size: int, dtype: torch.dtype) -> torch.Tensor:
    return with_mirror(torch.randn(count, 3, size, size, generator=torch.Generator().manual_seed(3), dtype=dtype))


def test_climbing_follows_the_slopes_of_the_objective():
    net, pair = Smooth(), pairs(1, 7, torch.float64)
    plain = cams_by_hand(net, pair.numpy())
    assert 0 < (plain == 0).mean() < 0.8  # so that ReLU and the counted positions matter
    for iterations in (1, 2, 3):
        found = climbed_cams(net, pair, iterations).numpy()
        assert np.allclose(found, climbed_by_hand(net, pair.numpy(), iterations), rtol=1e-5, atol=1e-8)
    assert not np.allclose(found, 3 * plain, rtol=1e-2)


def test_climbing_holds_the_strong_part_of_the_map_to_what_it_was(monkeypatch):
    net, pair = Smooth(), pairs(1, 7, torch.float64)
    held = climbed_cams(net, pair, 3)
    monkeypatch.setattr(baselines.amr, "RESTRAINT", 0.0)
    assert not torch.allclose(climbed_cams(net, pair, 3), held, rtol=1e-3)


def test_climbing_keeps_to_the_range_of_each_pair():
    net, batch = Smooth(), pairs(3, 7, torch.float64)
    batch[2:4] *= 3
    climbed_cams(net, batch, 6)
    assert len(net.seen) == 6
    assert not torch.equal(net.seen[0], net.seen[5])
    for row in (0, 2, 4):
        pair = batch[row : row + 2]
        for seen in net.seen:
            assert pair.min() <= seen[row : row + 2].min()
            assert seen[row : row + 2].max() <= pair.max()


@pytest.mark.parametrize("branch", ["spotlight", "compensation"])
def test_climbed_maps_do_not_depend_on_the_rest_of_the_batch_and_leave_no_gradients(branch, monkeypatch):
    torch.manual_seed(0)
    net, batch = make_net(settings(), NONE)[branch].eval(), pairs(3, 32, torch.float32)
    together = climbed_cams(net, batch, 3)
    assert together.max() > 0
    for row in (0, 2, 4):
        assert torch.allclose(together[row : row + 2], climbed_cams(net, batch[row : row + 2], 3), rtol=1e-3, atol=1e-7)
    monkeypatch.setattr(baselines.amr, "PAIRS_AT_ONCE", 2)
    assert torch.allclose(together, climbed_cams(net, batch, 3), rtol=1e-3, atol=1e-7)
    assert all(parameter.grad is None for parameter in net.parameters())
    assert not together.requires_grad


@pytest.mark.parametrize("share", [0.0, 1.0])
def test_without_iterations_cams_are_plain(share, monkeypatch):
    monkeypatch.delattr(baselines.amr, "climbed_cams")
    torch.manual_seed(0)
    net, given = make_net(settings(), NONE).eval(), settings(adv_iter=0, spotlight_share=share)
    plain = plain_cams(net["spotlight" if share else "compensation"], images().images, given.scales, FP32)
    plain /= plain.max((1, 2), keepdims=True) + EPSILON
    assert cams(given, net, images(), FP32).tobytes() == plain.tobytes()


@pytest.mark.parametrize(("iterations", "halved"), [(27, 13), (2, 1), (1, 1)])
def test_at_half_the_size_climbing_is_half_as_long_and_counts_twice(iterations, halved, monkeypatch):
    def climb(branch: Any, batch: torch.Tensor, count: int) -> torch.Tensor:
        return torch.full((len(batch), 2, 2), float(count))

    def seen(maps_of: Any, *rest: Any) -> np.ndarray:
        found.extend(maps_of(torch.zeros(2, 3, side, side)).unique().item() for side in (32, 16, 48))
        return np.ones((1, 2, 4, 4), np.float32)

    found: list[float] = []
    monkeypatch.setattr(baselines.amr, "climbed_cams", climb)
    monkeypatch.setattr(bench.cam, "multi_scale_cams", seen)
    cams(settings(adv_iter=iterations), make_net(settings(), NONE), images(), FP32)
    assert found == [iterations, 2 * halved, iterations]


def test_climbing_changes_the_cams_and_ignores_reduced_precision():
    torch.manual_seed(0)
    net, given = make_net(settings(), NONE).eval(), settings(adv_iter=2, scales=[1.0])
    climbed = cams(given, net, images(), FP32)
    assert climbed.shape == (6, 32, 32)
    assert 0 <= climbed.min() < climbed.max() <= 1
    assert not np.allclose(climbed, cams(settings(adv_iter=0, scales=[1.0]), net, images(), FP32), atol=1e-3)
    assert cams(given, net, images(), context("cpu", 2, "bf16")).tobytes() == climbed.tobytes()
