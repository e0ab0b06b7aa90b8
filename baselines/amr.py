"""AMR: a spotlight branch and a compensation branch with attention modulation (Qin et al., AAAI 2022).

Paper: row "AMR [16]" of Table III, and the source of the CAMs of the proposed method (section II-A): two ResNet50
branches, "two classification losses and an additional loss related to the CAMs", Adam 1e-3, 60 epochs, batch 32.
Unclear: joint or two-stage training, which images the CAM loss pairs, CAM scales, initialisation (METHOD 1.3-1.5).
Chosen: both branches trained together; the CAM loss compares the branches on every image (`cps_pairing: all`; the
official code adds the first image's map to the mirrored map of the second, `official`); two outputs; plain CAMs on
four scales with mirror images; 0.5/0.5 fusion.
Cost: two ResNets; about twice a plain CAM classifier.
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

from pydantic import Field

from bench.methods import TUMOUR, MethodSpec
from bench.schema import CamNetwork, Fraction, MethodSettings, NonNegative, Positive

if TYPE_CHECKING:
    import numpy as np
    import pandas as pd
    import torch

    from bench.methods import ImageSet
    from bench.runtime import Context


class AmrSettings(MethodSettings):
    """Settings of AMR; loss weights are spotlight, compensation, CAM."""

    network: CamNetwork
    loss_weights: Annotated[list[NonNegative], Field(min_length=3, max_length=3)]
    amm_statistics: Literal["group", "running"]
    cps_pairing: Literal["all", "official"]
    scales: Annotated[list[Positive], Field(min_length=1)]
    spotlight_share: Fraction


SPEC = MethodSpec(
    id="amr",
    label="AMR [16]",
    paper={"tumor_iou": 35.8, "background_iou": 87.5, "miou": 61.7},
    settings=AmrSettings,
    threshold=0.20,
    labels="image",
    licence="Apache-2.0",
    note="joint training of both branches; the official code trains the spotlight branch first and freezes it",
)


def make_net(settings: AmrSettings, weights: Path | None) -> torch.nn.ModuleDict:
    """Both branches: "spotlight" and "compensation", each giving logits and class maps."""
    from torch import nn

    from bench.nets.modulation import insert
    from bench.nets.resnet import make_cam_resnet

    branches = {name: make_cam_resnet(settings.network, weights) for name in ("spotlight", "compensation")}
    insert(branches["compensation"].blocks(), settings.amm_statistics)
    return nn.ModuleDict(branches)


def cam_loss(spotlight: torch.Tensor, compensation: torch.Tensor, pairing: str) -> torch.Tensor:
    """Mean absolute difference of the branches' class maps after ReLU, (B, 2, h, w) each (METHOD 1.3).

    pairing "all": image by image. "official": the map of the batch's first image plus the mirrored map of its
    second, whatever they show; the rest of the batch is ignored.
    """
    spotlight, compensation = spotlight.relu(), compensation.relu()
    if pairing == "official":
        spotlight = spotlight[0] + spotlight[1].flip(-1)
        compensation = compensation[0] + compensation[1].flip(-1)
    return (spotlight - compensation).abs().mean()


def fit(
    settings: AmrSettings, train: ImageSet, seed: int, weights: Path, context: Context
) -> tuple[torch.nn.ModuleDict, pd.DataFrame]:
    """Train both branches together on images and image-level labels; network in eval mode and loss history."""
    import torch

    from bench.runtime import seeded_initialisation
    from bench.training.classification import multilabel_loss, train_classifier

    with seeded_initialisation("amr", "weights", seed):
        net = make_net(settings, weights)
    context.place(net).train()

    def losses_of(images: torch.Tensor, labels: torch.Tensor) -> dict[str, torch.Tensor]:
        spot_logits, spot_maps = net["spotlight"](images)
        comp_logits, comp_maps = net["compensation"](images)
        named = {
            "spotlight": multilabel_loss(spot_logits, labels),
            "compensation": multilabel_loss(comp_logits, labels),
            "cam": cam_loss(spot_maps.float(), comp_maps.float(), settings.cps_pairing),
        }
        weighted = zip(settings.loss_weights, named.values(), strict=True)
        return {"total": torch.stack([weight * loss for weight, loss in weighted]).sum(), **named}

    history = train_classifier("AMR", net.parameters(), train, losses_of, settings, seed, context)
    return net.eval(), history


def logits(net: torch.nn.ModuleDict, images: np.ndarray, context: Context) -> np.ndarray:
    """Mean of both branches' logits, float32 (n, 2)."""
    from bench.cam import mirrored_logits

    return mirrored_logits(
        lambda batch: (net["spotlight"](batch)[0] + net["compensation"](batch)[0]) / 2, images, context
    )


def cams(settings: AmrSettings, net: torch.nn.ModuleDict, images: ImageSet, context: Context) -> np.ndarray:
    """Fused tumour-class CAMs, float32 (n, S, S) with maximum 1; each branch is normalised before the fusion."""
    import torch

    from bench.cam import EPSILON, multi_scale_cams

    def maps_of(batch: torch.Tensor) -> torch.Tensor:
        branches = [net[name](batch)[1][:, TUMOUR].relu() for name in ("spotlight", "compensation")]
        return torch.stack(branches, 1)

    maps = multi_scale_cams(maps_of, images.images, settings.scales, context)
    fused: np.ndarray = settings.spotlight_share * maps[:, 0] + (1 - settings.spotlight_share) * maps[:, 1]
    fused /= fused.max((1, 2), keepdims=True) + EPSILON
    return fused
