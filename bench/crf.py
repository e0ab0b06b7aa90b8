"""DenseCRF on two labels: a CAM becomes a mask that follows the image's edges (METHOD 5.3).

Built on pydensecrf2, the maintained fork of pydensecrf, whose own release does not build with Cython 3 (METHOD 5.4).
"""

from dataclasses import dataclass
from types import ModuleType

import cv2
import numpy as np
from numpy.typing import NDArray

from bench.errors import UserError

# Keeps the logarithm of a soft label finite.
SMALLEST_PROBABILITY = 1e-5


@dataclass(frozen=True)
class HardUnary:
    """Labels argmax([threshold, cam]), each right with probability `confidence`."""

    confidence: float

    def energies(self, cam: NDArray[np.float32], threshold: float) -> NDArray[np.float32]:
        """Float32 (2, H, W), background and foreground: low for the given label, high for the other."""
        foreground = threshold_mask(cam, threshold)
        given, other = np.float32(-np.log(self.confidence)), np.float32(-np.log(1 - self.confidence))
        return np.stack([np.where(foreground, other, given), np.where(foreground, given, other)])


@dataclass(frozen=True)
class SoftUnary:
    """Probabilities [(1 - cam)^power, cam], not normalised. The threshold plays no part."""

    power: float

    def energies(self, cam: NDArray[np.float32], threshold: float) -> NDArray[np.float32]:
        """Float32 (2, H, W), background and foreground: -log of the clipped probabilities."""
        probabilities = np.stack([(1 - cam) ** np.float32(self.power), cam])
        energies: NDArray[np.float32] = -np.log(np.clip(probabilities, SMALLEST_PROBABILITY, 1))
        return energies


@dataclass(frozen=True)
class Parameters:
    """One parameter set; kernels are exp(-dp^2 / 2 sxy^2), and that times exp(-dI^2 / 2 srgb^2), Potts."""

    unary: HardUnary | SoftUnary
    gaussian_sxy: float
    gaussian_compat: float
    bilateral_sxy: float
    bilateral_srgb: float
    bilateral_compat: float
    iterations: int


# METHOD 5.3: IRN, ReCAM and AMR; PSA with its middle exponent; OAA's test-time CRF.
PARAMETERS = {
    "irn_label": Parameters(HardUnary(0.7), 3, 3, 50, 5, 10, 10),
    "psa_soft": Parameters(SoftUnary(16), 3, 3, 80, 13, 10, 10),
    "deeplab": Parameters(SoftUnary(1), 1, 3, 67, 3, 4, 10),
}


def refine(
    image: NDArray[np.uint8], cam: NDArray[np.float32], threshold: float, parameters: Parameters
) -> NDArray[np.bool_]:
    """The foreground after mean-field inference, bool (H, W).

    image: uint8 RGB (H, W, 3), C-contiguous. cam: float32 (H, W) in [0, 1]. threshold: where a HardUnary cuts the
    CAM; a SoftUnary takes no notice of it. Raises UserError when pydensecrf is not installed.
    """
    height, width = cam.shape
    field = backend().DenseCRF2D(width, height, 2)
    field.setUnaryEnergy(np.ascontiguousarray(parameters.unary.energies(cam, threshold).reshape(2, -1)))
    field.addPairwiseGaussian(sxy=parameters.gaussian_sxy, compat=parameters.gaussian_compat)
    field.addPairwiseBilateral(
        sxy=parameters.bilateral_sxy, srgb=parameters.bilateral_srgb, rgbim=image, compat=parameters.bilateral_compat
    )
    background, foreground = np.asarray(field.inference(parameters.iterations)).reshape(2, height, width)
    mask: NDArray[np.bool_] = foreground > background
    return mask


def backend() -> ModuleType:
    """pydensecrf's module of dense CRFs; UserError when it is not installed."""
    try:
        import pydensecrf.densecrf as module
    except ImportError as error:
        raise UserError(
            "DenseCRF needs the package pydensecrf2 - install it with pip, which needs a C++ compiler"
        ) from error
    found: ModuleType = module
    return found


def threshold_mask(cam: NDArray[np.float32], threshold: float) -> NDArray[np.bool_]:
    """Where the CAM lies above the threshold, bool (H, W)."""
    mask: NDArray[np.bool_] = cam > np.float32(threshold)
    return mask


def otsu(cam: NDArray[np.float32]) -> float:
    """Otsu's threshold of a float32 (H, W) CAM in [0, 1], taken on 8 bits: in [0, 1], needs no labels (METHOD 5.3)."""
    level, _ = cv2.threshold(np.rint(cam * 255).astype(np.uint8), 0, 255, cv2.THRESH_BINARY | cv2.THRESH_OTSU)
    # Half a level more, so that the unrounded CAM is cut where the rounded one was; never above the CAM's range.
    return min((level + 0.5) / 255, 1.0)
