"""AMR: a spotlight branch and a compensation branch with attention modulation (Qin et al., AAAI 2022).

Paper: row "AMR [16]" of Table III, and the source of the CAMs of the proposed method (section II-A): two ResNet50
branches, "two classification losses and an additional loss related to the CAMs", Adam 1e-3, 60 epochs, batch 32.
Unclear: joint or two-stage training, which images the CAM loss pairs, the modulation's statistics at inference, whether
CAMs are climbed, CAM scales, initialisation (METHOD 1.2-1.5).
Chosen: both branches trained together (`training: joint`; the official code trains the spotlight branch first and
freezes all but its classifier, `two_stage`); the CAM loss compares the branches on every image (`cps_pairing: all`;
the official code adds the first image's map to the mirrored map of the second, `official`); the modulation's statistics
are the official ones, of the batch in training and of image and mirror image at inference (`amm_statistics: group`;
`running` takes moving averages at inference, as BatchNorm does, so that an image needs no partner); two outputs; plain
CAMs on four scales with mirror images (`adv_iter: 0`; the official code climbs 27 times); 0.5/0.5 fusion.
Cost: two ResNets; about twice a plain CAM classifier. Climbing: `adv_iter` forward and backward passes a map.
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal, cast

from pydantic import Field

from bench.methods import TUMOUR, MethodSpec
from bench.schema import CamNetwork, Count, Fraction, MethodSettings, NonNegative, Positive

if TYPE_CHECKING:
    import numpy as np
    import pandas as pd
    import torch

    from bench.methods import ImageSet
    from bench.nets.resnet import CamResNet
    from bench.runtime import Context

# What the second of two stages does not train (METHOD 1.3); a live BatchNorm of the compensation branch still counts.
FROZEN = ("spotlight.stem", "spotlight.stages", "compensation.stem", "compensation.stages.0")
# Anti-adversarial climbing (METHOD 1.4): step, weight of the map's change, share of the maximum where it counts.
STEP = 0.08
RESTRAINT = 7.0
DISCRIMINATIVE = 0.5
TINY = 1e-12
# Pairs that climb together: all their activations are kept for the gradient.
PAIRS_AT_ONCE = 8


class AmrSettings(MethodSettings):
    """Settings of AMR; loss weights are spotlight, compensation, CAM.

    spotlight_epochs: length of the first of two stages; optimisation.epochs is the second's, or that of joint training.
    adv_iter: iterations of climbing, 0 for plain CAMs (METHOD 1.4).
    """

    network: CamNetwork
    training: Literal["joint", "two_stage"]
    spotlight_epochs: Count
    loss_weights: Annotated[list[NonNegative], Field(min_length=3, max_length=3)]
    amm_statistics: Literal["group", "running"]
    cps_pairing: Literal["all", "official"]
    scales: Annotated[list[Positive], Field(min_length=1)]
    adv_iter: Annotated[int, Field(ge=0)]
    spotlight_share: Fraction


SPEC = MethodSpec(
    id="amr",
    label="AMR [16]",
    paper={"tumor_iou": 35.8, "background_iou": 87.5, "miou": 61.7},
    settings=AmrSettings,
    threshold=0.20,
    labels="image",
    licence="Apache-2.0",
    note="joint training and plain CAMs; the official code trains the spotlight branch first, freezes it, and climbs",
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
    """Train on images and image-level labels, in one stage or two (METHOD 1.3); network in eval mode, loss history."""
    from bench.runtime import seeded_initialisation
    from bench.seeding import seed_for
    from bench.training.classification import fit_cam_net
    from bench.training.loop import joined

    with seeded_initialisation("amr", "weights", seed):
        net = make_net(settings, weights)
    context.place(net).train()

    if settings.training == "joint":
        history = _fit_branches(settings, net, train, seed, context)
        return net.eval(), history

    optimisation = settings.optimisation.model_copy(update={"epochs": settings.spotlight_epochs})
    alone = settings.model_copy(update={"optimisation": optimisation})
    # This leaves the spotlight in eval mode: the statistics of a frozen backbone must not drift away from its weights.
    first = fit_cam_net("AMR, spotlight", net["spotlight"], train, alone, seed, context)
    for part in FROZEN:
        net.get_submodule(part).requires_grad_(False)
    # A seed of its own, or the second stage would repeat the first one's batches and augmentation.
    second = _fit_branches(settings, net, train, seed_for("amr", "second stage", seed), context)
    return net.eval(), joined(first, second)


def _fit_branches(
    settings: AmrSettings, net: torch.nn.ModuleDict, train: ImageSet, seed: int, context: Context
) -> pd.DataFrame:
    """Train both branches by the three losses, in the modes that they are in; the loss history."""
    import torch

    from bench.training.classification import multilabel_loss, train_classifier

    def losses_of(images: torch.Tensor, labels: torch.Tensor) -> dict[str, torch.Tensor]:
        spot_logits, spot_maps = net["spotlight"](images)
        comp_logits, comp_maps = net["compensation"](images)
        if settings.training == "two_stage":
            # The spotlight's classifier, all of it that still learns, learns from the CAM loss alone.
            spot_logits = spot_logits.detach()
        named = {
            "spotlight": multilabel_loss(spot_logits, labels),
            "compensation": multilabel_loss(comp_logits, labels),
            "cam": cam_loss(spot_maps.float(), comp_maps.float(), settings.cps_pairing),
        }
        weighted = zip(settings.loss_weights, named.values(), strict=True)
        return {"total": torch.stack([weight * loss for weight, loss in weighted]).sum(), **named}

    return train_classifier("AMR", net, train, losses_of, settings, seed, context)


def logits(net: torch.nn.ModuleDict, images: np.ndarray, context: Context) -> np.ndarray:
    """Mean of both branches' logits, float32 (n, 2)."""
    from bench.cam import mirrored_logits

    return mirrored_logits(
        lambda batch: (net["spotlight"](batch)[0] + net["compensation"](batch)[0]) / 2, images, context
    )


def grad_cams(features: torch.Tensor, maps: torch.Tensor) -> torch.Tensor:
    """Grad-CAM of the tumour class, with gradient: float32 (2b, h, w), >= 0 (METHOD 1.4).

    features: the last stage's, float32 (2b, D, h, w), pairs of image and mirror image. maps: class maps (2b, 2, h, w)
    computed from them. Channel weights are an image's; the count that divides them is its pair's.
    """
    import torch

    score = maps[:, TUMOUR].relu().sum()
    # The classifier is linear, so these slopes are piecewise constant: a second derivative through them would be zero.
    (slopes,) = torch.autograd.grad(score, features, retain_graph=True)
    positive = (slopes > 0).sum((1, 2, 3)).view(-1, 2).sum(1).repeat_interleave(2)
    weights = slopes.sum((2, 3)) / (positive[:, None] + TINY)
    cams: torch.Tensor = (weights[:, :, None, None] * features).sum(1).relu()
    return cams


def climbed_cams(branch: CamResNet, images: torch.Tensor, iterations: int) -> torch.Tensor:
    """Grad-CAMs summed over `iterations` of anti-adversarial climbing, float32 (2b, h, w), >= 0 (METHOD 1.4).

    images: normalised RGB (2b, 3, s, s), pairs of image and mirror image. The branch is in eval mode. A pair does not
    depend on the others, and the parameters' gradients stay as they are.
    """
    import torch

    # Float32, because steps that are normalised by their maximum amplify what bfloat16 rounds.
    with torch.enable_grad(), torch.autocast(images.device.type, enabled=False):
        return torch.cat([_climb(branch, part, iterations) for part in torch.split(images, 2 * PAIRS_AT_ONCE)])


def _climb(branch: CamResNet, images: torch.Tensor, iterations: int) -> torch.Tensor:
    """`climbed_cams` of so few pairs that they fit the memory."""
    import torch

    from bench.cam import mirror_sum

    pairs = images.view(-1, 2, *images.shape[1:])
    whole = (1, 2, 3, 4)
    low, high = pairs.amin(whole, keepdim=True), pairs.amax(whole, keepdim=True)
    found: list[torch.Tensor] = []
    for _ in range(iterations):
        pairs = pairs.detach().requires_grad_()
        features = branch.features(pairs.flatten(0, 1))
        maps = branch.classifier(features)
        cams = grad_cams(features, maps)
        found.append(cams.detach())
        change = (mirror_sum(cams) - mirror_sum(found[0])).abs()
        now = mirror_sum(found[-1])
        counted = now > DISCRIMINATIVE * now.amax((1, 2), keepdim=True)
        scores = maps.relu().mean((2, 3))
        climbed = 2 * scores[:, TUMOUR].sum() - scores.sum() - RESTRAINT * (change * counted).sum()
        (slopes,) = torch.autograd.grad(climbed, pairs)
        step = STEP * slopes / (slopes.abs().amax(whole, keepdim=True) + TINY)
        pairs = (pairs + step).clamp(low, high)
    return torch.stack(found).sum(0)


def cams(settings: AmrSettings, net: torch.nn.ModuleDict, images: ImageSet, context: Context) -> np.ndarray:
    """Fused tumour-class CAMs, float32 (n, S, S) with maximum 1; each branch is normalised before the fusion."""
    import torch

    from bench.cam import EPSILON
    from bench.cells import resnet_cams

    size = images.images.shape[-1]

    def branch_maps(branch: torch.nn.Module, batch: torch.Tensor) -> torch.Tensor:
        if not settings.adv_iter:
            maps: torch.Tensor = branch(batch)[1][:, TUMOUR].relu()
            return maps
        climber = cast("CamResNet", branch)
        if 2 * batch.shape[-1] == size:
            # Half the iterations at half the size, at least one, counted twice (METHOD 1.4).
            return 2 * climbed_cams(climber, batch, max(settings.adv_iter // 2, 1))
        return climbed_cams(climber, batch, settings.adv_iter)

    def maps_of(batch: torch.Tensor) -> torch.Tensor:
        return torch.stack([branch_maps(net[name], batch) for name in ("spotlight", "compensation")], 1)

    maps = resnet_cams(maps_of, images.images, settings.scales, settings.network, context)
    fused: np.ndarray = settings.spotlight_share * maps[:, 0] + (1 - settings.spotlight_share) * maps[:, 1]
    fused /= fused.max((1, 2), keepdims=True) + EPSILON
    return fused
