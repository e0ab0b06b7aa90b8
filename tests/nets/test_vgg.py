"""The classification VGG16s: map sizes, logits, initial and pretrained weights, refused settings."""

from pathlib import Path
from typing import Any

import pytest
import torch
from pydantic import ValidationError
from torch.nn import functional
from torchvision.models.vgg import cfgs, make_layers

from bench.errors import UserError
from bench.nets.vgg import CamVgg, make_cam_vgg
from bench.schema import VggNetwork
from tests.nets.test_resnet import noise, put_checkpoint


def network(**changes: Any) -> VggNetwork:
    small = {"layout": "stride8", "width": 0.125, "batch_norm": True, "initialisation": "none"}
    return VggNetwork.model_validate({**small, **changes})


def make(weights: Path | None = None, **changes: Any) -> CamVgg:
    torch.manual_seed(0)
    return make_cam_vgg(network(**changes), weights)


def convolutions(net: torch.nn.Module) -> list[torch.nn.Conv2d]:
    return [module for module in net.modules() if isinstance(module, torch.nn.Conv2d)]


@pytest.fixture
def original(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> torch.nn.Sequential:
    """torchvision's features with random weights, which are also the checkpoint in tmp_path."""
    torch.manual_seed(3)
    features = make_layers(cfgs["D"]).eval()
    for convolution in convolutions(features):
        torch.nn.init.kaiming_normal_(convolution.weight)
    state = {f"features.{key}": value for key, value in features.state_dict().items()}
    put_checkpoint("vgg16", {**state, "classifier.6.bias": torch.zeros(1000)}, tmp_path, monkeypatch)
    return features


@pytest.mark.parametrize(("layout", "stride"), [("stride8", 8), ("plain", 32)])
@pytest.mark.parametrize("batch_norm", [True, False])
def test_the_layout_gives_the_size_of_the_maps_and_logits_are_their_mean(layout, stride, batch_norm):
    logits, maps = make(layout=layout, batch_norm=batch_norm).eval()(noise(2, 3, 64, 96))
    assert maps.shape == (2, 2, 64 // stride, 96 // stride)
    assert torch.allclose(logits, maps.mean((2, 3)))


@pytest.mark.parametrize(("layout", "count"), [("stride8", 13 + 3 + 1), ("plain", 13 + 1)])
def test_a_layout_has_its_convolutions_and_the_width_scales_their_channels(layout, count):
    net = make(layout=layout)
    found = convolutions(net)
    assert len(found) == count
    expected = [8, 8, 16, 16, 32, 32, 32] + [64] * (count - 8) + [2]
    assert [convolution.out_channels for convolution in found] == expected
    assert (net.classifier.bias is None) == (layout == "plain")


def test_the_plain_layout_gives_torchvisions_features(original, tmp_path):
    net = make(tmp_path, layout="plain", width=1.0, batch_norm=False, initialisation="imagenet").eval()
    images = noise(1, 3, 64, 64)
    features = net.features(images)
    assert features.abs().max() > 0
    assert torch.equal(features, original(images))


def test_the_stride_8_layout_changes_pool4_and_dilates_conv5(original, tmp_path):
    net = make(tmp_path, width=1.0, batch_norm=False, initialisation="imagenet").eval()
    images = noise(1, 3, 64, 64)
    expected = functional.max_pool2d(original[:23](images), 3, stride=1, padding=1)
    for convolution in convolutions(original[24:]):
        expected = functional.conv2d(expected, convolution.weight, convolution.bias, padding=2, dilation=2).relu()
    assert expected.shape[-2:] == (8, 8)
    assert torch.allclose(net.features(images), expected, rtol=1e-4, atol=1e-5)


def test_layers_that_imagenet_does_not_have_start_small_and_without_bias(original, tmp_path):
    net = make(tmp_path, width=1.0, batch_norm=False, initialisation="imagenet")
    for convolution in [*convolutions(net.head), net.classifier]:
        assert convolution.weight.std().item() == pytest.approx(0.01, rel=0.1)
        assert convolution.weight.mean().abs() < 1e-3
        assert not convolution.bias.any()


@pytest.mark.parametrize("batch_norm", [True, False])
def test_without_pretrained_weights_the_signal_reaches_the_classifier(batch_norm):
    net = make(width=0.25, batch_norm=batch_norm)
    features = net.head(net.features(noise(2, 3, 64, 64)))
    assert 0.1 < features.std() < 10


def test_a_network_that_is_about_to_be_loaded_needs_no_checkpoint():
    assert len(make(None, width=1.0, batch_norm=False, initialisation="imagenet").features) == 30


def test_a_checkpoint_of_another_network_is_named(tmp_path, monkeypatch):
    state = {f"features.{key}": value for key, value in make_layers(cfgs["A"]).state_dict().items()}
    put_checkpoint("vgg16", state, tmp_path, monkeypatch)
    with pytest.raises(UserError, match=r"checkpoint of vgg16 in .* is of another network"):
        make(tmp_path, width=1.0, batch_norm=False, initialisation="imagenet")


@pytest.mark.parametrize(
    "changes",
    [
        {"initialisation": "imagenet", "width": 0.5, "batch_norm": False},
        {"initialisation": "imagenet", "width": 1.0, "batch_norm": True},
        {"width": 0.0},
        {"width": 1.5},
        {"layout": "stride16"},
    ],
)
def test_impossible_settings_are_refused(changes):
    with pytest.raises(ValidationError):
        network(**changes)
