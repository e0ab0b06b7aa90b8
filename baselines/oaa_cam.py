"""OAA: class attention accumulated online over the epochs of a classifier (Jiang et al., ICCV 2019), on a ResNet50.

Paper: row "OAA-CAM [15]" of Table III: CAMs accumulated while the classifier learns, DenseCRF, a U-Net.
Unclear: network (the official one is a VGG16; its ResNet was never released), training recipe, whether the second
network, the integral attention model, was trained, threshold (METHOD 3).
Chosen: the ResNet50 of the other rows and the recipe that the paper gives for AMR. After every epoch but the first,
the maps of the un-augmented tumour images, each with its mirror image, are accumulated by image id; so flips,
rotations and shuffling in training, which the official code must do without, are harmless. "The tumour class ranks
first" reads: tumour logit > normal logit. No integral attention model (`integral: true` trains it, for as many
epochs, and takes the CAMs from it). One scale, bicubic upsampling, min-max; threshold 0.30 (the official evaluation).
Cost: one ResNet50, about half as much again as a plain CAM classifier; the integral attention model is another one.
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, cast

from bench.methods import TUMOUR, MethodSpec
from bench.schema import CamNetwork, MethodSettings

if TYPE_CHECKING:
    import numpy as np
    import pandas as pd
    import torch

    from bench.methods import ImageSet
    from bench.nets.memory import MapMemory
    from bench.runtime import Context

# The official code's guard against a map without maximum, and what counts as attended (METHOD 3).
EPSILON = 1e-8
ATTENDED = 0.001


class OaaSettings(MethodSettings):
    """A CAM network, and whether a second one learns the accumulated maps."""

    network: CamNetwork
    integral: bool


SPEC = MethodSpec(
    id="oaa_cam",
    label="OAA-CAM [15]",
    paper={"tumor_iou": 30.4, "background_iou": 85.3, "miou": 57.8},
    settings=OaaSettings,
    threshold=0.30,
    labels="image",
    licence="CC BY-NC-SA 4.0 (OAA-PyTorch); written from a digest of facts",
    note="a ResNet instead of the official VGG16, maps of un-augmented images, no integral attention model",
)


def make_net(settings: OaaSettings, weights: Path | None) -> torch.nn.ModuleDict:
    """A "classifier", an empty "memory" of maps and, where the settings ask for it, an "integral" network."""
    from torch import nn

    from bench.nets.memory import MapMemory
    from bench.nets.resnet import make_cam_resnet

    net = nn.ModuleDict({"classifier": make_cam_resnet(settings.network, weights), "memory": MapMemory()})
    if settings.integral:
        net["integral"] = make_cam_resnet(settings.network, weights)
    return net


def _placed(net: torch.nn.Module, settings: OaaSettings) -> torch.nn.Module:
    """A CAM network with its maps where `network.cells` says that they lie."""
    from bench.cells import EvenCells

    if settings.network.cells == "official":
        return net
    return EvenCells(net, settings.network.output_stride).train(net.training)


def _memory(net: torch.nn.ModuleDict) -> MapMemory:
    return cast("MapMemory", net["memory"])


def current_maps(net: torch.nn.Module, images: np.ndarray, context: Context) -> tuple[torch.Tensor, torch.Tensor]:
    """What a CAM network sees now in uint8 grey images (n, S, S), each with its mirror image (METHOD 3).

    Tumour-class maps after ReLU, each divided by its maximum, float32 (n, h, w) in [0, 1], and whether the tumour
    logit is the greater one, bool (n,).
    """
    from bench.cam import feature_maps

    maps, logits = feature_maps(net, images, context)
    return maps / (maps.amax((1, 2), keepdim=True) + EPSILON), logits[:, TUMOUR] > logits[:, 1 - TUMOUR]


def accumulate(before: torch.Tensor, current: torch.Tensor, tumour_first: torch.Tensor, last: bool) -> torch.Tensor:
    """The accumulated maps after one more epoch, float32 (n, h, w) like `before` and `current` (METHOD 3).

    Element-wise maximum where `tumour_first`, bool (n,); in the last epoch a map that is still zero everywhere is
    replaced by the current one.
    """
    gate = tumour_first[:, None, None]
    if last:
        gate = gate | (before.amax((1, 2), keepdim=True) == 0)
    return before.maximum(current).where(gate, before)


def integral_loss(scores: torch.Tensor, target: torch.Tensor) -> torch.Tensor:
    """What the integral attention model minimises; scores float (B, h, w), target float (B, h, w) in [0, 1] (METHOD 3).

    With p = sigmoid(scores): mean of -target log p over attended cells plus mean of -log(1 - p) over the others; the
    mean over no cells is 0. The official 1e-8 inside the second logarithm is not needed by log-sigmoid.
    """
    from torch.nn.functional import logsigmoid

    scores, attended = scores.float(), target > ATTENDED
    positive = (-target * logsigmoid(scores) * attended).sum() / attended.sum().clamp_min(1)
    negative = (-logsigmoid(-scores) * ~attended).sum() / (~attended).sum().clamp_min(1)
    return positive + negative


def fit(
    settings: OaaSettings, train: ImageSet, seed: int, weights: Path, context: Context
) -> tuple[torch.nn.ModuleDict, pd.DataFrame]:
    """Train the classifier while its maps accumulate, then the integral network if any; eval mode, and history."""
    from bench.runtime import seeded_initialisation
    from bench.training.batch_norm import settle
    from bench.training.classification import fit_cam_net
    from bench.training.loop import joined

    with seeded_initialisation("oaa_cam", "weights", seed):
        net = make_net(settings, weights)
    context.place(net)
    classifier, memory = net["classifier"], _memory(net)
    tumours = train.labels == TUMOUR
    images = train.images[tumours]
    ids = [image_id for image_id, tumour in zip(train.ids, tumours, strict=True) if tumour]

    def after_epoch(epoch: int) -> None:
        last = epoch == settings.optimisation.epochs - 1
        if epoch == 0 and not last:
            return
        if settings.settle_batch_norm:
            # What is remembered of an epoch must not come from statistics that lag behind its weights.
            settle(classifier, train.images, classifier, settings.optimisation.batch_size, seed, context)
        classifier.eval()
        current, tumour_first = current_maps(_placed(classifier, settings), images, context)
        before = memory.recall(ids, current.new_zeros(current.shape))
        memory.remember(ids, accumulate(before, current, tumour_first, last))
        classifier.train()

    history = fit_cam_net(
        "OAA-CAM", classifier, train, settings, seed, context, after_epoch, changes={"memory": memory}
    )
    if settings.integral:
        history = joined(history, _fit_integral(net["integral"], images, memory.maps, settings, seed, context))
    return net.eval(), history


def _fit_integral(
    net: torch.nn.Module, images: np.ndarray, maps: torch.Tensor, settings: OaaSettings, seed: int, context: Context
) -> pd.DataFrame:
    """Train the tumour-class map of a CAM network towards accumulated maps (n, h, w) of uint8 grey images (n, S, S)."""
    import torch

    from bench.runtime import generator
    from bench.training.augment import normalise, random_affine, to_float, warp
    from bench.training.batch_norm import settle
    from bench.training.checkpoint import Checkpoint
    from bench.training.loop import EndlessBatches, optimise

    placed = _placed(net, settings).train()
    grey, batch_size = torch.from_numpy(images).to(context.device), settings.optimisation.batch_size
    order = EndlessBatches(len(grey), batch_size, generator(context.device, "integral", seed))
    affine = generator(context.device, "integral augmentation", seed)

    def losses(update: int) -> dict[str, torch.Tensor]:
        picked = next(order)
        matrices = random_affine(batch_size, settings.augmentation, affine)
        batch = normalise(warp(to_float(grey[picked]), matrices, "bilinear"))
        target = warp(maps[picked].unsqueeze(1), matrices, "bilinear")[:, 0]
        with context.autocast():
            scores = placed(batch)[1][:, TUMOUR]
        loss = integral_loss(scores, target)
        return {"total": loss, "integral": loss}

    per_epoch = -(-len(grey) // batch_size)
    what = "OAA-CAM, integral"
    checkpoint = Checkpoint(what, context, {"net": net, "order": order, "augmentation": affine})
    history = optimise(what, net.parameters(), losses, settings.optimisation, per_epoch, checkpoint=checkpoint)
    if settings.settle_batch_norm:
        settle(net, images, net, batch_size, seed, context)
    return history


def logits(net: torch.nn.ModuleDict, images: np.ndarray, context: Context) -> np.ndarray:
    """The classifier's logits averaged over image and mirror image, float32 (n, 2)."""
    from bench.cam import mirrored_logits

    return mirrored_logits(lambda batch: net["classifier"](batch)[0], images, context)


def cams(settings: OaaSettings, net: torch.nn.ModuleDict, images: ImageSet, context: Context) -> np.ndarray:
    """Accumulated tumour-class maps, or the integral network's, float32 (n, S, S), each from 0 to 1.

    An image that was not accumulated in training, by its id, gets the classifier's map as it is now.
    """
    if settings.integral:
        maps, _ = current_maps(_placed(net["integral"], settings), images.images, context)
    else:
        maps, _ = current_maps(_placed(net["classifier"], settings), images.images, context)
        maps = _memory(net).recall(images.ids, maps)
    return _enlarged(maps, images.images.shape[-1])


def _enlarged(maps: torch.Tensor, size: int) -> np.ndarray:
    """Maps (n, h, w) upsampled to (n, size, size) and stretched to [0, 1]; a constant map becomes zeros."""
    from torch.nn import functional

    large = functional.interpolate(maps.unsqueeze(1), size=size, mode="bicubic", align_corners=False)[:, 0]
    low, high = large.amin((1, 2), keepdim=True), large.amax((1, 2), keepdim=True)
    # Below this the map is constant but for the rounding of the interpolation.
    flat = high - low < 1e-5
    stretched: np.ndarray = ((large - low) / (high - low)).masked_fill(flat, 0).clamp(0, 1).cpu().numpy()
    return stretched
