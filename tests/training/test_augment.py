"""Augmentation: what a drawn transformation does to pixels, and how transformations are drawn."""

import math

import numpy as np
import pytest
import torch

from bench.schema import Augmentation
from bench.training.augment import normalise, random_affine, to_float, warp

COUNT = 400


def settings(horizontal: bool = False, vertical: bool = False, rotation: float = 0.0) -> Augmentation:
    return Augmentation(horizontal_flip=horizontal, vertical_flip=vertical, rotation_degrees=rotation)


def draw(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def pictures(count: int, size: int = 32) -> torch.Tensor:
    return torch.rand(count, 1, size, size, generator=draw(9))


def rotation(angle: float) -> torch.Tensor:
    cosine, sine = math.cos(angle), math.sin(angle)
    return torch.tensor([[[cosine, -sine, 0.0], [sine, cosine, 0.0]]])


@pytest.mark.parametrize("mode", ["bilinear", "nearest"])
def test_nothing_changes_with_everything_off(mode):
    images = pictures(5)
    assert torch.equal(warp(images, random_affine(5, settings(), draw()), mode), images)


@pytest.mark.parametrize("mode", ["bilinear", "nearest"])
@pytest.mark.parametrize(("horizontal", "vertical", "axis"), [(True, False, -1), (False, True, -2)])
def test_a_drawn_flip_is_exactly_the_mirrored_image(horizontal, vertical, axis, mode):
    images = pictures(20)
    warped = warp(images, random_affine(20, settings(horizontal, vertical), draw()), mode)
    flipped = [torch.equal(after, before.flip(axis)) for before, after in zip(images, warped, strict=True)]
    kept = [torch.equal(after, before) for before, after in zip(images, warped, strict=True)]
    assert any(flipped)
    assert any(kept)
    assert all(one != other for one, other in zip(flipped, kept, strict=True))


def test_about_half_of_the_images_are_flipped_independently_of_each_other_and_of_the_axis():
    matrices = random_affine(COUNT, settings(True, True), draw())
    in_x, in_y = matrices[:, 0, 0] < 0, matrices[:, 1, 1] < 0
    for share in (in_x, in_y, in_x ^ in_y):
        assert 0.4 < share.float().mean() < 0.6


def test_angles_fill_the_range_and_stay_in_it():
    matrices = random_affine(COUNT, settings(rotation=20.0), draw())
    angles = torch.rad2deg(torch.atan2(matrices[:, 1, 0], matrices[:, 0, 0]))
    assert angles.abs().max() <= 20.001
    assert angles.min() < -18
    assert angles.max() > 18
    assert angles.mean().abs() < 2


def test_every_transformation_keeps_lengths_and_the_centre():
    matrices = random_affine(COUNT, settings(True, True, 180.0), draw())
    linear = matrices[:, :, :2]
    assert torch.allclose(linear @ linear.mT, torch.eye(2).expand(COUNT, 2, 2), atol=1e-5)
    assert not matrices[:, :, 2].any()


@pytest.mark.parametrize(("mode", "tolerance"), [("bilinear", 1e-5), ("nearest", 0.0)])
def test_a_quarter_turn_is_rot90(mode, tolerance):
    images = pictures(1, 30)
    turned = warp(images, rotation(math.pi / 2), mode)
    assert torch.allclose(turned, torch.rot90(images, 1, (-2, -1)), atol=tolerance)


def test_outside_the_image_is_black():
    turned = warp(torch.ones(1, 1, 32, 32), rotation(math.pi / 4), "bilinear")
    assert turned[0, 0, 0, 0] == 0
    assert turned[0, 0, 16, 16] == pytest.approx(1)


def test_image_and_mask_stay_aligned_and_the_mask_binary():
    y, x = torch.meshgrid(torch.arange(64), torch.arange(64), indexing="ij")
    mask = (((x - 40) / 12) ** 2 + ((y - 28) / 8) ** 2 < 1).float().expand(30, 1, 64, 64)
    matrices = random_affine(30, settings(True, True, 20.0), draw())
    image, target = warp(mask, matrices, "bilinear"), warp(mask, matrices, "nearest")
    assert set(target.unique().tolist()) == {0.0, 1.0}
    shared = ((image > 0.5) & (target > 0.5)).sum((1, 2, 3))
    either = ((image > 0.5) | (target > 0.5)).sum((1, 2, 3))
    assert (shared / either).min() > 0.9
    assert (target != mask).any((1, 2, 3)).all()


def test_a_seed_fixes_what_is_drawn():
    drawn = [random_affine(10, settings(True, True, 20.0), draw(seed)) for seed in (3, 3, 4)]
    assert torch.equal(drawn[0], drawn[1])
    assert not torch.equal(drawn[0], drawn[2])


def test_switching_flips_off_leaves_the_drawn_angles_as_they_were():
    with_flips = random_affine(50, settings(True, True, 20.0), draw())
    without = random_affine(50, settings(rotation=20.0), draw())
    assert torch.equal(with_flips.abs(), without.abs())


def test_grey_levels_become_imagenet_normalised_rgb():
    grey = torch.tensor([[[0, 51], [102, 255]]], dtype=torch.uint8)
    rgb = normalise(to_float(grey)).numpy()
    assert rgb.shape == (1, 3, 2, 2)
    for channel, (mean, deviation) in enumerate([(0.485, 0.229), (0.456, 0.224), (0.406, 0.225)]):
        expected = (np.array([[0, 0.2], [0.4, 1]]) - mean) / deviation
        assert np.allclose(rgb[0, channel], expected, atol=1e-6)
