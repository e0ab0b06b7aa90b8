"""The classification loss and loop."""

from pathlib import Path

import numpy as np
import pytest
import torch
from torch import nn

from bench.methods import ImageSet
from bench.runtime import context
from bench.schema import MethodSettings
from bench.settings import load
from bench.training.augment import normalise, to_float
from bench.training.classification import fit_cam_net, multilabel_loss, train_classifier

BLOCK = load("phantom", Path(__file__).resolve().parents[2] / "params.yaml").cams["resnet50_cam"]
CPU = context("cpu", 2, "fp32")


def recipe(settle: bool) -> MethodSettings:
    """Two epochs of the phantom profile's, in batches of four."""
    optimisation = {**BLOCK["optimisation"], "epochs": 2, "batch_size": 4, "precision": "fp32"}
    changed = {"optimisation": optimisation, "settle_batch_norm": settle}
    shared = {name: BLOCK[name] for name in MethodSettings.model_fields}
    return MethodSettings.model_validate({**shared, **changed})


class TinyNet(nn.Module):
    """One convolution, a BatchNorm, and class maps."""

    def __init__(self) -> None:
        super().__init__()
        self.body = nn.Sequential(nn.Conv2d(3, 4, 3, padding=1, bias=False), nn.BatchNorm2d(4), nn.ReLU())
        self.head = nn.Conv2d(4, 2, 1)

    def forward(self, images: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        maps = self.head(self.body(images))
        return maps.mean((2, 3)), maps


def make_net() -> TinyNet:
    torch.manual_seed(0)
    return TinyNet()


def images(count: int = 8) -> ImageSet:
    values = np.random.default_rng(0).integers(0, 256, (count, 16, 16), dtype=np.uint8)
    return ImageSet([str(position) for position in range(count)], values, np.arange(count) % 2)


def fitted(settle: bool) -> TinyNet:
    net = make_net()
    fit_cam_net("test", net, images(), recipe(settle), 0, CPU)
    return net


def test_settled_statistics_are_those_of_the_final_weights_on_images_as_they_are():
    net = fitted(settle=True)
    with torch.no_grad():
        features = net.body[0](normalise(to_float(torch.from_numpy(images().images))))
    assert torch.allclose(net.body[1].running_mean, features.mean((0, 2, 3)), atol=1e-5)
    assert torch.allclose(net.body[1].running_var, features.var((0, 2, 3)), rtol=0.05)
    assert net.body[1].momentum == 0.1
    usual = fitted(settle=False)
    assert torch.equal(usual.head.weight, net.head.weight)
    assert not torch.allclose(usual.body[1].running_mean, net.body[1].running_mean, atol=1e-3)


def test_fixed_statistics_are_not_settled():
    net = make_net().train()
    net.body[1].eval()
    before = net.body[1].running_mean.clone()
    train_classifier("test", net, images(), lambda x, y: {"total": multilabel_loss(net(x)[0], y)}, recipe(True), 0, CPU)
    assert torch.equal(net.body[1].running_mean, before)


def test_groups_learn_at_their_own_rates():
    net, start = make_net().train(), make_net()
    groups = [{"params": net.body.parameters(), "lr": 0.0}, {"params": net.head.parameters(), "lr": 0.01}]
    losses = lambda x, y: {"total": multilabel_loss(net(x)[0], y)}  # noqa: E731
    train_classifier("test", net, images(), losses, recipe(False), 0, CPU, groups)
    assert torch.equal(net.body[0].weight, start.body[0].weight)
    assert not torch.equal(net.head.weight, start.head.weight)


def test_what_follows_an_epoch_is_told_its_number():
    seen: list[int] = []
    history = fit_cam_net("test", make_net(), images(), recipe(False), 0, CPU, after_epoch=seen.append)
    assert seen == [0, 1]
    assert history["epoch"].tolist() == [1, 2]


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
