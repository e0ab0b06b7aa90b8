"""Classification ResNets that give class activation maps (METHOD 1.1), on torchvision's blocks and weights."""

from pathlib import Path

import torch
from torch import nn
from torchvision.models.resnet import BasicBlock, Bottleneck, ResNet

from bench.nets.pretrained import load_into
from bench.nets.width import narrow, scaled
from bench.schema import CamNetwork

LAYERS: dict[str, tuple[type[BasicBlock] | type[Bottleneck], list[int]]] = {
    "resnet8": (BasicBlock, [1, 1, 1]),
    "resnet18": (BasicBlock, [2, 2, 2, 2]),
    "resnet34": (BasicBlock, [3, 4, 6, 3]),
    "resnet50": (Bottleneck, [3, 4, 6, 3]),
}


class CamResNet(nn.Module):
    """ResNet with a 1x1-convolution classifier without bias on globally averaged features.

    `forward` gives logits (B, C) and the class maps before ReLU (B, C, h, w), h = H / output_stride.
    """

    def __init__(self, backbone: ResNet, classes: int, fixed_batch_norm: bool, frozen_stem: bool) -> None:
        super().__init__()
        self.stem = nn.Sequential(backbone.conv1, backbone.bn1, backbone.relu, backbone.maxpool)
        self.stages = nn.Sequential(backbone.layer1, backbone.layer2, backbone.layer3, backbone.layer4)
        self.classifier = nn.Conv2d(backbone.fc.in_features, classes, 1, bias=False)
        self.fixed_batch_norm = fixed_batch_norm
        self.stem.requires_grad_(not frozen_stem)

    def train(self, mode: bool = True) -> "CamResNet":
        """As nn.Module's, but a fixed BatchNorm keeps normalising with its stored statistics."""
        super().train(mode)
        if self.fixed_batch_norm:
            for module in self.modules():
                if isinstance(module, nn.BatchNorm2d) and module.track_running_stats:
                    module.eval()
        return self

    def blocks(self) -> list[nn.Module]:
        """All residual blocks, input side first."""
        return [block for stage in self.stages for block in stage]  # type: ignore[attr-defined]

    def features(self, images: torch.Tensor) -> torch.Tensor:
        """Features before the classifier, (B, D, h, w)."""
        features: torch.Tensor = self.stages(self.stem(images))
        return features

    def forward(self, images: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        maps = self.classifier(self.features(images))
        # Averaging the maps equals classifying the averaged features: the classifier is linear without bias.
        return maps.mean((2, 3)), maps


def make_cam_resnet(network: CamNetwork, weights: Path | None) -> CamResNet:
    """The network of the settings, for two classes; ImageNet weights, where they ask for them, from folder `weights`.

    weights None: random ones, for a network that is about to be loaded.
    """
    pretrained = weights if network.initialisation == "imagenet" else None
    backbone = make_backbone(network.encoder, network.width, pretrained)
    set_output_stride(backbone, network.output_stride)
    return CamResNet(backbone, 2, network.fixed_batch_norm, network.frozen_stem)


def make_backbone(encoder: str, width: float, folder: Path | None) -> ResNet:
    """torchvision's ResNet of that name; with a folder it starts from IMAGENET1K_V1, looked for there.

    resnet8 lacks the last stage: its `layer4` is empty. width: factor of all channel numbers, 1 with a folder.
    """
    block, layers = LAYERS[encoder]
    if len(layers) == 3:
        backbone = ResNet(block, [*layers, 1])
        backbone.fc = nn.Linear(backbone.layer4[0].conv1.in_channels, backbone.fc.out_features)
        backbone.layer4 = nn.Sequential()
    else:
        backbone = ResNet(block, layers)
    if folder:
        load_into(backbone, encoder, folder)
    if width != 1:
        narrow(backbone, width)
        backbone.fc = nn.Linear(scaled(backbone.fc.in_features, width), backbone.fc.out_features)
    return backbone


def set_output_stride(backbone: ResNet, stride: int) -> None:
    """Make layer4 (stride 16), or layer3 and layer4 (stride 8), keep their input's resolution, without dilation."""
    kept = {32: [], 16: [backbone.layer4], 8: [backbone.layer3, backbone.layer4]}[stride]
    for first in (block for layer in kept for block in layer[:1]):
        (first.conv2 if isinstance(first, Bottleneck) else first.conv1).stride = (1, 1)
        first.downsample[0].stride = (1, 1)
