"""Attention Modulation Module of AMR: middling activations amplified, both extremes suppressed (METHOD 1.2)."""

import math

import torch
from torch import nn

EPSILON = 1e-5
MOMENTUM = 0.1  # of the moving averages
# At inference a group is one image and its mirror image: statistics never mix different images.
PAIR = 2


def gaussian_gate(attention: torch.Tensor, mean: torch.Tensor, deviation: torch.Tensor) -> torch.Tensor:
    """g(x) = exp(-(x - m)^2 / (2 s^2)) / (sqrt(2 pi) s); the peak is not scaled to one (METHOD 1.2).

    attention: float (G, n), one group a row. mean, deviation: float (G, 1) or (1, 1); the deviation is kept above
    EPSILON.
    """
    deviation = deviation.clamp_min(EPSILON)
    return torch.exp(-((attention - mean) ** 2) / (2 * deviation**2)) / (math.sqrt(2 * math.pi) * deviation)


class Gate(nn.Module):
    """Gaussian gate of attention values (G, n) by mean and unbiased deviation, both detached.

    In training, and with "group" statistics in evaluation too, they are those of each row. With "running" statistics
    evaluation takes their moving averages over training (and over the pass of `settle`), as BatchNorm does.
    """

    mean: torch.Tensor
    deviation: torch.Tensor

    def __init__(self, statistics: str) -> None:
        super().__init__()
        self.running = statistics == "running"
        if self.running:
            self.register_buffer("mean", torch.zeros(1, 1))
            self.register_buffer("deviation", torch.ones(1, 1))

    def forward(self, attention: torch.Tensor) -> torch.Tensor:
        values = attention.float()
        if self.running and not self.training:
            return gaussian_gate(values, self.mean, self.deviation)
        mean, deviation = values.mean(1, keepdim=True).detach(), values.std(1, keepdim=True).detach()
        if self.running:
            self.mean.lerp_(mean, MOMENTUM)
            self.deviation.lerp_(deviation, MOMENTUM)
        return gaussian_gate(values, mean, deviation)


class AttentionModulation(nn.Module):
    """Channel gating, then spatial gating, of features (B, C, H, W).

    statistics "group": the official code's. In training a group is the whole batch; in evaluation the batch must
    consist of neighbouring pairs (image, mirror image), so that a CAM does not depend on what else is in the batch.
    "running": evaluation uses averages over training and `settle`, so that both see equally scaled features.
    """

    def __init__(self, channels: int, statistics: str) -> None:
        super().__init__()
        hidden = max(channels // 16, 1)
        self.running = statistics == "running"
        self.channel = nn.Sequential(nn.Linear(channels, hidden), nn.ReLU(), nn.Linear(hidden, channels))
        self.channel_gate, self.spatial_gate = Gate(statistics), Gate(statistics)
        self.spatial = nn.Conv2d(2, 1, 7, padding=3, bias=False)
        # 1d, because a fixed BatchNorm of the backbone (2d) does not include this one.
        self.norm = nn.BatchNorm1d(1, eps=EPSILON, momentum=MOMENTUM, track_running_stats=self.running)

    def forward(self, features: torch.Tensor) -> torch.Tensor:
        batch = features.shape[0]
        group = batch if self.training or self.running else PAIR
        if batch % group:
            raise ValueError(f"evaluation needs pairs of images, got a batch of {batch}")
        channel = self.channel(features.mean((2, 3)))
        features = features * _by_group(channel, group, self.channel_gate)[:, :, None, None]
        maps = torch.cat([features.amax(1, keepdim=True), features.mean(1, keepdim=True)], 1)
        return features * _by_group(self._batch_norm(self.spatial(maps), group), group, self.spatial_gate)

    def _batch_norm(self, maps: torch.Tensor, group: int) -> torch.Tensor:
        """BatchNorm of a one-channel map; without running statistics each group is a batch (METHOD 1.2, trap ii)."""
        groups = maps.float().reshape(maps.shape[0] // group, 1, -1)
        normal = self.norm(groups) if self.running else torch.cat([self.norm(one) for one in torch.split(groups, 1)])
        return normal.view_as(maps)


def _by_group(attention: torch.Tensor, group: int, gate: Gate) -> torch.Tensor:
    gated: torch.Tensor = gate(attention.reshape(attention.shape[0] // group, -1))
    return gated.view_as(attention).to(attention.dtype)


def insert(blocks: list[nn.Module], statistics: str) -> None:
    """Put a module after the last BatchNorm of every residual block, before the residual addition."""
    for block in blocks:
        name = "bn3" if hasattr(block, "bn3") else "bn2"
        norm = getattr(block, name)
        setattr(block, name, nn.Sequential(norm, AttentionModulation(norm.num_features, statistics)))
