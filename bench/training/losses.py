"""Losses of the segmentation network (paper, eq. 1; METHOD 6.1 and 10c)."""

import math

import torch
from torch.nn import functional

SMOOTH = 1e-5


def soft_dice(probabilities: torch.Tensor, target: torch.Tensor) -> torch.Tensor:
    """Squared soft Dice loss over all classes, background included.

    probabilities: float (B, C, H, W), softmax. target: int64 (B, H, W) in 0..C-1. Sums run over the whole batch;
    the result is the mean over classes of 1 - (2 sum(p y) + s) / (sum(p^2) + sum(y^2) + s), s = 1e-5.
    """
    classes = probabilities.shape[1]
    one_hot = functional.one_hot(target, classes).permute(0, 3, 1, 2).to(probabilities.dtype)
    axes = (0, 2, 3)
    shared = (probabilities * one_hot).sum(axes)
    size = (probabilities**2).sum(axes) + one_hot.sum(axes)
    return (1 - (2 * shared + SMOOTH) / (size + SMOOTH)).mean()


def supervised_loss(logits: torch.Tensor, target: torch.Tensor) -> torch.Tensor:
    """0.5 * (cross entropy + Dice) in float32. logits: (B, 2, H, W). target: int64 (B, H, W)."""
    logits = logits.float()
    return 0.5 * (functional.cross_entropy(logits, target) + soft_dice(logits.softmax(1), target))


def consistency_loss(student: torch.Tensor, teacher: torch.Tensor) -> torch.Tensor:
    """Mean squared difference of the two networks' softmax outputs over images, classes and pixels."""
    return functional.mse_loss(student.float().softmax(1), teacher.float().softmax(1))


def consistency_weight(update: int, ramp_updates: int, maximum: float) -> float:
    """beta(t) = maximum * exp(-5 (1 - t/T)^2) until t = T, then maximum (paper, after eq. 1; METHOD 6.3)."""
    progress = min(update / ramp_updates, 1.0) if ramp_updates else 1.0
    return maximum * math.exp(-5.0 * (1.0 - progress) ** 2)
