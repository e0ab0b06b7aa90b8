"""ReCAM: CAMs reweighted by a softmax classifier of class features (Chen et al., CVPR 2022).

Paper: row "ReCAM [25]" of Table III: its CAMs, DenseCRF, a U-Net.
Unclear: initialisation, strides, recipe and length of both steps, scales, threshold (METHOD 2).
Chosen: the ResNet50 of the other rows; the paper's 60 epochs parted 33 + 27, as the official 5 + 4. The first step
takes the recipe that the paper gives for AMR. The second goes on from it with the network at a tenth of that learning
rate and the class predictor at the full one: the official SGD rates (5e-5 and 5e-4 after 0.1) do not carry over to
Adam, their proportion does. Everything trainable stays so; weight 1 of the softmax loss; scales 1, 0.5, 1.5 and 2 with
mirror images; threshold 0.21 (the official evaluation).
Cost: one ResNet50, as a plain CAM classifier.
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, cast

from pydantic import Field

from bench.methods import TUMOUR, MethodSpec
from bench.schema import CamNetwork, Count, MethodSettings, NonNegative, Positive, Strict

if TYPE_CHECKING:
    import numpy as np
    import pandas as pd
    import torch

    from bench.methods import ImageSet
    from bench.nets.resnet import CamResNet
    from bench.runtime import Context

# The official code's guard against a map without maximum (METHOD 2).
EPSILON = 1e-5


class SecondStep(Strict):
    """Length and learning rates of the second step; the rest is the first step's."""

    epochs: Count
    learning_rate: Positive
    predictor_learning_rate: Positive


class ReCamSettings(MethodSettings):
    """`optimisation` is the first step's; sce_weight is lambda in L = BCE + lambda SCE."""

    network: CamNetwork
    scales: Annotated[list[Positive], Field(min_length=1)]
    sce_weight: NonNegative
    second_step: SecondStep


SPEC = MethodSpec(
    id="recam",
    label="ReCAM [25]",
    paper={"tumor_iou": 31.7, "background_iou": 88.1, "miou": 59.9},
    settings=ReCamSettings,
    threshold=0.21,
    labels="image",
    licence="MIT",
    note="epochs parted 5 to 4 between the steps, as officially; Adam, in the second step at a tenth of the rate",
)


def make_net(settings: ReCamSettings, weights: Path | None) -> torch.nn.ModuleDict:
    """The CAM "network" and the class "predictor" of the second step."""
    from torch import nn

    from bench.nets.resnet import make_cam_resnet

    network = make_cam_resnet(settings.network, weights)
    classes, depth = network.classifier.weight.shape[:2]
    return nn.ModuleDict({"network": network, "predictor": nn.Linear(depth, classes, bias=False)})


def _parts(net: torch.nn.ModuleDict) -> tuple[CamResNet, torch.nn.Linear]:
    """Network and predictor."""
    return cast("CamResNet", net["network"]), cast("torch.nn.Linear", net["predictor"])


def softmax_loss(
    features: torch.Tensor, class_maps: torch.Tensor, predictor: torch.Tensor, present: torch.Tensor
) -> torch.Tensor:
    """Softmax cross entropy of class features (SCE), a scalar, in float32 (METHOD 2).

    features: float (B, D, h, w). class_maps: float (B, C, h, w), before ReLU. predictor: float (C, D), its weights.
    present: bool (B, C). The feature of class c is the mean over cells of map_c * features, the map after ReLU and
    divided by its maximum; it is to be recognised as c. Mean over an image's present classes, then over all B images,
    of which those without a class add 0. Raises ValueError for fewer than two classes.
    """
    import torch
    from torch.nn import functional

    images, classes = present.shape
    if classes < 2:
        raise ValueError("ReCAM needs two classes or more: the softmax over a single one is constant")
    with torch.autocast(features.device.type, enabled=False):
        maps = class_maps.float().relu()
        maps = maps / (maps.amax((2, 3), keepdim=True) + EPSILON)
        class_features = torch.einsum("bchw,bdhw->bcd", maps, features.float()) / maps.shape[2:].numel()
        scores = functional.linear(class_features, predictor.float())
        target = torch.arange(classes, device=scores.device).repeat(images)
        losses = functional.cross_entropy(scores.flatten(0, 1), target, reduction="none").view(images, classes)
    return ((losses * present).sum(1) / present.sum(1).clamp_min(1)).sum() / images


def fit(
    settings: ReCamSettings, train: ImageSet, seed: int, weights: Path, context: Context
) -> tuple[torch.nn.ModuleDict, pd.DataFrame]:
    """Train the classifier, then classifier and predictor together; eval mode, and the history of both steps."""
    from torch.nn import functional

    from bench.runtime import seeded_initialisation
    from bench.seeding import seed_for
    from bench.training.classification import fit_cam_net, multilabel_loss, train_classifier
    from bench.training.loop import joined

    with seeded_initialisation("recam", "weights", seed):
        net = make_net(settings, weights)
    context.place(net)
    network, predictor = _parts(net)
    first = fit_cam_net("ReCAM, first step", network, train, settings, seed, context)

    def losses_of(images: torch.Tensor, labels: torch.Tensor) -> dict[str, torch.Tensor]:
        features = network.features(images)
        class_maps = network.classifier(features)
        present = functional.one_hot(labels, class_maps.shape[1]).bool()
        bce = multilabel_loss(class_maps.mean((2, 3)), labels)
        sce = softmax_loss(features, class_maps, predictor.weight, present)
        return {"total": bce + settings.sce_weight * sce, "bce": bce, "sce": sce}

    step = settings.second_step
    parameters = [
        {"params": list(network.parameters()), "lr": step.learning_rate},
        {"params": list(predictor.parameters()), "lr": step.predictor_learning_rate},
    ]
    optimisation = settings.optimisation.model_copy(update={"epochs": step.epochs, "learning_rate": step.learning_rate})
    recipe = settings.model_copy(update={"optimisation": optimisation})
    # A seed of its own, or the second step would repeat the first one's batches and augmentation.
    second_seed = seed_for("recam", "second step", seed)
    net.train()
    second = train_classifier("ReCAM, second step", net, train, losses_of, recipe, second_seed, context, parameters)
    return net.eval(), joined(first, second)


def logits(net: torch.nn.ModuleDict, images: np.ndarray, context: Context) -> np.ndarray:
    """The classifier's logits averaged over image and mirror image, float32 (n, 2)."""
    from bench.cam import mirrored_logits

    return mirrored_logits(lambda batch: net["network"](batch)[0], images, context)


def cams(settings: ReCamSettings, net: torch.nn.ModuleDict, images: ImageSet, context: Context) -> np.ndarray:
    """Multi-scale reweighted CAMs of the tumour class, float32 (n, S, S) in [0, 1] (METHOD 2)."""
    from torch.nn import functional

    from bench.cells import resnet_cams

    network, predictor = _parts(net)
    weight = (network.classifier.weight[:, :, 0, 0] * predictor.weight)[TUMOUR, None, :, None, None].detach()

    def maps_of(batch: torch.Tensor) -> torch.Tensor:
        return functional.conv2d(network.features(batch), weight).relu()

    return resnet_cams(maps_of, images.images, settings.scales, settings.network, context)[:, 0]
