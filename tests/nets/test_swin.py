"""The network of Swin MIL: maps, fusion, bag scores, pretrained weights, refused settings."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import torchvision
from pydantic import ValidationError
from torch.nn import functional

from bench.errors import UserError
from bench.nets.swin import SwinMil, generalised_mean, make_swin_mil
from bench.schema import SwinNetwork
from tests.nets.test_resnet import noise, put_checkpoint

SWIN_T = {"embed_dim": 96, "depths": [2, 2, 6], "heads": [3, 6, 12], "window": 7, "initialisation": "imagenet"}


def network(**changes: Any) -> SwinNetwork:
    small = {"embed_dim": 12, "depths": [1, 1, 2], "heads": [1, 2, 3], "window": 4}
    rest = {"stochastic_depth": 0.0, "initialisation": "none"}
    return SwinNetwork.model_validate({**small, **rest, **changes})


def make(weights: Path | None = None, **changes: Any) -> SwinMil:
    torch.manual_seed(0)
    return make_swin_mil(network(**changes), 4.0, weights).eval()


@pytest.mark.parametrize(("height", "width"), [(64, 64), (32, 96)])
def test_all_four_maps_are_probabilities_of_the_images_size(height, width):
    maps = make()(noise(2, 3, height, width))
    assert maps.shape == (2, 4, height, width)
    assert maps.dtype == torch.float32
    assert 0 < maps.min() < maps.max() < 1


def test_maps_are_float32_in_mixed_precision_too():
    with torch.autocast("cpu", dtype=torch.bfloat16):
        assert make()(noise(1, 3, 32, 32)).dtype == torch.float32


def test_stages_have_strides_4_8_and_16_and_normalised_channels():
    stages = make().stages(noise(2, 3, 64, 96))
    assert [stage.shape for stage in stages] == [(2, 12, 16, 24), (2, 24, 8, 12), (2, 48, 4, 6)]
    for stage in stages:
        assert torch.allclose(stage.mean(1), torch.zeros(()), atol=1e-5)


def test_sides_are_upsampled_with_aligned_corners_and_fused_by_three_four_and_three_tenths():
    net, images = make(), noise(2, 3, 64, 64)
    maps = net(images).detach().numpy()
    for side, (head, features) in enumerate(zip(net.heads, net.stages(images), strict=True)):
        small = head(features).sigmoid().detach().numpy()[:, 0]
        for row in (0, -1):
            for column in (0, -1):
                assert np.allclose(maps[:, side, row, column], small[:, row, column], atol=1e-5)
    assert np.allclose(maps[:, 3], 0.3 * maps[:, 0] + 0.4 * maps[:, 1] + 0.3 * maps[:, 2], atol=1e-6)


def test_the_generalised_mean_is_that_of_its_formula():
    maps = np.random.default_rng(0).random((3, 4, 5, 6), dtype=np.float32)
    expected = [[(np.mean(part.astype(float) ** 4) + 1e-6) ** 0.25 for part in image] for image in maps]
    assert np.allclose(generalised_mean(torch.from_numpy(maps), 4.0), expected, atol=1e-6)


@pytest.mark.parametrize("value", [0.2, 0.5, 1.0])
def test_the_generalised_mean_of_a_constant_is_the_constant(value):
    found = generalised_mean(torch.full((1, 1, 8, 8), value), 4.0)
    assert found.item() == pytest.approx(value, abs=1e-4)


def test_the_generalised_mean_has_a_finite_gradient_at_zero():
    maps = torch.zeros(1, 1, 8, 8, requires_grad=True)
    generalised_mean(maps, 4.0).sum().backward()
    assert maps.grad.isfinite().all()


def test_stages_are_torchvisions_with_its_weights(tmp_path, monkeypatch):
    torch.manual_seed(3)
    original = torchvision.models.swin_t().eval()
    put_checkpoint("swin_t", original.state_dict(), tmp_path, monkeypatch)
    outputs: list[torch.Tensor] = []
    for position in (1, 3, 5):
        original.features[position].register_forward_hook(lambda module, given, output: outputs.append(output))
    net, images = make(tmp_path, **SWIN_T), noise(1, 3, 64, 96)
    original(images)
    for stage, expected in zip(net.stages(images), outputs, strict=True):
        normalised = functional.layer_norm(expected, expected.shape[-1:]).permute(0, 3, 1, 2)
        assert torch.allclose(stage, normalised, atol=1e-5)


def test_a_network_that_is_about_to_be_loaded_needs_no_checkpoint():
    assert len(make(None, **SWIN_T).features) == 6


def test_a_checkpoint_of_another_network_is_named(tmp_path, monkeypatch):
    state = make(None, **SWIN_T).features[:3].state_dict()
    put_checkpoint("swin_t", {f"features.{key}": value for key, value in state.items()}, tmp_path, monkeypatch)
    with pytest.raises(UserError, match=r"checkpoint of swin_t in .* is of another network"):
        make(tmp_path, **SWIN_T)


def test_stochastic_depth_rises_from_zero_to_the_rate():
    blocks = [block for stage in make(stochastic_depth=0.3).features[1::2] for block in stage]
    assert [block.stochastic_depth.p for block in blocks] == pytest.approx([0.0, 0.1, 0.2, 0.3])


@pytest.mark.parametrize(
    "changes",
    [
        {**SWIN_T, "embed_dim": 48},
        {**SWIN_T, "depths": [2, 2, 2]},
        {**SWIN_T, "heads": [3, 6, 6]},
        {**SWIN_T, "window": 4},
        {"depths": [2, 2]},
        {"depths": [2, 2, 0]},
        {"heads": [1, 2, 7]},
        {"stochastic_depth": 1.0},
    ],
)
def test_impossible_settings_are_refused(changes):
    with pytest.raises(ValidationError):
        network(**changes)
