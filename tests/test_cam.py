"""Multi-scale CAMs against one image, one scale, one mirror image at a time."""

import numpy as np
import pytest
import torch
from PIL import Image
from torch.nn import functional

import bench.cam
from bench.cam import feature_maps, mirror_sum, mirrored_logits, multi_scale_cams, with_mirror
from bench.runtime import Context

SIZE = 32
SCALES = [1.0, 0.5, 1.5, 2.0]
FP32 = Context(torch.device("cpu"), bf16=False)
KERNEL = torch.randn(2, 3, 5, 5, generator=torch.Generator().manual_seed(4))


def maps_of(batch: torch.Tensor) -> torch.Tensor:
    """A linear network of two branches, stride 8, and ReLU."""
    return functional.conv2d(batch, KERNEL, stride=8, padding=2).relu()


def logits_of(batch: torch.Tensor) -> torch.Tensor:
    return functional.conv2d(batch, KERNEL).tanh().mean((2, 3))


@pytest.fixture
def images() -> np.ndarray:
    return np.random.default_rng(0).integers(0, 256, (5, SIZE, SIZE), dtype=np.uint8)


def network_input(image: np.ndarray, scale: float) -> torch.Tensor:
    side = int(SIZE * scale)
    grey = Image.fromarray((image / 255).astype(np.float32)).resize((side, side), Image.Resampling.BICUBIC)
    resized = torch.from_numpy(np.array(grey))[None, None]
    channels = [(0.485, 0.229), (0.456, 0.224), (0.406, 0.225)]
    return torch.cat([(resized - mean) / deviation for mean, deviation in channels], 1)


def cams_by_hand(image: np.ndarray) -> np.ndarray:
    total = np.zeros((2, SIZE, SIZE))
    for scale in SCALES:
        shown = network_input(image, scale)
        maps = maps_of(shown) + torch.flip(maps_of(torch.flip(shown, (3,))), (3,))
        total += functional.interpolate(maps, (SIZE, SIZE), mode="bilinear", align_corners=False)[0].numpy()
    return np.stack([branch / (branch.max() + 1e-5) for branch in total])


def test_every_image_is_followed_by_its_mirror_image():
    batch = torch.rand(3, 2, 4, 5)
    both = with_mirror(batch)
    assert both.shape == (6, 2, 4, 5)
    for row in range(3):
        assert torch.equal(both[2 * row], batch[row])
        assert torch.equal(both[2 * row + 1], batch[row].flip(2))


def test_mirror_sum_undoes_with_mirror_and_doubles():
    batch = torch.rand(3, 2, 4, 5)
    assert torch.equal(mirror_sum(with_mirror(batch)), 2 * batch)


def test_mirror_sum_adds_the_mirrored_map_of_the_mirror_image():
    maps = torch.rand(4, 1, 2, 3)
    assert torch.equal(mirror_sum(maps)[1], maps[2] + maps[3].flip(-1))


def test_cams_are_the_sum_over_scales_and_mirror_images_divided_by_the_maximum(images):
    cams = multi_scale_cams(maps_of, images, SCALES, FP32)
    assert cams.dtype == np.float32
    assert cams.shape == (5, 2, SIZE, SIZE)
    assert np.allclose(cams, np.stack([cams_by_hand(image) for image in images]), atol=1e-5)


def test_cams_lie_between_0_and_1_and_reach_1(images):
    cams = multi_scale_cams(maps_of, images, SCALES, FP32)
    assert cams.min() >= 0
    assert cams.max() <= 1
    assert np.allclose(cams.max((2, 3)), 1, atol=1e-4)


def test_a_map_that_is_zero_everywhere_stays_zero(images):
    def first_only(batch: torch.Tensor) -> torch.Tensor:
        maps = maps_of(batch)
        return torch.stack([maps[:, 0], 0 * maps[:, 1]], 1)

    cams = multi_scale_cams(first_only, images, SCALES, FP32)
    assert not cams[:, 1].any()
    assert cams[:, 0].max() > 0.99


def test_cams_of_mirrored_images_are_mirrored_cams(images):
    cams = multi_scale_cams(maps_of, images, SCALES, FP32)
    mirrored = multi_scale_cams(maps_of, images[:, :, ::-1].copy(), SCALES, FP32)
    assert np.allclose(mirrored, cams[..., ::-1], atol=1e-4)
    assert not np.allclose(mirrored, cams, atol=1e-1)


@pytest.mark.parametrize("size", [1, 2, 5])
def test_the_batch_size_does_not_matter(size, images, monkeypatch):
    cams = multi_scale_cams(maps_of, images, SCALES, FP32)
    logits = mirrored_logits(logits_of, images, FP32)
    monkeypatch.setattr(bench.cam, "BATCH", size)
    assert np.allclose(multi_scale_cams(maps_of, images, SCALES, FP32), cams, atol=1e-5)
    assert np.allclose(mirrored_logits(logits_of, images, FP32), logits, atol=1e-5)


def test_logits_are_the_mean_over_image_and_mirror_image(images):
    expected = []
    for image in images:
        shown = network_input(image, 1.0)
        expected.append(((logits_of(shown) + logits_of(torch.flip(shown, (3,)))) / 2)[0].numpy())
    logits = mirrored_logits(logits_of, images, FP32)
    assert logits.dtype == np.float32
    assert np.allclose(logits, np.stack(expected), atol=1e-5)


class CamNet(torch.nn.Module):
    """Logits and class maps of two classes, stride 8."""

    def forward(self, batch: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        maps = functional.conv2d(batch, KERNEL, stride=8, padding=2)
        return maps.mean((2, 3)), maps


@pytest.mark.parametrize("size", [2, 32])
def test_feature_maps_are_the_tumour_class_of_image_and_mirror_image(size, images, monkeypatch):
    monkeypatch.setattr(bench.cam, "BATCH", size)
    maps, logits = feature_maps(CamNet(), images, FP32)
    assert maps.shape == (5, 4, 4)
    assert logits.shape == (5, 2)
    for row, image in enumerate(images):
        shown = network_input(image, 1.0)
        (plain, there), (mirrored, back) = CamNet()(shown), CamNet()(shown.flip(-1))
        assert torch.allclose(maps[row], there[0, 1].relu() + back[0, 1].relu().flip(-1), atol=1e-4)
        assert torch.allclose(logits[row], (plain + mirrored)[0], atol=1e-4)
