"""Classification ResNets that give class activation maps (METHOD 1.1), on torchvision's blocks and weights."""

from collections.abc import Sequence
from pathlib import Path

import torch
from torch import nn
from torch.nn import functional
from torchvision.models.resnet import BasicBlock, Bottleneck, ResNet

from bench.errors import UserError
from bench.nets.pretrained import load_state

LAYERS: dict[str, tuple[type[BasicBlock] | type[Bottleneck], list[int]]] = {
    "resnet10": (BasicBlock, [1, 1, 1, 1]),
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

    def forward(self, images: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        maps = self.classifier(self.stages(self.stem(images)))
        # Averaging the maps equals classifying the averaged features: the classifier is linear without bias.
        return maps.mean((2, 3)), maps


def make_backbone(encoder: str, pretrained: bool, folder: Path) -> ResNet:
    """torchvision's ResNet of that name; `pretrained` loads IMAGENET1K_V1 from `folder`."""
    block, layers = LAYERS[encoder]
    backbone = ResNet(block, layers)
    if pretrained:
        try:
            backbone.load_state_dict(load_state(encoder, folder))
        except RuntimeError as error:
            raise UserError(f"the checkpoint of {encoder} in {folder} is of another network") from error
    return backbone


def set_output_stride(backbone: ResNet, stride: int) -> None:
    """Make layer4 (stride 16), or layer3 and layer4 (stride 8), keep their input's resolution, without dilation."""
    kept = {32: [], 16: [backbone.layer4], 8: [backbone.layer3, backbone.layer4]}[stride]
    for layer in kept:
        first = layer[0]
        (first.conv2 if isinstance(first, Bottleneck) else first.conv1).stride = (1, 1)
        first.downsample[0].stride = (1, 1)


def blocks(backbone: ResNet) -> list[BasicBlock | Bottleneck]:
    """All residual blocks, input side first."""
    return [block for layer in _layers(backbone) for block in layer]


def _layers(backbone: ResNet) -> Sequence[nn.Sequential]:
    return (backbone.layer1, backbone.layer2, backbone.layer3, backbone.layer4)


def multilabel_loss(logits: torch.Tensor, labels: torch.Tensor) -> torch.Tensor:
    """Mean binary cross entropy over one-hot classes. logits (B, 2), labels int64 (B,), 1 = tumour (METHOD 1.5)."""
    target = functional.one_hot(labels, logits.shape[1]).float()
    return functional.binary_cross_entropy_with_logits(logits.float(), target)
