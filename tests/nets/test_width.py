"""Narrow networks: every layer has its share of channels, images and logits keep theirs."""

from pathlib import Path

import pytest
import torch
from torch import nn

from bench.nets.resnet import make_backbone, make_cam_resnet
from bench.nets.unet import make_unet
from bench.nets.width import narrow, scaled
from bench.schema import CamNetwork

IMAGES = torch.rand(2, 3, 64, 64, generator=torch.Generator().manual_seed(0))


def unet(width: float) -> nn.Module:
    torch.manual_seed(0)
    return make_unet("resnet18", [64, 32, 16], width, None, Path())


def channels(net: nn.Module) -> list[int]:
    """Outputs of every convolution and channels of every BatchNorm, in the network's order."""
    kinds = (nn.Conv2d, nn.BatchNorm2d)
    return [next(iter(module.parameters())).shape[0] for module in net.modules() if isinstance(module, kinds)]


@pytest.mark.parametrize(("usual", "width", "expected"), [(64, 0.5, 32), (64, 1.0, 64), (5, 0.3, 2), (3, 0.01, 1)])
def test_channels_are_rounded_and_never_none(usual, width, expected):
    assert scaled(usual, width) == expected


@pytest.mark.parametrize("encoder", ["resnet8", "resnet18", "resnet50"])
def test_a_resnet_has_half_the_channels_in_every_layer(encoder):
    whole, half = make_backbone(encoder, 1.0, None), make_backbone(encoder, 0.5, None)
    assert [2 * count for count in channels(half)] == channels(whole)
    assert 2 * half.fc.in_features == whole.fc.in_features


@pytest.mark.parametrize("encoder", ["resnet8", "resnet50"])
def test_a_narrow_resnet_gives_two_logits_and_trains_whole(encoder):
    network = CamNetwork(
        encoder=encoder,
        width=0.5,
        initialisation="none",
        output_stride=16,
        fixed_batch_norm=False,
        frozen_stem=False,
        cells="centred",
    )
    net = make_cam_resnet(network, None)
    logits, maps = net(IMAGES)
    assert logits.shape == (2, 2) and maps.shape == (2, 2, 4, 4)
    logits.square().sum().backward()
    assert all(parameter.grad is not None for parameter in net.parameters())


def test_a_unet_has_half_the_channels_in_all_but_its_logits():
    whole, half = unet(1.0), unet(0.5)
    assert [2 * count for count in channels(half)[:-1]] == channels(whole)[:-1]
    assert half(IMAGES).shape == whole(IMAGES).shape == (2, 2, 64, 64)


def test_the_layers_of_a_narrow_unet_start_as_smps_do():
    half = unet(0.5)

    def spread(part: str) -> float:
        return float(half.get_submodule(part).weight.detach().std())

    # Of 3x3 kernels: He's distribution by 64 outputs, He's by 96 inputs, Glorot's by 8 inputs and 2 outputs.
    assert spread("encoder.layer2.0.conv1") == pytest.approx((2 / (9 * 64)) ** 0.5, rel=0.05)
    assert spread("decoder.blocks.0.conv1.0") == pytest.approx((2 / (9 * 96)) ** 0.5, rel=0.05)
    assert spread("segmentation_head.0") == pytest.approx((2 / (9 * 8 + 9 * 2)) ** 0.5, rel=0.15)


@pytest.mark.parametrize("width", [0.125, 0.25, 0.375, 0.75])
def test_a_unet_joins_the_maps_of_a_narrow_encoder(width):
    assert unet(width)(IMAGES).shape == (2, 2, 64, 64)


def test_strides_paddings_and_dilations_stay():
    net = nn.Sequential(nn.Conv2d(3, 8, 3, stride=2, padding=2, dilation=2, bias=False), nn.Conv2d(8, 2, 1))
    expected = net(IMAGES).shape
    narrow(net, 0.5)
    assert net(IMAGES).shape == expected
    assert net[0].out_channels == 4 and net[0].bias is None and net[1].bias is not None


def test_the_same_seed_gives_the_same_narrow_network():
    first, second = unet(0.5).state_dict(), unet(0.5).state_dict()
    assert all(torch.equal(value, second[name]) for name, value in first.items())
