"""ReCAM: its softmax loss, what the second step teaches, and the weights of its CAMs."""

import math
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import torch

import bench.cam
import bench.training.classification
from baselines.recam import ReCamSettings, cams, fit, make_net, softmax_loss
from bench.methods import TUMOUR, ImageSet
from bench.runtime import context, seeded_initialisation
from bench.settings import load

BLOCK = load("phantom", Path(__file__).resolve().parents[1] / "params.yaml").cams["recam"]
# Maps are looked at cell by cell here; tests/test_cells.py is about where they lie.
BLOCK = {**BLOCK, "network": {**BLOCK["network"], "cells": "official"}}
NONE = Path("unused")
# Two cells, two channels, and two classes, worked out by hand: the class features are (1.25, 0.75) and (1, 0).
FEATURES = torch.tensor([[1.0, 2.0], [3.0, 0.0]]).view(1, 2, 1, 2)
CLASS_MAPS = torch.tensor([[2.0, 4.0], [-1.0, 5.0]]).view(1, 2, 1, 2)
PREDICTOR = torch.tensor([[1.0, 0.0], [0.0, 2.0]])
FIRST, SECOND = math.log(1 + math.exp(0.25)), math.log(1 + math.exp(1.0))


def where() -> Any:
    return context("cpu", 2, "fp32")


def settings(**changes: Any) -> ReCamSettings:
    optimisation = {**BLOCK["optimisation"], "epochs": 2, "batch_size": 4, "precision": "fp32"}
    second_step = {**BLOCK["second_step"], "epochs": 1}
    return ReCamSettings.model_validate({**BLOCK, "optimisation": optimisation, "second_step": second_step, **changes})


def images() -> ImageSet:
    rng = np.random.default_rng(0)
    return ImageSet("abcdef", rng.integers(0, 256, (6, 32, 32), dtype=np.uint8), np.array([0, 1, 0, 1, 0, 1]))


def loss_of(*present: list[bool], predictor: torch.Tensor = PREDICTOR) -> float:
    copies = [part.expand(len(present), -1, -1, -1) for part in (FEATURES, CLASS_MAPS)]
    return softmax_loss(*copies, predictor, torch.tensor(present)).item()


def noise(*shape: int, seed: int = 0) -> torch.Tensor:
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed))


@pytest.mark.parametrize(
    ("present", "expected"),
    [
        ([[True, False]], FIRST),
        ([[False, True]], SECOND),
        ([[True, True]], (FIRST + SECOND) / 2),
        ([[True, False], [True, True]], (FIRST + (FIRST + SECOND) / 2) / 2),
        ([[True, False], [False, False], [False, True]], (FIRST + SECOND) / 3),
        ([[False, False]], 0.0),
    ],
)
def test_the_softmax_loss_is_the_one_worked_out_by_hand(present, expected):
    assert loss_of(*present) == pytest.approx(expected, rel=1e-4)


def test_an_image_without_a_class_gives_no_gradient():
    features = FEATURES.expand(2, -1, -1, -1).clone().requires_grad_()
    present = torch.tensor([[True, False], [False, False]])
    softmax_loss(features, CLASS_MAPS.expand(2, -1, -1, -1), PREDICTOR, present).backward()
    assert features.grad[0].abs().sum() > 0
    assert (features.grad[1] == 0).all()


def test_a_single_class_is_refused():
    with pytest.raises(ValueError, match="needs two classes or more"):
        softmax_loss(FEATURES, CLASS_MAPS[:, :1], PREDICTOR[:1], torch.tensor([[True]]))


def test_the_gradient_flows_through_the_normalisation():
    """The loss does not change with a map's scale, so the gradient is at right angles to the map."""
    class_maps = noise(2, 2, 3, 3).requires_grad_()
    present = torch.tensor([[True, False], [False, True]])
    softmax_loss(noise(2, 5, 3, 3, seed=1), class_maps, noise(2, 5, seed=2), present).backward()
    assert class_maps.grad.abs().max() > 1e-3
    assert abs((class_maps.grad * class_maps.detach()).sum().item()) < 1e-5


def test_the_loss_is_in_float32_under_autocast():
    with torch.autocast("cpu", dtype=torch.bfloat16):
        mixed = softmax_loss(noise(2, 5, 3, 3), noise(2, 2, 3, 3, seed=1), noise(2, 5, seed=2), torch.ones(2, 2) > 0)
    plain = softmax_loss(noise(2, 5, 3, 3), noise(2, 2, 3, 3, seed=1), noise(2, 5, seed=2), torch.ones(2, 2) > 0)
    assert mixed.dtype == torch.float32
    assert torch.equal(mixed, plain)


class Watch:
    """Trains as train_classifier does and keeps the parameters of each training, group by group, before and after."""

    def __init__(self) -> None:
        self.calls: list[dict[str, Any]] = []
        self.train = bench.training.classification.train_classifier

    def __call__(
        self,
        what: str,
        net: torch.nn.Module,
        train: ImageSet,
        losses_of: Any,
        recipe: Any,
        seed: int,
        place: Any,
        parameters: Any = None,
        **options: Any,
    ) -> pd.DataFrame:
        groups = parameters or [{"params": list(net.parameters())}]
        before = [[value.detach().clone() for value in group["params"]] for group in groups]
        history = self.train(what, net, train, losses_of, recipe, seed, place, parameters, **options)
        after = [[value.detach().clone() for value in group["params"]] for group in groups]
        rates = [group.get("lr") for group in groups]
        self.calls.append({"before": before, "after": after, "rates": rates, "recipe": recipe, "seed": seed})
        return history


@pytest.fixture
def fitted(monkeypatch: pytest.MonkeyPatch) -> tuple[torch.nn.ModuleDict, pd.DataFrame, list[dict[str, Any]]]:
    watch = Watch()
    monkeypatch.setattr(bench.training.classification, "train_classifier", watch)
    return *fit(settings(), images(), 0, NONE, where()), watch.calls


def test_the_second_step_goes_on_from_the_first_and_changes_predictor_and_backbone(fitted):
    net, _, (first, second) = fitted
    assert not net.training
    assert len(second["before"]) == 2
    for old, new in zip(first["after"][0], second["before"][0], strict=True):
        assert torch.equal(old, new)
    for old, new in zip(second["before"], second["after"], strict=True):
        assert not [position for position in range(len(old)) if torch.equal(old[position], new[position])]
    assert torch.equal(second["after"][1][0], net["predictor"].weight)


def test_the_second_step_has_a_length_rates_and_a_seed_of_its_own(fitted):
    _, _, (first, second) = fitted
    assert second["rates"] == [0.0001, 0.001]
    assert (first["recipe"].optimisation.epochs, second["recipe"].optimisation.epochs) == (2, 1)
    assert first["seed"] != second["seed"]


def test_the_history_holds_both_steps(fitted):
    _, history, _ = fitted
    assert history["epoch"].tolist() == [1, 2, 3]
    assert history[["bce", "sce"]].notna().all(axis=1).tolist() == [False, False, True]
    assert history["total"].iloc[2] == pytest.approx(history["bce"].iloc[2] + history["sce"].iloc[2], rel=1e-5)


def test_the_softmax_loss_is_weighted():
    _, history = fit(settings(sce_weight=0.25), images(), 0, NONE, where())
    last = history.iloc[-1]
    assert last["total"] == pytest.approx(last["bce"] + 0.25 * last["sce"], rel=1e-5)


def test_cams_are_weighted_by_the_product_of_classifier_and_predictor(monkeypatch):
    with seeded_initialisation("recam", "weights", 0):
        net = make_net(settings(), NONE).eval()
    with torch.no_grad():
        # Of the classifier's signs, so that no map is negative everywhere.
        net["predictor"].weight.abs_().mul_(net["network"].classifier.weight[:, :, 0, 0].sign())
    found = []

    def seen(maps_of: Any, *rest: Any) -> np.ndarray:
        with torch.no_grad():
            found.append(maps_of(noise(2, 3, 64, 64)))
        return np.ones((1, 1, 4, 4), np.float32)

    monkeypatch.setattr(bench.cam, "multi_scale_cams", seen)
    cams(settings(), net, images(), where())
    with torch.no_grad():
        features = net["network"].features(noise(2, 3, 64, 64)).numpy()
    product = net["network"].classifier.weight.detach().numpy()[TUMOUR, :, 0, 0]
    product = product * net["predictor"].weight.detach().numpy()[TUMOUR]
    expected = np.maximum(np.einsum("bdhw,d->bhw", features, product), 0)
    assert found[0].shape == (2, 1, 4, 4)
    assert np.allclose(found[0][:, 0].numpy(), expected, atol=1e-5)
    assert expected.max() > 0
