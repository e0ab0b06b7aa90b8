"""Where maps of a ResNet are put: at the centres of what their cells see, image and mirror image alike."""

import importlib

import numpy as np
import pytest
import torch
from torch import nn

from bench.cells import EvenCells, at_pixels, resnet_cams
from bench.methods import TUMOUR, ImageSet, methods
from bench.nets.resnet import make_cam_resnet
from bench.runtime import context, seeded_initialisation
from bench.schema import CamNetwork
from bench.settings import load
from bench.sources import ROOT

SIZE, STRIDE, CELLS = 96, 16, 6
FP32 = context("cpu", 2, "fp32")


def network(cells: str, encoder: str = "resnet8", stride: int = STRIDE) -> CamNetwork:
    return CamNetwork.model_validate(
        {
            "encoder": encoder,
            "width": 0.25,
            "initialisation": "none",
            "output_stride": stride,
            "fixed_batch_norm": False,
            "frozen_stem": False,
            "cells": cells,
        }
    )


def places(scale: float = 1.0, cells: int = CELLS) -> torch.Tensor:
    """Maps (2, 1, h, w) that say in which row, and in which column, of the original image a cell is centred."""
    along = (STRIDE * torch.arange(cells) + 0.5) / scale - 0.5
    rows = along[:, None].expand(cells, cells)
    return torch.stack([rows, rows.T])[:, None]


@pytest.mark.parametrize("scale", [1.0, 0.5, 2.0])
def test_a_cell_lies_where_its_receptive_field_is_centred(scale):
    cells = int(CELLS * scale)
    found = at_pixels(places(scale, cells), int(SIZE * scale), STRIDE, SIZE)
    assert found.shape == (2, 1, SIZE, SIZE)
    first, last = places(scale, cells).aminmax()
    expected = torch.arange(SIZE).clamp(first, last)
    assert torch.allclose(found[0, 0], expected[:, None].expand(SIZE, SIZE), atol=1e-3)
    assert torch.allclose(found[1, 0], expected.expand(SIZE, SIZE), atol=1e-3)


def test_a_single_cell_fills_the_image():
    assert at_pixels(torch.full((1, 1, 1, 1), 3.0), 16, STRIDE, 16).eq(3).all()


class Ruler(nn.Module):
    """A network whose cells say in which row (class 0) and column (class 1) of an image they are centred."""

    def forward(self, images: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        return images.mean((2, 3)), places().flatten(0, 1).expand(len(images), -1, -1, -1)


def test_even_cells_lie_alike_in_an_image_and_in_its_mirror_image():
    (maps,) = EvenCells(Ruler(), STRIDE)(torch.zeros(1, 3, SIZE, SIZE))[1]
    # Beyond the last centre there is nothing to tell a place by.
    even = (torch.arange(CELLS - 1) + 0.5) * SIZE / CELLS - 0.5
    assert torch.allclose(maps[0, :-1, 0], even)
    assert torch.allclose(maps[1, 0, :-1], even)
    assert torch.allclose((SIZE - 1 - maps[1].flip(-1))[0, 1:], even + STRIDE)


def test_a_single_cell_is_even():
    class One(nn.Module):
        def forward(self, images: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
            return images, images[..., :1, :1]

    assert EvenCells(One(), STRIDE)(torch.ones(1, 2, 16, 16))[1].tolist() == [[[[1.0]], [[1.0]]]]


@pytest.mark.parametrize(("encoder", "stride"), [("resnet8", 16), ("resnet18", 16), ("resnet50", 16), ("resnet18", 8)])
@pytest.mark.parametrize(("cells", "below"), [("centred", 0.0), ("official", 0.5)])
def test_a_resnet_sees_a_spot_where_it_is(encoder, stride, cells, below):
    """With weights all alike nothing but the network's geometry moves a map's centre of mass."""
    size, spot = 256, (112, 144)
    settings = network(cells, encoder, stride)
    net = make_cam_resnet(settings, None).eval()
    for module in net.modules():
        if isinstance(module, nn.Conv2d):
            nn.init.constant_(module.weight, 1 / module.weight[0].numel())
    image = np.full((1, size, size), 160, np.uint8)
    image[0, spot[0], spot[1]] = 255

    def maps_of(batch: torch.Tensor) -> torch.Tensor:
        without = net(batch[..., :1, :1].expand_as(batch))[1]
        maps: torch.Tensor = (net(batch)[1] - without)[:, TUMOUR : TUMOUR + 1]
        return maps.relu()

    (cam,) = resnet_cams(maps_of, image, [1.0], settings, FP32)[:, 0].astype(np.float64)
    rows, columns = np.indices(cam.shape)
    found = np.array([(rows * cam).sum(), (columns * cam).sum()]) / cam.sum()
    assert found == pytest.approx(np.array(spot) + np.array([below * (stride - 1), 0]), abs=1.0)


def cams_of(method: str, cells: str) -> np.ndarray:
    """CAMs of an untrained network of the demo, always the same one, at scale 1: (n, S, S)."""
    block = load("phantom", ROOT / "params.yaml").cams[method]
    block = {**block, "network": {**block["network"], "cells": cells}}
    spec = methods()[method]
    settings = spec.settings.model_validate({**block, **({"scales": [1.0]} if "scales" in block else {})})
    module = importlib.import_module(f"baselines.{method}")
    with seeded_initialisation(method, "weights", 0):
        net = module.make_net(settings, None).eval()
    speckle = np.random.default_rng(0).integers(0, 256, (8, 8, 8), np.uint8).repeat(32, 1).repeat(32, 2)
    with torch.no_grad():
        for classifier in [
            module for name, module in net.named_modules() if name.endswith(("classifier", "predictor"))
        ]:
            if hasattr(classifier, "weight"):
                classifier.weight.abs_()
    return module.cams(settings, net, ImageSet([str(n) for n in range(8)], speckle, np.ones(8, int)), FP32)


@pytest.mark.parametrize("method", ["resnet50_cam", "oaa_cam", "recam", "amr"])
def test_the_cams_of_every_method_on_a_resnet_lie_where_its_cells_do(method):
    """The official maps look most like the centred ones when these are pushed half a cell down."""
    official, centred = (cams_of(method, cells) for cells in ("official", "centred"))
    rows = range(STRIDE)
    alike = [np.corrcoef(official[:, 32:-32].ravel(), centred[:, 32 - row : -32 - row].ravel())[0, 1] for row in rows]
    assert rows[int(np.argmax(alike))] in (7, 8)
