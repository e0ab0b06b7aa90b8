"""CAM of a VGG16 (Zhou et al., CVPR 2016), with the convolutional head of OAA's network.

Paper: row "VGG16-CAM [14]" of Table III: a tumour/normal classifier's CAM, DenseCRF, a U-Net.
Unclear: which VGG16 (strides, head), initialisation, training recipe, CAM scales, threshold (METHOD 3, 5.2, 5.3).
Chosen: OAA's VGG16 of stride 8 (`layout: plain` is Zhou's literal one of stride 32), ImageNet weights, CAM without
square root, scales and mirror images as for ResNet50-CAM, threshold 0.20 (a fifth of the map's maximum, as Zhou et al.;
PSA cuts the square root there). Deviation: the learning rate is 0.0001, because the paper's 0.001 with Adam kills a
VGG16 without BatchNorm; with BatchNorm, which only networks without pretrained weights have, it is the paper's (in the
narrow one of `phantom` twice that).
Cost: one VGG16 at stride 8; the most arithmetic of the plain CAM classifiers.
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

from pydantic import Field

from bench.methods import MethodSpec
from bench.schema import MethodSettings, Positive, VggNetwork

if TYPE_CHECKING:
    import numpy as np
    import pandas as pd
    import torch

    from bench.methods import ImageSet
    from bench.runtime import Context


class VggCamSettings(MethodSettings):
    """A VGG16 and the scales of its CAM extraction."""

    network: VggNetwork
    scales: Annotated[list[Positive], Field(min_length=1)]


SPEC = MethodSpec(
    id="vgg16_cam",
    label="VGG16-CAM [14]",
    paper={"tumor_iou": 24.1, "background_iou": 89.1, "miou": 56.6},
    settings=VggCamSettings,
    threshold=0.20,
    labels="image",
    licence="MIT (PSA); network as in OAA",
    note="OAA's VGG16 of stride 8; learning rate 0.0001 where it starts from ImageNet weights",
)


def make_net(settings: VggCamSettings, weights: Path | None) -> torch.nn.Module:
    """A VGG16 that gives logits and class maps."""
    from bench.nets.vgg import make_cam_vgg

    return make_cam_vgg(settings.network, weights)


def fit(
    settings: VggCamSettings, train: ImageSet, seed: int, weights: Path, context: Context
) -> tuple[torch.nn.Module, pd.DataFrame]:
    """Train the classifier; the network in eval mode and its loss history."""
    from bench.runtime import seeded_initialisation
    from bench.training.classification import fit_cam_net

    with seeded_initialisation("vgg16_cam", "weights", seed):
        net = make_net(settings, weights)
    return net, fit_cam_net("VGG16-CAM", net, train, settings, seed, context)


def logits(net: torch.nn.Module, images: np.ndarray, context: Context) -> np.ndarray:
    """Logits averaged over image and mirror image, float32 (n, 2)."""
    from bench.cam import mirrored_logits

    return mirrored_logits(lambda batch: net(batch)[0], images, context)


def cams(settings: VggCamSettings, net: torch.nn.Module, images: ImageSet, context: Context) -> np.ndarray:
    """Multi-scale CAMs of the tumour class, float32 (n, S, S)."""
    from bench.cam import plain_cams

    return plain_cams(net, images.images, settings.scales, context)
