"""Classification VGG16s that give class activation maps (METHOD 3, 5.2), on torchvision's weights."""

from pathlib import Path

import torch
from torch import nn

from bench.nets.pretrained import load_into
from bench.nets.width import scaled
from bench.schema import VggNetwork

# Output channels and number of 3x3 convolutions of the five blocks.
BLOCKS = ((64, 2), (128, 2), (256, 3), (512, 3), (512, 3))
HEAD_CONVOLUTIONS = 3
NEW_LAYER_DEVIATION = 0.01


class CamVgg(nn.Module):
    """VGG16 whose class maps are averaged to logits.

    `forward` takes normalised RGB, float (B, 3, H, W), and gives logits (B, 2) and the class maps before ReLU
    (B, 2, h, w). layout "stride8" (METHOD 3): h = H / 8, conv5 dilated, three more 3x3 convolutions before the 1x1
    classifier. "plain" (Zhou et al.): h = H / 32, a classifier without bias directly on the features.
    """

    def __init__(self, network: VggNetwork) -> None:
        super().__init__()
        stride8 = network.layout == "stride8"
        layers: list[nn.Module] = []
        width = 3
        for block, (channels, count) in enumerate(BLOCKS, 1):
            inputs, width = width, scaled(channels, network.width)
            dilation = 2 if stride8 and block == 5 else 1
            for position in range(count):
                layers += _convolution(inputs if position == 0 else width, width, network.batch_norm, dilation)
            if not stride8 or block < 4:
                layers.append(nn.MaxPool2d(2))
            elif block == 4:
                layers.append(nn.MaxPool2d(3, stride=1, padding=1))
        self.features = nn.Sequential(*layers)
        head = [_convolution(width, width, network.batch_norm) for _ in range(HEAD_CONVOLUTIONS if stride8 else 0)]
        self.head = nn.Sequential(*(layer for convolution in head for layer in convolution))
        self.classifier = nn.Conv2d(width, 2, 1, bias=stride8)

    def forward(self, images: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        maps = self.classifier(self.head(self.features(images)))
        return maps.mean((2, 3)), maps


def make_cam_vgg(network: VggNetwork, weights: Path | None) -> CamVgg:
    """The network of the settings; ImageNet weights, where they ask for them, from folder `weights`.

    weights None: random ones, for a network that is about to be loaded.
    """
    net = CamVgg(network)
    pretrained = network.initialisation == "imagenet"
    for convolution in _convolutions(net):
        # N(0, 0.01) is METHOD 3's for new layers, but sixteen layers of it would let the signal vanish.
        if pretrained or convolution is net.classifier:
            nn.init.normal_(convolution.weight, std=NEW_LAYER_DEVIATION)
        else:
            nn.init.kaiming_normal_(convolution.weight, mode="fan_out", nonlinearity="relu")
        if convolution.bias is not None:
            nn.init.zeros_(convolution.bias)
    if pretrained and weights:
        load_into(net.features, "vgg16", weights, "features.")
    return net


def _convolution(inputs: int, outputs: int, batch_norm: bool, dilation: int = 1) -> list[nn.Module]:
    """3x3 convolution that keeps the size, BatchNorm if asked for (the bias is then superfluous), ReLU."""
    convolution = nn.Conv2d(inputs, outputs, 3, padding=dilation, dilation=dilation, bias=not batch_norm)
    return [convolution, *([nn.BatchNorm2d(outputs)] if batch_norm else []), nn.ReLU(inplace=True)]


def _convolutions(net: nn.Module) -> list[nn.Conv2d]:
    return [module for module in net.modules() if isinstance(module, nn.Conv2d)]
