"""Swin MIL: pixels as instances of a bag, on a Swin transformer with side outputs (Qian et al., MICCAI 2022).

Paper: row "Swin MIL [12]" of Table III (25.4 and 89.3 do not average to the printed mIoU of 57.6).
Unclear: learning rate, whether the method's own output or a U-Net on top of it is scored, normalisation (METHOD 4).
Chosen: both are scored: the fusion map at 0.5 as it is, and the fusion map (mean of image and mirror image) as CAM.
`cam: probability` keeps its values, which mean the same in every image; `relative` divides by the image's maximum.
ImageNet weights and normalisation (the official H&E constants fit no ultrasound). Deviations: Adam with the official
code's learning rate 0.00001, heads a hundredth of it, weight decay 0.0005, since the paper's 0.001 in all likelihood
diverges on a Swin transformer; augmentation is the paper's, rotation included. Without pretrained weights that rate
learns nothing: those profiles use one rate of 0.0003 to 0.001 for all layers, small ones also more epochs.
Cost: three stages of a Swin-T; less than a ResNet50.
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

from pydantic import Field

from bench.methods import MethodSpec
from bench.schema import MethodSettings, Positive, SwinNetwork

if TYPE_CHECKING:
    import numpy as np
    import pandas as pd
    import torch

    from bench.methods import ImageSet
    from bench.nets.swin import SwinMil
    from bench.runtime import Context

# Bag scores are kept this far below 1, so that their logarithms and log-odds are finite.
LIMIT = 1e-6
# The fusion's place among the maps of the network.
FUSION = 3


class SwinMilSettings(MethodSettings):
    """Network, exponent of the bag score, learning rate of the side heads relative to the rest, values of the CAM."""

    network: SwinNetwork
    gm_power: Annotated[float, Field(ge=1.0)]
    head_learning_rate_ratio: Positive
    cam: Literal["probability", "relative"]


SPEC = MethodSpec(
    id="swin_mil",
    label="Swin MIL [12]",
    paper={"tumor_iou": 25.4, "background_iou": 89.3, "miou": 57.6},
    settings=SwinMilSettings,
    threshold=0.5,
    labels="image",
    licence="none stated: written from the paper and a digest of facts",
    note="official learning rate only where it starts from ImageNet weights; scored directly and through a U-Net",
)


def make_net(settings: SwinMilSettings, weights: Path | None) -> SwinMil:
    """A network that gives the probabilities of three sides and of their fusion."""
    from bench.nets.swin import make_swin_mil

    return make_swin_mil(settings.network, settings.gm_power, weights)


def bag_losses(scores: torch.Tensor, labels: torch.Tensor) -> dict[str, torch.Tensor]:
    """Binary cross entropy of the bag scores, float32 (B, 4) in (0, 1], to int64 (B,); the total is the sum."""
    target = labels[:, None].to(scores.dtype)
    scores = scores.clamp(max=1 - LIMIT)
    terms = -(target * scores.log() + (1 - target) * (1 - scores).log()).mean(0)
    names = ("side1", "side2", "side3", "fusion")
    return {"total": terms.sum(), **dict(zip(names, terms.unbind(), strict=True))}


def fit(
    settings: SwinMilSettings, train: ImageSet, seed: int, weights: Path, context: Context
) -> tuple[SwinMil, pd.DataFrame]:
    """Train on images and image-level labels; network in eval mode and loss history."""
    from bench.runtime import seeded_draws, seeded_initialisation
    from bench.training.classification import train_classifier

    with seeded_initialisation("swin_mil", "weights", seed):
        net = make_net(settings, weights)
    context.place(net).train()

    def losses_of(images: torch.Tensor, labels: torch.Tensor) -> dict[str, torch.Tensor]:
        return bag_losses(net.bags(net(images)), labels)

    head_rate = settings.optimisation.learning_rate * settings.head_learning_rate_ratio
    groups: list[dict[str, Any]] = [
        {"params": [*net.features.parameters(), *net.norms.parameters()]},
        {"params": list(net.heads.parameters()), "lr": head_rate},
    ]
    # Stochastic depth draws from the global generator.
    with seeded_draws(context.device, "swin_mil", "stochastic depth", seed):
        history = train_classifier("Swin MIL", net, train, losses_of, settings, seed, context, groups)
    return net.eval(), history


def logits(net: SwinMil, images: np.ndarray, context: Context) -> np.ndarray:
    """0 for normal and the log-odds of the fusion's bag score for tumour, mean of both mirrorings, float32 (n, 2)."""
    import torch

    from bench.cam import mirrored_logits

    def logits_of(batch: torch.Tensor) -> torch.Tensor:
        tumour = net.bags(net(batch)).clamp(max=1 - LIMIT)[:, FUSION].logit()
        return torch.stack([torch.zeros_like(tumour), tumour], 1)

    return mirrored_logits(logits_of, images, context)


def segment(settings: SwinMilSettings, net: SwinMil, images: np.ndarray, context: Context) -> np.ndarray:
    """The fusion map of each image as it is, float32 (n, S, S): the official output, cut at 0.5."""
    from bench.cam import probabilities

    return probabilities(lambda batch: net(batch)[:, FUSION], images, context)


def cams(settings: SwinMilSettings, net: SwinMil, images: ImageSet, context: Context) -> np.ndarray:
    """The fusion map averaged over image and mirror image, float32 (n, S, S)."""
    from bench.cam import EPSILON, mirror_sum, probabilities, with_mirror

    def averaged(batch: torch.Tensor) -> torch.Tensor:
        return mirror_sum(net(with_mirror(batch))[:, [FUSION]])[:, 0] / 2

    maps = probabilities(averaged, images.images, context)
    if settings.cam == "relative":
        maps /= maps.max((1, 2), keepdims=True) + EPSILON
    return maps
