"""VGG16-CAM: what its CAMs and logits are, and that the literal layout trains too."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from baselines.vgg16_cam import VggCamSettings, cams, fit, logits
from bench.methods import ImageSet
from bench.runtime import context
from bench.settings import load, profiles

PARAMS = Path(__file__).resolve().parents[1] / "params.yaml"
BLOCK = load("phantom", PARAMS).cams["vgg16_cam"]
WHERE = context("cpu", 2, "fp32")


def settings(**changes: Any) -> VggCamSettings:
    optimisation = {**BLOCK["optimisation"], "epochs": 1, "batch_size": 4, "precision": "fp32"}
    return VggCamSettings.model_validate({**BLOCK, "optimisation": optimisation, **changes})


def images() -> ImageSet:
    rng = np.random.default_rng(0)
    return ImageSet("abcd", rng.integers(0, 256, (4, 32, 32), dtype=np.uint8), np.array([0, 1, 0, 1]))


class Brightness(torch.nn.Module):
    """Class maps that are the image's channels: normal the first, tumour the negated second."""

    def forward(self, batch: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        maps = torch.cat([batch[:, :1], -batch[:, 1:2]], 1)
        return maps.mean((2, 3)), maps


def test_cams_are_the_positive_tumour_map_without_a_root():
    given = images()
    expected = np.maximum(-(given.images / 255 - 0.456) / 0.224, 0)
    expected /= expected.max((1, 2), keepdims=True)
    assert np.allclose(cams(settings(scales=[1.0]), Brightness(), given, WHERE), expected, atol=1e-4)


def test_logits_are_those_of_image_and_mirror_image():
    given = images()
    expected = -(given.images / 255 - 0.456).mean((1, 2)) / 0.224
    assert np.allclose(logits(Brightness(), given.images, WHERE)[:, 1], expected, atol=1e-4)


def test_the_literal_layout_trains_too():
    given = settings(network={**BLOCK["network"], "layout": "plain"}, scales=[1.0])
    net, history = fit(given, images(), 0, Path("unused"), WHERE)
    assert np.isfinite(history["total"]).all()
    assert cams(given, net, images(), WHERE).shape == (4, 32, 32)


@pytest.mark.parametrize("profile", profiles(PARAMS))
def test_only_a_network_without_batch_norm_learns_slower_than_the_paper_says(profile):
    block = load(profile, PARAMS).cams["vgg16_cam"]
    rate, papers = block["optimisation"]["learning_rate"], 0.001
    assert rate >= papers if block["network"]["batch_norm"] else rate == 0.0001
