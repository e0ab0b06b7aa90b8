"""CAM of a ResNet50 (Zhou et al., CVPR 2016), with the strides and the multi-scale extraction of IRN.

Paper: row "ResNet50-CAM [14]" of Table III, the second best: a tumour/normal classifier's CAM, DenseCRF, a U-Net.
Unclear: initialisation, strides, training recipe, CAM scales, threshold (METHOD 5.1, 5.3).
Chosen: ImageNet weights, output stride 16, all stages trained behind a frozen stem (IRN detaches after layer2; AMR and
ReCAM do not), the recipe that the paper gives for AMR, scales 1, 0.5, 1.5 and 2 with
mirror images, threshold 0.15 (IRN's evaluation). Where maps are put when they are enlarged: `network.cells`.
Cost: one ResNet50.
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

from pydantic import Field

from bench.methods import TUMOUR, MethodSpec
from bench.schema import CamNetwork, MethodSettings, Positive

if TYPE_CHECKING:
    import numpy as np
    import pandas as pd
    import torch

    from bench.methods import ImageSet
    from bench.runtime import Context


class ResNetCamSettings(MethodSettings):
    """A CAM network and the scales of its extraction."""

    network: CamNetwork
    scales: Annotated[list[Positive], Field(min_length=1)]


SPEC = MethodSpec(
    id="resnet50_cam",
    label="ResNet50-CAM [14]",
    paper={"tumor_iou": 37.2, "background_iou": 91.4, "miou": 64.3},
    settings=ResNetCamSettings,
    threshold=0.15,
    labels="image",
    licence="MIT (IRN)",
    note="the paper's recipe for AMR; strides, scales and threshold are IRN's, its detached stages are not",
)


def make_net(settings: ResNetCamSettings, weights: Path | None) -> torch.nn.Module:
    """A ResNet that gives logits and class maps."""
    from bench.nets.resnet import make_cam_resnet

    return make_cam_resnet(settings.network, weights)


def fit(
    settings: ResNetCamSettings, train: ImageSet, seed: int, weights: Path, context: Context
) -> tuple[torch.nn.Module, pd.DataFrame]:
    """Train the classifier; the network in eval mode and its loss history."""
    from bench.runtime import seeded_initialisation
    from bench.training.classification import fit_cam_net

    with seeded_initialisation("resnet50_cam", "weights", seed):
        net = make_net(settings, weights)
    return net, fit_cam_net("ResNet50-CAM", net, train, settings, seed, context)


def logits(net: torch.nn.Module, images: np.ndarray, context: Context) -> np.ndarray:
    """Logits averaged over image and mirror image, float32 (n, 2)."""
    from bench.cam import mirrored_logits

    return mirrored_logits(lambda batch: net(batch)[0], images, context)


def cams(settings: ResNetCamSettings, net: torch.nn.Module, images: ImageSet, context: Context) -> np.ndarray:
    """Multi-scale CAMs of the tumour class, float32 (n, S, S)."""
    from bench.cells import resnet_cams

    def maps_of(batch: torch.Tensor) -> torch.Tensor:
        maps: torch.Tensor = net(batch)[1]
        return maps[:, TUMOUR : TUMOUR + 1].relu()

    return resnet_cams(maps_of, images.images, settings.scales, settings.network, context)[:, 0]
