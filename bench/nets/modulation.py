"""Attention Modulation Module of AMR: middling activations amplified, both extremes suppressed (METHOD 1.2)."""

import math

import torch
from torch import nn
from torch.nn import functional

EPSILON = 1e-5
# At inference a group is one image and its mirror image: statistics never mix different images.
PAIR = 2


def gaussian_gate(attention: torch.Tensor) -> torch.Tensor:
    """g(x) = exp(-(x - m)^2 / (2 s^2)) / (sqrt(2 pi) s), m and s (unbiased) over each group.

    attention: float (G, ...), one group a row. m and s are detached; s is kept above EPSILON; the peak is not
    scaled to one (METHOD 1.2).
    """
    flat = attention.flatten(1).float()
    mean = flat.mean(1, keepdim=True).detach()
    deviation = flat.std(1, keepdim=True).detach().clamp_min(EPSILON)
    gate = torch.exp(-((flat - mean) ** 2) / (2 * deviation**2)) / (math.sqrt(2 * math.pi) * deviation)
    return gate.view_as(attention).to(attention.dtype)


class AttentionModulation(nn.Module):
    """Channel gating, then spatial gating, of features (B, C, H, W).

    In training a group is the whole batch; in evaluation the batch must consist of neighbouring pairs
    (image, mirror image), so that a CAM does not depend on what else is in the batch.
    """

    def __init__(self, channels: int) -> None:
        super().__init__()
        hidden = max(channels // 16, 1)
        self.channel = nn.Sequential(nn.Linear(channels, hidden), nn.ReLU(), nn.Linear(hidden, channels))
        self.spatial = nn.Conv2d(2, 1, 7, padding=3, bias=False)
        self.scale, self.shift = nn.Parameter(torch.ones(1)), nn.Parameter(torch.zeros(1))

    def forward(self, features: torch.Tensor) -> torch.Tensor:
        batch = features.shape[0]
        group = batch if self.training else PAIR
        if batch % group:
            raise ValueError(f"evaluation needs pairs of images, got a batch of {batch}")
        channel = self.channel(features.mean((2, 3)))
        features = features * _by_group(channel, group)[:, :, None, None]
        maps = torch.cat([features.amax(1, keepdim=True), features.mean(1, keepdim=True)], 1)
        return features * _by_group(self._batch_norm(self.spatial(maps), group), group)

    def _batch_norm(self, maps: torch.Tensor, group: int) -> torch.Tensor:
        """BatchNorm of a one-channel map that always uses the statistics of its group (METHOD 1.2, trap ii)."""
        flat = maps.float().reshape(maps.shape[0] // group, -1)
        normal = functional.layer_norm(flat, flat.shape[1:], eps=EPSILON)
        return (normal * self.scale + self.shift).view_as(maps)


def _by_group(attention: torch.Tensor, group: int) -> torch.Tensor:
    return gaussian_gate(attention.reshape(attention.shape[0] // group, -1)).view_as(attention)


def insert(blocks: list[nn.Module]) -> None:
    """Put a module after the last BatchNorm of every residual block, before the residual addition."""
    for block in blocks:
        name = "bn3" if hasattr(block, "bn3") else "bn2"
        norm = getattr(block, name)
        setattr(block, name, nn.Sequential(norm, AttentionModulation(norm.num_features)))
