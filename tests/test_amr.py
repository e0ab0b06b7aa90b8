"""AMR: its CAM loss, the weights of its losses, what each loss teaches, and the fusion of its CAMs."""

from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import torch

import bench.cam
import bench.training.classification
from baselines.amr import AmrSettings, cam_loss, cams, fit, make_net
from bench.methods import ImageSet
from bench.nets.modulation import AttentionModulation
from bench.runtime import context
from bench.settings import load

BLOCK = load("phantom", Path(__file__).resolve().parents[1] / "params.yaml").cams["amr"]
NONE = Path("unused")


def settings(**changes: Any) -> AmrSettings:
    optimisation = {**BLOCK["optimisation"], "epochs": 1, "batch_size": 4, "precision": "fp32"}
    return AmrSettings.model_validate({**BLOCK, "optimisation": optimisation, **changes})


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
    net, _ = fit(settings(), images(), 0, NONE, context("cpu", 2, "fp32"))
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
        parts = {"stem": net[branch].stem[0], "layer4": net[branch].stages[3], "classifier": net[branch].classifier}
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
    fused = cams(settings(spotlight_share=share), torch.nn.ModuleDict(), images(), context("cpu", 2, "fp32"))
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
    cams(settings(), net, images(), context("cpu", 2, "fp32"))
    assert found[0].shape == (2, 2, 4, 4)
    assert (found[0][:, 0] == 2).all()
    assert (found[0][:, 1] == 0).all()  # after ReLU
