"""Training of a network that answers box prompts, with the boxes and the losses of Segment Anything (METHOD 7)."""

from collections.abc import Callable
from dataclasses import dataclass

import pandas as pd
import torch
from torch.nn import functional
from torchvision.ops import sigmoid_focal_loss

from bench.runtime import Context, generator
from bench.schema import Optimisation
from bench.training.checkpoint import Checkpoint
from bench.training.loop import EndlessBatches, optimise
from bench.training.mean_teacher import Teacher

# Of a box's side, and of the input's: SAM moves each edge by at most 20 of 1024 pixels.
NOISE, NOISE_LIMIT = 0.1, 20 / 1024
FOCAL_WEIGHT = 20.0
# Of the weights' moving average, which evens out the last steps of a constant learning rate.
AVERAGE = 0.99

Answer = Callable[[torch.Tensor, torch.Tensor], tuple[torch.Tensor, torch.Tensor]]
"""Pixels (B, 3, S, S) and boxes (B, 4) -> mask logits (B, h, w) and the IoUs that the network expects of them (B)."""


@dataclass(frozen=True)
class Prompted:
    """One box on one image a line, all tensors on one device.

    pixels: float32 (n, 3, S, S), as the network takes them. boxes: float32 (n, 4), x first, in pixels of S.
    targets: float32 (n, h, w), the share of each cell that is object.
    """

    pixels: torch.Tensor
    boxes: torch.Tensor
    targets: torch.Tensor


def train_on_boxes(
    what: str,
    net: torch.nn.Module,
    answer: Answer,
    data: Prompted,
    settings: Optimisation,
    seed: int,
    context: Context,
) -> tuple[torch.nn.Module, pd.DataFrame]:
    """Train `net`, through which `answer` goes, for all epochs, a pass over `data` each.

    seed: of order and box noise. Returns a network with the moving average of the weights, and the loss history.
    """
    average = Teacher(net, AVERAGE, buffers=False)
    count, device = len(data.pixels), data.pixels.device
    order = EndlessBatches(count, settings.batch_size, generator(device, "box prompts", "order", seed))
    noise = generator(device, "box prompts", "noise", seed)

    def losses(_: int) -> dict[str, torch.Tensor]:
        picked = next(order)
        pixels = data.pixels[picked]
        logits, expected = answer(pixels, jittered(data.boxes[picked], pixels.shape[-1], noise))
        return prompt_losses(logits, expected, data.targets[picked])

    history = optimise(
        what,
        net.parameters(),
        losses,
        settings,
        -(-count // settings.batch_size),
        after_update=average.update_parameters,
        checkpoint=Checkpoint(what, context, {"net": net, "average": average, "order": order, "noise": noise}),
    )
    return average.module, history


def jittered(boxes: torch.Tensor, side: int, draw: torch.Generator) -> torch.Tensor:
    """Boxes (B, 4), each edge moved by Gaussian noise: a tenth of the box's side, at most NOISE_LIMIT of `side`."""
    sides = (boxes[:, 2:] - boxes[:, :2]).repeat(1, 2)
    moved = NOISE * sides * torch.randn(boxes.shape, generator=draw, device=boxes.device)
    return boxes + moved.clamp(-NOISE_LIMIT * side, NOISE_LIMIT * side)


def prompt_losses(logits: torch.Tensor, expected: torch.Tensor, targets: torch.Tensor) -> dict[str, torch.Tensor]:
    """20 focal + Dice + squared error of the expected IoU, in float32; see Answer and Prompted for the shapes."""
    logits = logits.float()
    focal = sigmoid_focal_loss(logits, targets, alpha=0.25, gamma=2.0, reduction="mean")
    mask = logits.sigmoid().flatten(1)
    truth = targets.flatten(1)
    dice = (1 - (2 * (mask * truth).sum(1) + 1) / (mask.sum(1) + truth.sum(1) + 1)).mean()
    with torch.no_grad():
        found, there = mask > 0.5, truth > 0.5
        iou = (found & there).sum(1) / (found | there).sum(1).clamp(min=1)
    quality = functional.mse_loss(expected.float(), iou)
    return {"total": FOCAL_WEIGHT * focal + dice + quality, "focal": focal, "dice": dice, "quality": quality}
