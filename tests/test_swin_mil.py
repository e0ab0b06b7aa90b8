"""Swin MIL: its losses, its learning rates, its draws, and what its maps and logits are."""

import math
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import torch

import bench.training.classification
from baselines.swin_mil import SwinMilSettings, bag_losses, cams, fit, logits, make_net, segment
from bench.methods import ImageSet
from bench.runtime import context, seeded_draws
from bench.settings import load
from bench.training.augment import normalise, to_float

BLOCK = load("phantom", Path(__file__).resolve().parents[1] / "params.yaml").cams["swin_mil"]
NONE = Path("unused")
SMALL = {"embed_dim": 12, "depths": [1, 1, 2], "heads": [1, 2, 3], "window": 4, "initialisation": "none"}
WHERE = context("cpu", 2, "fp32")


def settings(stochastic_depth: float = 0.0, epochs: int = 1, **changes: Any) -> SwinMilSettings:
    optimisation = {**BLOCK["optimisation"], "epochs": epochs, "batch_size": 4, "precision": "fp32"}
    network = {**SMALL, "stochastic_depth": stochastic_depth}
    return SwinMilSettings.model_validate({**BLOCK, "network": network, "optimisation": optimisation, **changes})


def images() -> ImageSet:
    rng = np.random.default_rng(0)
    return ImageSet("abcdef", rng.integers(0, 256, (6, 32, 32), dtype=np.uint8), np.array([0, 1, 0, 1, 0, 1]))


def net() -> Any:
    torch.manual_seed(0)
    return WHERE.place(make_net(settings(), NONE)).eval()


def maps_of(grey: np.ndarray) -> np.ndarray:
    """The network's four maps of images, float32 (n, 4, S, S)."""
    return net()(normalise(to_float(torch.from_numpy(grey.copy())))).detach().numpy()


def test_the_total_is_the_plain_sum_of_the_binary_cross_entropies_of_the_four_bag_scores():
    scores = np.random.default_rng(1).uniform(0.05, 0.95, (5, 4))
    labels = np.array([0, 1, 1, 0, 1])
    found = bag_losses(torch.from_numpy(scores.astype(np.float32)), torch.from_numpy(labels))
    expected = [
        -np.mean(
            [math.log(score) if label else math.log(1 - score) for score, label in zip(column, labels, strict=True)]
        )
        for column in scores.T
    ]
    assert [found[name].item() for name in ("side1", "side2", "side3", "fusion")] == pytest.approx(expected, rel=1e-5)
    assert found["total"].item() == pytest.approx(sum(expected), rel=1e-5)


def test_a_saturated_bag_of_the_wrong_class_costs_much_but_not_infinitely():
    total = bag_losses(torch.full((2, 4), 1.0 + 1e-6), torch.tensor([0, 1]))["total"]
    assert 10 < total.item() < 100


def test_heads_learn_at_their_share_of_the_rate_and_every_parameter_is_in_one_group(monkeypatch):
    found: list[Any] = []

    def seen(what: str, parameters: Any, *rest: Any, **options: Any) -> pd.DataFrame:
        found.extend(parameters)
        return pd.DataFrame()

    monkeypatch.setattr(bench.training.classification, "optimise", seen)
    given = settings(head_learning_rate_ratio=0.01)
    trained, _ = fit(given, images(), 0, NONE, WHERE)
    rest, heads = found
    assert heads["lr"] == pytest.approx(given.optimisation.learning_rate / 100)
    assert "lr" not in rest
    assert set(heads["params"]) == set(trained.heads.parameters())
    grouped = [*rest["params"], *heads["params"]]
    assert len(grouped) == len(set(grouped))
    assert set(grouped) == set(trained.parameters())


def test_stochastic_depth_depends_on_the_seed_alone():
    histories, states = [], []
    for before in (1, 2):
        torch.manual_seed(before)
        state = torch.get_rng_state()
        trained, history = fit(settings(stochastic_depth=0.5, epochs=2), images(), 0, NONE, WHERE)
        assert torch.equal(torch.get_rng_state(), state)
        histories.append(history["total"].tolist())
        states.append(torch.cat([parameter.flatten() for parameter in trained.parameters()]))
    assert histories[0] == histories[1]
    assert torch.equal(*states)
    assert histories[0] != fit(settings(epochs=2), images(), 0, NONE, WHERE)[1]["total"].tolist()


def test_seeded_draws_differ_by_seed():
    drawn = []
    for seed in (0, 0, 1):
        with seeded_draws(WHERE.device, "purpose", seed):
            drawn.append(torch.rand(3).tolist())
    assert drawn[0] == drawn[1] != drawn[2]


def test_masks_are_the_fusion_maps_as_they_are():
    given = images()
    assert np.allclose(segment(settings(), net(), given.images, WHERE), maps_of(given.images)[:, 3], atol=1e-5)


@pytest.mark.parametrize("cam", ["probability", "relative"])
def test_cams_are_fusion_maps_averaged_with_those_of_the_mirror_images(cam):
    given = images()
    expected = (maps_of(given.images)[:, 3] + maps_of(given.images[:, :, ::-1])[:, 3, :, ::-1]) / 2
    if cam == "relative":
        expected = expected / expected.max((1, 2), keepdims=True)
    assert np.allclose(cams(settings(cam=cam), net(), given, WHERE), expected, atol=1e-4)


def test_the_tumour_logit_is_the_log_odds_of_the_fusions_bag_score():
    given = images()
    odds = []
    for grey in (given.images, given.images[:, :, ::-1]):
        score = ((maps_of(grey)[:, 3].astype(float) ** 4).mean((1, 2)) + 1e-6) ** 0.25
        odds.append(np.log(score / (1 - score)))
    found = logits(net(), given.images, WHERE)
    assert np.allclose(found[:, 1], np.mean(odds, 0), atol=1e-4)
    assert not found[:, 0].any()


def test_logits_of_a_saturated_map_are_finite():
    saturated = net()
    for head in saturated.heads:
        torch.nn.init.constant_(head.bias, 100.0)
    assert np.isfinite(logits(saturated, images().images, WHERE)).all()
