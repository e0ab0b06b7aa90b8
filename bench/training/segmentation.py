"""Training of one segmentation row, supervised or with a Mean Teacher, and its predictions on X.

The labels come in as an array: whether they are ground truth or pseudo-labels is not visible from here.
"""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd
import torch

from bench.nets.unet import make_unet
from bench.runtime import Context, generator, seeded_initialisation, without_kernel_search
from bench.schema import Segmentation
from bench.training.augment import normalise, random_affine, to_float, warp
from bench.training.batch_norm import settle
from bench.training.checkpoint import Checkpoint, Part
from bench.training.compiled import Network, compiled, first_update_timed
from bench.training.loop import EndlessBatches, optimise
from bench.training.losses import consistency_loss, consistency_weight, supervised_loss
from bench.training.mean_teacher import Teacher

PREDICTION_BATCH = 64


@dataclass(frozen=True)
class TrainingSet:
    """What one row learns from.

    labelled: uint8 grey (n, S, S). labels: uint8 0/1 (n, S, S). unlabelled: uint8 (m, S, S), or None for a
    supervised row. size_of_v: |V|, which fixes the number of updates for all rows alike.
    """

    labelled: np.ndarray
    labels: np.ndarray
    unlabelled: np.ndarray | None
    size_of_v: int


def updates_per_epoch(data: TrainingSet, settings: Segmentation) -> int:
    """Updates of one epoch: a pass over V (the same for all rows), or a pass over the labelled images (METHOD 6.3)."""
    batch = settings.optimisation.batch_size
    if settings.updates == "per_v":
        return -(-data.size_of_v // batch)
    labelled = batch if data.unlabelled is None else settings.mean_teacher.labelled_per_batch
    return -(-len(data.labelled) // labelled)


def train_segmentation(
    what: str, data: TrainingSet, settings: Segmentation, seed: int, weights: Path, context: Context
) -> tuple[torch.nn.Module, pd.DataFrame]:
    """Train for all epochs and return the network to be evaluated (last epoch, eval mode) and the loss history.

    what: the row's name, for progress and checkpoint. seed: training seed; the initial weights depend on it alone, so
    that rows are paired. weights: folder of pretrained weights. A row with `unlabelled` is trained with a Mean Teacher.
    """
    with seeded_initialisation("segmentation", "weights", seed):
        student = make_unet(
            settings.encoder,
            settings.decoder_channels,
            settings.width,
            settings.encoder if settings.initialisation == "imagenet" else None,
            weights,
        )
    context.place(student).train()
    teacher = None
    if data.unlabelled is not None:
        teacher = Teacher(student, settings.mean_teacher.ema_decay, settings.mean_teacher.ema_buffers)
    per_epoch = updates_per_epoch(data, settings)
    student_in_use = compiled(student, settings.compile, context.device)
    teacher_in_use = compiled(teacher, settings.compile, context.device) if teacher else None
    losses, draws = _losses(student_in_use, teacher_in_use, data, settings, per_epoch, seed, context)
    losses = first_update_timed(losses, what, settings.compile)
    nets: dict[str, Part] = {"student": student, **({"teacher": teacher} if teacher else {})}
    history = optimise(
        what,
        student.parameters(),
        losses,
        settings.optimisation,
        per_epoch,
        after_update=teacher.update_parameters if teacher else (lambda: None),
        checkpoint=Checkpoint(what, context, {**nets, **draws}),
    )
    evaluated = teacher.module if teacher and settings.mean_teacher.evaluated == "teacher" else student
    if settings.settle_batch_norm:
        parts = [data.labelled] if data.unlabelled is None else [data.labelled, data.unlabelled]
        settle(evaluated.train(), np.concatenate(parts), evaluated, settings.optimisation.batch_size, seed, context)
    return evaluated.eval(), history


def _losses(
    student: Network,
    teacher: Network | None,
    data: TrainingSet,
    settings: Segmentation,
    per_epoch: int,
    seed: int,
    context: Context,
) -> tuple[Callable[[int], dict[str, torch.Tensor]], dict[str, Part]]:
    """The losses of one update as a function of its number (paper, eq. 1), and what it draws from."""
    device, options = context.device, settings.mean_teacher
    labelled, labels = (torch.from_numpy(part).to(device) for part in (data.labelled, data.labels))
    with_labels = settings.optimisation.batch_size if teacher is None else options.labelled_per_batch
    labelled_order = EndlessBatches(len(labelled), with_labels, generator(device, "labelled", seed))
    affine, noise = generator(device, "augmentation", seed), generator(device, "noise", seed)
    draws: dict[str, Part] = {"labelled": labelled_order, "augmentation": affine, "noise": noise}
    if teacher is not None and data.unlabelled is not None:
        unlabelled = torch.from_numpy(data.unlabelled).to(device)
        without = settings.optimisation.batch_size - with_labels
        unlabelled_order = EndlessBatches(len(unlabelled), without, generator(device, "unlabelled", seed))
        draws["unlabelled"] = unlabelled_order
    ramp_updates = round(options.ramp_fraction * settings.optimisation.epochs * per_epoch)

    def losses(update: int) -> dict[str, torch.Tensor]:
        picked = next(labelled_order)
        images, targets = labelled[picked], labels[picked]
        if teacher is not None:
            images = torch.cat([images, unlabelled[next(unlabelled_order)]])
        matrices = random_affine(len(images), settings.augmentation, affine)
        grey = warp(to_float(images), matrices, "bilinear")
        target = warp(targets.unsqueeze(1).float(), matrices[:with_labels], "nearest").squeeze(1).long()
        with context.autocast():
            logits = student(normalise(grey))
        supervised = supervised_loss(logits[:with_labels], target)
        if teacher is None:
            return {"total": supervised, "supervised": supervised}
        with torch.no_grad(), context.autocast():
            disturbed = _with_noise(grey, options.teacher_noise, options.teacher_noise_limit, noise)
            target_logits = teacher(normalise(disturbed))
        start = 0 if options.consistency_on == "all" else with_labels
        consistency = consistency_loss(logits[start:], target_logits[start:])
        weight = consistency_weight(update, ramp_updates, options.consistency_weight)
        return {
            "total": supervised + weight * consistency,
            "supervised": supervised,
            "consistency": consistency,
        }

    return losses, draws


def _with_noise(grey: torch.Tensor, scale: float, limit: float, draw: torch.Generator) -> torch.Tensor:
    """Clipped Gaussian noise on the teacher's input, in units of intensity 0..1 (METHOD 6.1)."""
    noise = torch.randn(grey.shape, generator=draw, device=grey.device)
    return grey + (scale * noise).clamp(-limit, limit)


@torch.no_grad()
@without_kernel_search()
def predict(net: torch.nn.Module, images: np.ndarray, context: Context) -> np.ndarray:
    """Tumour probability of uint8 grey images (n, S, S): float16 (n, S, S) in [0, 1]."""
    parts = []
    for batch in torch.split(torch.from_numpy(images).to(context.device), PREDICTION_BATCH):
        with context.autocast():
            logits = net(normalise(to_float(batch)))
        parts.append(logits.float().softmax(1)[:, 1].half())
    probabilities: np.ndarray = torch.cat(parts).cpu().numpy()
    return probabilities
