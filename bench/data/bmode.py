"""A B-mode scan of a breast without lesions: tissue layers, speckle, shadows, log compression.

Echo strength is a float32 map (H, W) of decibels, row 0 at the transducer; lengths are in pixels.
"""

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image
from scipy.ndimage import gaussian_filter, gaussian_filter1d, map_coordinates

Floats = NDArray[np.floating[Any]]


@dataclass(frozen=True)
class Scanner:
    """The settings of one scan: what a probe and the operator's knobs do to every pixel alike."""

    axial: float  # px, width of the pulse
    lateral: tuple[float, float]  # px, width of the beam at the top and at the bottom
    noise: float  # dB, level of the electronic noise
    looks: int  # steered views averaged into one image (spatial compounding)
    span: float  # dB, dynamic range shown
    level: float  # dB, echo strength shown as white
    gamma: float  # exponent of the grey map
    smoothing: float  # px, video filter after compression


def smooth_noise(rng: np.random.Generator, shape: tuple[int, int], scale: tuple[float, float]) -> Floats:
    """Draw a float32 field of `shape` with mean near 0, standard deviation 1 and grains of `scale` pixels.

    `scale` is (rows, columns). Interpolating a coarse grid costs a tenth of filtering a fine one.
    """
    knots = [max(2, round(size / grain) + 1) for size, grain in zip(shape, scale, strict=True)]
    coarse = rng.standard_normal(knots, dtype=np.float32)
    large = Image.fromarray(coarse).resize((shape[1], shape[0]), Image.Resampling.BICUBIC)
    field = np.asarray(large, dtype=np.float32)
    scaled: Floats = field / np.float32(field.std() + 1e-6)
    return scaled


def envelope(
    echo: Floats, rng: np.random.Generator, axial: float, lateral: tuple[float, float], noise: float = -90.0
) -> Floats:
    """Echo envelope, float32 (H, W), of random scatterers whose strength is `echo` in dB.

    `axial` is the pulse width and `lateral` the beam width at the top and bottom row, all in pixels; `noise`
    is the level of additive electronic noise in dB. A constant `echo` of 0 dB gives fully developed speckle:
    a Rayleigh envelope with mean square near 2.
    """
    height = echo.shape[0]
    scatter = rng.standard_normal((2, *echo.shape), dtype=np.float32) * decibels_to_amplitude(echo)
    pulse = _unit_energy(scatter, axial, axis=1)
    near, far = (_unit_energy(pulse, width, axis=2) for width in lateral)
    depth = np.linspace(0, 1, height, dtype=np.float32)[:, None]
    # Both beams see the same scatterers, so their blend needs the kernels' inner product to keep its energy.
    product = np.sqrt(2 * lateral[0] * lateral[1] / (lateral[0] ** 2 + lateral[1] ** 2))
    energy = (1 - depth) ** 2 + depth**2 + 2 * depth * (1 - depth) * np.float32(product)
    field = ((1 - depth) * near + depth * far) / np.sqrt(energy)
    field += rng.standard_normal(field.shape, dtype=np.float32) * np.float32(10 ** (noise / 20))
    magnitude: Floats = np.hypot(field[0], field[1])
    return magnitude


def _unit_energy(field: Floats, width: float, axis: int) -> Floats:
    """Filter along `axis` with a Gaussian whose squares sum to one, so that speckle keeps its power."""
    smooth = gaussian_filter1d(field, width, axis=axis, truncate=3.0)
    return np.asarray(smooth, dtype=np.float32) * np.float32(np.sqrt(2 * width * np.sqrt(np.pi)))


def decibels_to_amplitude(decibels: Floats) -> Floats:
    """10 ** (decibels / 20), float32."""
    amplitude: Floats = np.exp(decibels * np.float32(np.log(10) / 20))
    return amplitude


def transmission(loss: Floats, spread: float) -> Floats:
    """Gain in dB, float32 (H, W), left after the sound went through `loss` (dB per row; negative amplifies).

    `spread` (px) blurs the beam's path sideways, as its finite width does.
    """
    path = np.cumsum(loss, axis=0, dtype=np.float32)
    return -np.asarray(gaussian_filter1d(path, spread, axis=1, truncate=3.0), dtype=np.float32)


def compress(magnitude: Floats, scanner: Scanner) -> NDArray[np.uint8]:
    """Log-compress an envelope into the grey levels 0..255 of `scanner`, uint8 (H, W)."""
    strength = 20 * np.log10(np.maximum(magnitude, np.float32(1e-6))) - scanner.level
    shown = np.clip(1 + strength / scanner.span, 0, 1).astype(np.float32)
    shown = np.asarray(gaussian_filter(shown, scanner.smoothing, truncate=3.0), dtype=np.float32)
    grey = 255 * np.power(shown, np.float32(scanner.gamma))
    return np.asarray(np.rint(grey), dtype=np.uint8)


def scan(echo: Floats, gain: Floats, scanner: Scanner, rng: np.random.Generator) -> NDArray[np.uint8]:
    """Image a map of echo strengths (dB) whose sound arrives with `gain` (dB): uint8 (H, W) grey levels."""
    strength = echo + gain
    looks = [envelope(strength, rng, scanner.axial, scanner.lateral, scanner.noise) for _ in range(scanner.looks)]
    return compress(np.mean(looks, axis=0), scanner)


def tissue(rng: np.random.Generator, shape: tuple[int, int]) -> Floats:
    """Draw the echo strength, float32 `shape` in dB, of skin, fat, gland, muscle and chest wall."""
    height = shape[0]
    rows = np.arange(height, dtype=np.float32)[:, None]
    skin = height * rng.uniform(0.02, 0.05)
    fat = skin + height * rng.uniform(0.04, 0.32)
    gland = fat + height * rng.uniform(0.25, 0.55)
    wall = gland + height * rng.uniform(0.2, 1.0)
    fat_end = _interface(rng, shape, fat, 0.035)
    gland_end = _interface(rng, shape, gland, 0.02)
    wall_end = _interface(rng, shape, wall, 0.015)
    echo = _fat(rng, shape)
    echo = _below(rows, fat_end, echo, _gland(rng, shape), 2.5)
    echo = _below(rows, gland_end, echo, _muscle(rng, shape), 1.5)
    echo = _below(rows, wall_end, echo, _wall(rng, shape), 5.0)
    for boundary, strength in ((fat_end, 7.0), (gland_end, 14.0), (wall_end, 18.0)):
        echo += strength * broken(rng, shape) * ridge(rows - boundary, 1.3)
    return _with_skin(rng, _bent(rng, echo), skin)


def _interface(rng: np.random.Generator, shape: tuple[int, int], depth: float, roughness: float) -> Floats:
    """Row of a layer's lower boundary in each column, (1, W)."""
    height, width = shape
    coarse = smooth_noise(rng, (2, width), (1, width / 3))[:1]
    fine = smooth_noise(rng, (2, width), (1, 22))[:1]
    return depth + height * roughness * (coarse + 0.35 * fine)


def _below(rows: Floats, boundary: Floats, upper: Floats, lower: Floats, softness: float) -> Floats:
    weight = np.clip(0.5 + (rows - boundary) / (2 * softness), 0, 1)
    return upper + weight * (lower - upper)


def ridge(offset: Floats, width: float) -> Floats:
    """Gaussian profile, 0..1, of a line `width` pixels thick at `offset` pixels from its middle."""
    profile: Floats = np.exp(-((offset / width) ** 2))
    return profile


def broken(rng: np.random.Generator, shape: tuple[int, int]) -> Floats:
    """Strength 0..1 that comes and goes along the tissue, as a reflector's does with its angle."""
    strength: Floats = np.clip(0.55 + 0.5 * smooth_noise(rng, shape, (14, 30)), 0, 1)
    return strength


def fibres(rng: np.random.Generator, shape: tuple[int, int], scale: tuple[float, float], width: float) -> Floats:
    """Bright curved sheets, 0..1 and `width` pixels thick, around cells of `scale` pixels.

    A sheet shines where it faces the beam and fades where it runs along it.
    """
    field = smooth_noise(rng, shape, scale)
    down, across = np.gradient(field)
    steepness = down**2 + across**2 + np.float32(1e-6)
    facing = 0.15 + 0.85 * down**2 / steepness
    sheets: Floats = np.exp(-(field**2) / (steepness * np.float32(width**2))) * facing * broken(rng, shape)
    return sheets


def _fat(rng: np.random.Generator, shape: tuple[int, int]) -> Floats:
    septa = fibres(rng, shape, (rng.uniform(8, 16), rng.uniform(35, 70)), 1.1)
    return rng.uniform(-10, -5) + 1.2 * smooth_noise(rng, shape, (5, 12)) + rng.uniform(14, 22) * septa


def _gland(rng: np.random.Generator, shape: tuple[int, int]) -> Floats:
    streaks = smooth_noise(rng, shape, (3, rng.uniform(9, 16)))
    patches = smooth_noise(rng, shape, (rng.uniform(9, 16), rng.uniform(22, 40)))
    septa = fibres(rng, shape, (rng.uniform(5, 10), rng.uniform(40, 80)), 1.0)
    sheets = fibres(rng, shape, (rng.uniform(3, 5), rng.uniform(16, 40)), 0.9)
    ducts = fibres(rng, shape, (9, rng.uniform(16, 30)), 2.0)
    echo: Floats = rng.uniform(1.5, 3) * streaks + rng.uniform(1.5, 3.5) * patches
    echo += rng.uniform(8, 20) * septa + rng.uniform(5, 15) * sheets - rng.uniform(3, 12) * ducts
    return echo


def _muscle(rng: np.random.Generator, shape: tuple[int, int]) -> Floats:
    striae = fibres(rng, shape, (rng.uniform(3, 6), rng.uniform(30, 90)), 0.9)
    fascia = fibres(rng, shape, (rng.uniform(9, 16), rng.uniform(60, 120)), 1.2)
    echo: Floats = 1.5 * smooth_noise(rng, shape, (4, 25)) + 2 * smooth_noise(rng, shape, (18, 40))
    echo += rng.uniform(-10, -4) + rng.uniform(9, 18) * striae + rng.uniform(8, 20) * fascia
    return echo


def _wall(rng: np.random.Generator, shape: tuple[int, int]) -> Floats:
    return rng.uniform(-20, -13) + 2.5 * smooth_noise(rng, shape, (9, 26))


def _bent(rng: np.random.Generator, echo: Floats) -> Floats:
    """Bend all layers by one smooth displacement that vanishes at the skin."""
    height, width = echo.shape
    rows, columns = np.mgrid[0:height, 0:width].astype(np.float32)
    freedom = np.clip(rows / (0.25 * height), 0, 1)
    tilt = rng.uniform(-0.12, 0.12) * (columns - width / 2)
    sag = rng.uniform(2, 7) * smooth_noise(rng, (height, width), (height / 2, width / 2.5))
    ripple = rng.uniform(0.8, 2) * smooth_noise(rng, (height, width), (16, 24))
    shift = rng.uniform(1, 4) * smooth_noise(rng, (height, width), (30, 30))
    sampled = map_coordinates(echo, [rows + freedom * (tilt + sag + ripple), columns + shift], order=1, mode="mirror")
    return np.asarray(sampled, dtype=np.float32)


def _with_skin(rng: np.random.Generator, echo: Floats, thickness: float) -> Floats:
    """Lay coupling gel and the skin's two bright lines over the top rows."""
    rows = np.arange(echo.shape[0], dtype=np.float32)[:, None]
    bottom = thickness + smooth_noise(rng, (2, echo.shape[1]), (1, 40))[:1] * 0.5
    inside = np.clip(bottom - rows + 0.5, 0, 1)
    lines = rng.uniform(9, 16) * ridge(rows - bottom, 1.2) + 8 * ridge(rows, 1.0)
    covered: Floats = echo * (1 - inside) + inside * np.float32(rng.uniform(-6, 2)) + lines
    return covered


def residual_gain(rng: np.random.Generator, shape: tuple[int, int]) -> Floats:
    """What imperfect time-gain compensation, bad contact and ligaments leave of the sound, in dB."""
    height, width = shape
    depth = np.linspace(0, 1, height, dtype=np.float32)[:, None]
    columns = np.arange(width, dtype=np.float32)[None]
    decay = rng.uniform(0, 14) * depth**1.5 + rng.uniform(0, 20) * np.clip((depth - 0.5) / 0.5, 0, 1) ** 1.5
    shading = rng.uniform(0.5, 3) * depth * smooth_noise(rng, (2, width), (1, width / 8))[:1]
    gain: Floats = shading - decay
    for side in (columns, width - 1 - columns):
        if rng.random() < 0.2:
            gain = gain - rng.uniform(4, 18) * np.exp(-side / (width * rng.uniform(0.02, 0.07)))
    return gain + transmission(_ligament_losses(rng, shape), 1.2)


def _ligament_losses(rng: np.random.Generator, shape: tuple[int, int]) -> Floats:
    """Loss in dB per row in the few small spots where ligaments or gas cast a shadow."""
    height, width = shape
    loss = np.zeros(shape, dtype=np.float32)
    columns = np.arange(width, dtype=np.float32)
    for _ in range(rng.poisson(1.3)):
        row = int(height * rng.uniform(0.02, 0.6))
        spot = ridge(columns - width * rng.uniform(0, 1), width * rng.uniform(0.012, 0.05))
        loss[row : row + 3] += rng.uniform(3, 13) / 3 * spot
    return loss


def draw_scanner(rng: np.random.Generator, strength: Floats) -> Scanner:
    """Draw the operator's settings for tissue of `strength` (dB, without lesions)."""
    mean = float(strength.mean())
    lateral = rng.uniform(1.0, 1.5)
    return Scanner(
        axial=rng.uniform(0.7, 0.95),
        lateral=(lateral, lateral * rng.uniform(1.2, 1.8)),
        noise=mean - rng.uniform(24, 34),
        looks=int(rng.integers(2, 6)),
        span=rng.uniform(50, 60),
        level=mean + rng.uniform(23, 34),
        gamma=rng.uniform(1.4, 2.1),
        smoothing=rng.uniform(0.35, 0.55),
    )
