"""DenseCRF: parameter sets, unary energies, and the inference against exact mean field."""

import sys
from dataclasses import astuple
from types import SimpleNamespace
from unittest.mock import MagicMock

import numpy as np
import pytest

import bench.crf
from bench.crf import PARAMETERS, HardUnary, Parameters, SoftUnary, otsu, refine, threshold_mask
from bench.errors import UserError


def test_the_parameter_sets_are_the_published_ones():
    """METHOD 5.3: unary, Gaussian (sxy, compat), bilateral (sxy, srgb, compat), iterations."""
    assert {name: astuple(one) for name, one in PARAMETERS.items()} == {
        "irn_label": ((0.7,), 3, 3, 50, 5, 10, 10),
        "psa_soft": ((16,), 3, 3, 80, 13, 10, 10),
        "deeplab": ((1,), 1, 3, 67, 3, 4, 10),
    }
    assert isinstance(PARAMETERS["irn_label"].unary, HardUnary)
    assert isinstance(PARAMETERS["psa_soft"].unary, SoftUnary)
    assert isinstance(PARAMETERS["deeplab"].unary, SoftUnary)


def test_hard_labels_cost_0_357_when_given_and_1_204_otherwise():
    cam = np.array([[0.1, 0.15, 0.2]], np.float32)
    energies = PARAMETERS["irn_label"].unary.energies(cam, 0.15)
    assert energies.dtype == np.float32
    assert energies.shape == (2, 1, 3)
    # A tie with the threshold is background, as argmax takes the first.
    assert np.allclose(energies[0], [[0.357, 0.357, 1.204]], atol=1e-3)
    assert np.allclose(energies[1], [[1.204, 1.204, 0.357]], atol=1e-3)


@pytest.mark.parametrize(("name", "power"), [("psa_soft", 16), ("deeplab", 1)])
def test_soft_labels_cost_minus_their_logarithm(name, power):
    cam = np.array([[0.0, 0.03, 0.5, 1.0]], np.float32)
    energies = PARAMETERS[name].unary.energies(cam, 0.9)
    assert energies.dtype == np.float32
    smallest = -np.log(1e-5)
    assert np.allclose(energies[1], [[smallest, -np.log(0.03), -np.log(0.5), 0]], atol=1e-4)
    half = min(-power * np.log(0.5), smallest)
    assert np.allclose(energies[0], [[0, -power * np.log(0.97), half, smallest]], atol=1e-4)
    assert np.array_equal(energies, PARAMETERS[name].unary.energies(cam, 0.1))


def exact(image: np.ndarray, energies: np.ndarray, parameters: Parameters) -> np.ndarray:
    """Mean field with all pairs of pixels: the foreground's marginals (H, W)."""
    height, width = image.shape[:2]
    place = np.stack(np.mgrid[:height, :width], -1).reshape(-1, 2).astype(float)
    colour = image.reshape(-1, 3).astype(float)

    def kernel(sxy: float, srgb: float) -> np.ndarray:
        features = np.concatenate([place / sxy, colour / srgb], 1)
        weights = np.exp(-0.5 * ((features[:, None] - features[None]) ** 2).sum(2))
        norm = 1 / np.sqrt(weights.sum(1))
        return norm[:, None] * weights * norm[None]

    pairwise = parameters.gaussian_compat * kernel(parameters.gaussian_sxy, np.inf)
    pairwise += parameters.bilateral_compat * kernel(parameters.bilateral_sxy, parameters.bilateral_srgb)
    score = -energies.reshape(2, -1).T.astype(float)

    def softmax(values: np.ndarray) -> np.ndarray:
        shifted = np.exp(values - values.max(1, keepdims=True))
        return shifted / shifted.sum(1, keepdims=True)

    marginals = softmax(score)
    for _ in range(parameters.iterations):
        marginals = softmax(score + pairwise @ marginals)
    return marginals[:, 1].reshape(height, width)


def scene(seed: int, side: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """A bright disc: image uint8 (side, side, 3), the disc, and a CAM of it with noise, float32."""
    rng = np.random.default_rng(seed)
    rows, columns = np.mgrid[:side, :side]
    disc = np.hypot(rows - side / 2, columns - side / 2) < side / 3.5
    grey = np.where(disc, 170, 60) + rng.normal(0, 4, disc.shape)
    image = np.repeat(grey.clip(0, 255).astype(np.uint8)[..., None], 3, 2)
    cam = np.clip(np.where(disc, 0.6, 0.2) + rng.normal(0, 0.25, disc.shape), 0, 1).astype(np.float32)
    return image, disc, cam


@pytest.mark.parametrize("name", PARAMETERS)
def test_inference_is_mean_field(name):
    """The permutohedral lattice approximates the kernels: 0 to 0.5 % of the pixels were seen to differ."""
    parameters, different = PARAMETERS[name], []
    for seed in range(8):
        image, _, cam = scene(seed, 12)
        marginals = exact(image, parameters.unary.energies(cam, 0.4), parameters)
        different.append(refine(image, cam, 0.4, parameters) != (marginals > 0.5))
    assert np.mean(different) <= 0.01


@pytest.mark.parametrize("kernel", ["gaussian", "bilateral"])
def test_each_kernel_alone_is_mean_field(kernel):
    """With weak couplings labels stay mixed, so that a wrong scale of one kernel would show."""
    image, _, cam = scene(7, 16)
    weights = {"gaussian": (1.5, 0.0), "bilateral": (0.0, 1.5)}[kernel]
    parameters = Parameters(SoftUnary(1), 2, weights[0], 6, 20, weights[1], 10)
    marginals = exact(image, parameters.unary.energies(cam, 0.4), parameters)
    found = refine(image, cam, 0.4, parameters)
    assert 0.05 < found.mean() < 0.95
    sure = np.abs(marginals - 0.5) > 0.1
    assert np.array_equal(found[sure], (marginals > 0.5)[sure])


@pytest.mark.parametrize("name", PARAMETERS)
def test_every_parameter_reaches_its_kernel(name, monkeypatch):
    """No small scene tells the bilateral kernel's two widths apart."""
    field = MagicMock()
    field.inference.return_value = np.zeros((2, 64), np.float32)
    monkeypatch.setattr(bench.crf, "backend", lambda: SimpleNamespace(DenseCRF2D=lambda *_: field))
    image, _, cam = scene(0, 8)
    refine(image, cam, 0.4, PARAMETERS[name])
    expected = astuple(PARAMETERS[name])[1:]
    narrow, wide = field.addPairwiseGaussian.call_args.kwargs, field.addPairwiseBilateral.call_args.kwargs
    assert (narrow["sxy"], narrow["compat"]) == expected[:2]
    assert (wide["sxy"], wide["srgb"], wide["compat"]) == expected[2:5]
    assert wide["rgbim"] is image
    field.inference.assert_called_once_with(expected[5])


def test_a_noisy_mask_of_a_bright_disc_is_cleaned():
    image, disc, cam = scene(0, 60)
    before = threshold_mask(cam, 0.4)
    assert (before != disc).mean() > 0.1
    found = refine(image, cam, 0.4, PARAMETERS["irn_label"])
    assert found.dtype == bool
    assert found.shape == disc.shape
    assert (found != disc).mean() < 0.01


@pytest.mark.parametrize("name", PARAMETERS)
def test_an_empty_cam_gives_an_empty_mask(name):
    image, _, cam = scene(0, 20)
    assert not refine(image, np.zeros_like(cam), 0.15, PARAMETERS[name]).any()


def test_width_and_height_are_not_confused():
    image, cam = np.full((20, 30, 3), 90, np.uint8), np.zeros((20, 30), np.float32)
    image[:, :8] = 200
    cam[:, :8] = 1
    found = refine(image, cam, 0.5, PARAMETERS["irn_label"])
    assert np.array_equal(found, cam > 0.5)


def test_without_pydensecrf_the_package_is_named(monkeypatch):
    monkeypatch.setitem(sys.modules, "pydensecrf.densecrf", None)
    image, _, cam = scene(0, 8)
    with pytest.raises(UserError, match=r"pydensecrf2.*C\+\+ compiler"):
        refine(image, cam, 0.5, PARAMETERS["irn_label"])


def test_otsu_parts_two_levels():
    cam = np.full((10, 10), 0.2, np.float32)
    cam[:4] = 0.7
    threshold = otsu(cam)
    assert 0.2 < threshold < 0.7
    assert np.array_equal(threshold_mask(cam, threshold), cam > 0.5)


@pytest.mark.parametrize("value", [0.0, 0.5, 1.0])
def test_otsu_of_a_constant_map_is_a_threshold(value):
    assert 0 <= otsu(np.full((5, 5), value, np.float32)) <= 1


def test_otsu_cuts_the_map_where_it_cuts_its_8_bits():
    cam = np.random.default_rng(0).beta(0.5, 2, (50, 50)).astype(np.float32)
    level = otsu(cam) * 255 - 0.5
    assert np.array_equal(threshold_mask(cam, otsu(cam)), np.rint(cam * 255) > round(level))
