"""Batched augmentation on the device: one affine warp for flips and rotation."""

import functools
import math

import torch
from torch.nn import functional

from bench.schema import Augmentation


def random_affine(count: int, settings: Augmentation, draw: torch.Generator) -> torch.Tensor:
    """Random flips and rotation as affine matrices, float32 (count, 2, 3), for `warp`."""
    device = draw.device
    uniform = torch.rand(3, count, generator=draw, device=device)
    angle = (2 * uniform[0] - 1) * math.radians(settings.rotation_degrees)
    flip_x = 1 - 2 * ((uniform[1] < 0.5) & settings.horizontal_flip).float()
    flip_y = 1 - 2 * ((uniform[2] < 0.5) & settings.vertical_flip).float()
    cosine, sine, zero = angle.cos(), angle.sin(), torch.zeros_like(angle)
    first = torch.stack([flip_x * cosine, -flip_x * sine, zero], 1)
    second = torch.stack([flip_y * sine, flip_y * cosine, zero], 1)
    return torch.stack([first, second], 1)


def warp(images: torch.Tensor, matrices: torch.Tensor, mode: str) -> torch.Tensor:
    """Warp float images (B, C, H, W) with black outside; mode "bilinear" for images, "nearest" for masks."""
    grid = functional.affine_grid(matrices, list(images.shape), align_corners=False)
    return functional.grid_sample(images, grid, mode=mode, padding_mode="zeros", align_corners=False)


# Mean and standard deviation of ImageNet's RGB channels, which all pretrained weights here expect.
IMAGENET_MEAN = (0.485, 0.456, 0.406)
IMAGENET_STD = (0.229, 0.224, 0.225)


def to_float(images: torch.Tensor) -> torch.Tensor:
    """Grey uint8 (B, H, W) -> float32 (B, 1, H, W) in [0, 1]."""
    return images.unsqueeze(1).float() / 255


def normalise(grey: torch.Tensor) -> torch.Tensor:
    """Grey float (B, 1, H, W) in [0, 1] -> ImageNet-normalised RGB (B, 3, H, W) in channels-last memory."""
    mean, std = _imagenet_statistics(grey.device)
    return ((grey - mean) / std).contiguous(memory_format=torch.channels_last)


# Kept, because bringing numbers to a GPU waits for all that it has been given to do.
@functools.cache
def _imagenet_statistics(device: torch.device) -> tuple[torch.Tensor, torch.Tensor]:
    """Mean and standard deviation, float32 (1, 3, 1, 1)."""
    mean, std = (torch.tensor(values, device=device).view(1, 3, 1, 1) for values in (IMAGENET_MEAN, IMAGENET_STD))
    return mean, std
