"""Training of a weakly supervised network on images and image-level labels."""

from collections.abc import Callable, Mapping
from types import MappingProxyType
from typing import Protocol

import pandas as pd
import torch
from torch.nn import functional

from bench.methods import ImageSet
from bench.runtime import Context, generator
from bench.schema import Augmentation, CompileMode, Optimisation
from bench.training.augment import normalise, random_affine, to_float, warp
from bench.training.batch_norm import settle
from bench.training.checkpoint import Checkpoint, Part
from bench.training.compiled import compiled, first_update_timed
from bench.training.loop import EndlessBatches, Parameters, optimise

Losses = Callable[[torch.Tensor, torch.Tensor], dict[str, torch.Tensor]]


class Recipe(Protocol):
    """The part of a method's settings that training reads."""

    @property
    def optimisation(self) -> Optimisation:
        """Schedule and optimiser."""

    @property
    def augmentation(self) -> Augmentation:
        """Random flips and rotation."""

    @property
    def settle_batch_norm(self) -> bool:
        """Whether live BatchNorm statistics are estimated anew when the weights are final."""

    @property
    def compile(self) -> CompileMode | None:
        """torch.compile's mode for the losses, or None."""


def train_classifier(
    what: str,
    net: torch.nn.Module,
    train: ImageSet,
    losses_of: Losses,
    recipe: Recipe,
    seed: int,
    context: Context,
    parameters: Parameters | None = None,
    after_epoch: Callable[[int], None] = lambda epoch: None,
    changes: Mapping[str, Part] = MappingProxyType({}),
) -> pd.DataFrame:
    """Train `net`, already in its modes, on augmented batches of all of `train`; the history of losses by epoch.

    what: names the training in its progress and its checkpoint; trainings of one item need different names.
    losses_of(images, labels) gets normalised RGB (B, 3, S, S) and int64 (B,), and gives named scalar losses of which
    "total" is minimised. It runs inside autocast: what must be float32 turns itself into it. parameters: groups with
    learning rates of their own instead of all of the net's. after_epoch(epoch) runs at each epoch's end, the first
    epoch is 0. changes: what losses_of and after_epoch change beside `net`, by name, for the checkpoint.
    """
    device, batch_size = context.device, recipe.optimisation.batch_size
    images, labels = torch.from_numpy(train.images).to(device), torch.from_numpy(train.labels).to(device)
    order = EndlessBatches(len(images), batch_size, generator(device, "labelled", seed))
    affine = generator(device, "augmentation", seed)
    losses_in_use = compiled(losses_of, recipe.compile, device)

    def losses(update: int) -> dict[str, torch.Tensor]:
        picked = next(order)
        matrices = random_affine(batch_size, recipe.augmentation, affine)
        batch = normalise(warp(to_float(images[picked]), matrices, "bilinear"))
        with context.autocast():
            return losses_in_use(batch, labels[picked])

    chosen = net.parameters() if parameters is None else parameters
    per_epoch = -(-len(images) // batch_size)
    checkpoint = Checkpoint(what, context, {"net": net, "order": order, "augmentation": affine, **changes})
    history = optimise(
        what,
        chosen,
        first_update_timed(losses, what, recipe.compile),
        recipe.optimisation,
        per_epoch,
        after_epoch=after_epoch,
        checkpoint=checkpoint,
    )
    if recipe.settle_batch_norm:
        # The labels play no part in the statistics, but the losses know how images pass through all of the net.
        settle(net, train.images, lambda batch: losses_of(batch, labels[: len(batch)]), batch_size, seed, context)
    return history


def multilabel_loss(logits: torch.Tensor, labels: torch.Tensor) -> torch.Tensor:
    """Mean binary cross entropy over one-hot classes. logits (B, 2), labels int64 (B,), 1 = tumour (METHOD 1.5)."""
    target = functional.one_hot(labels, logits.shape[1]).float()
    return functional.binary_cross_entropy_with_logits(logits.float(), target)


def fit_cam_net(
    what: str,
    net: torch.nn.Module,
    train: ImageSet,
    recipe: Recipe,
    seed: int,
    context: Context,
    after_epoch: Callable[[int], None] = lambda epoch: None,
    changes: Mapping[str, Part] = MappingProxyType({}),
) -> pd.DataFrame:
    """`train_classifier`, by `multilabel_loss`, of a net that gives (logits, class maps); it ends in eval mode."""
    context.place(net).train()

    def losses_of(images: torch.Tensor, labels: torch.Tensor) -> dict[str, torch.Tensor]:
        return {"total": multilabel_loss(net(images)[0], labels)}

    history = train_classifier(
        what, net, train, losses_of, recipe, seed, context, after_epoch=after_epoch, changes=changes
    )
    net.eval()
    return history
