"""Colour, burnt-in text and calipers, drawn onto phantoms."""

import cv2
import numpy as np
import pytest

from bench.data.overlays import COLOURED, coloured_share, stroke_pixels
from bench.data.phantom import render


def phantom(index: int = 1, category: str = "malignant") -> np.ndarray:
    return cv2.cvtColor(render(category, index, 5).image, cv2.COLOR_GRAY2RGB)


def compressed(image: np.ndarray, quality: int = 90) -> np.ndarray:
    return cv2.imdecode(cv2.imencode(".jpg", image, [cv2.IMWRITE_JPEG_QUALITY, quality])[1], cv2.IMREAD_COLOR)


def caliper(image: np.ndarray, colour: tuple[int, int, int] = (226, 226, 226)) -> np.ndarray:
    return cv2.drawMarker(image.copy(), (90, 70), colour, cv2.MARKER_CROSS, 15, 3)


def text(image: np.ndarray) -> np.ndarray:
    """In the lower left corner; on tissue as bright as itself nothing would be found."""
    return cv2.putText(image.copy(), "RT 3", (10, len(image) - 10), cv2.FONT_HERSHEY_SIMPLEX, 0.6, (230, 230, 230), 2)


@pytest.mark.parametrize("category", ["benign", "malignant", "normal"])
def test_no_phantom_has_overlays(category):
    for index in range(1, 13):
        image = phantom(index, category)
        assert stroke_pixels(image) == 0, index
        assert coloured_share(image) == 0


@pytest.mark.parametrize("index", [1, 2, 3, 4])
@pytest.mark.parametrize("draw", [caliper, text])
@pytest.mark.parametrize("encode", [lambda image: image, compressed])
def test_text_and_calipers_are_found(index, draw, encode):
    assert stroke_pixels(encode(draw(phantom(index)))) > 0


def test_a_yellow_caliper_is_found_and_is_colour():
    image = caliper(phantom(), (235, 235, 40))
    assert stroke_pixels(image) > 0
    assert coloured_share(image) > COLOURED


def test_only_the_pixels_of_strokes_are_counted():
    black = np.zeros((120, 160, 3), np.uint8)
    drawn = caliper(black)
    assert stroke_pixels(drawn) == (drawn[..., 0] > 0).sum()


def test_what_fades_over_several_pixels_is_no_stroke():
    dark = np.zeros((120, 160, 3), np.uint8)
    assert stroke_pixels(cv2.GaussianBlur(cv2.line(dark.copy(), (20, 60), (140, 60), (255,) * 3, 7), (0, 0), 2.5)) == 0


def test_what_is_speckled_is_no_stroke():
    noise = np.random.default_rng(0).integers(200, 256, (120, 160), dtype=np.uint8)
    lines = np.zeros_like(noise)
    lines[58:62, 20:140] = noise[58:62, 20:140]
    assert stroke_pixels(np.stack([lines] * 3, axis=2)) == 0
    lines[58:62, 20:140] = 226
    assert stroke_pixels(np.stack([lines] * 3, axis=2)) == 4 * 120


def test_marks_at_the_upper_edge_are_the_scanners_own():
    mark = cv2.rectangle(np.zeros((120, 160, 3), np.uint8), (2, 2), (14, 14), (226,) * 3, 2)
    assert stroke_pixels(mark) == 0
    assert stroke_pixels(np.roll(mark, 30, axis=0)) > 0


@pytest.mark.parametrize("level", [0, 226])
def test_an_image_of_one_level_has_no_stroke(level):
    assert stroke_pixels(np.full((30, 40, 3), level, np.uint8)) == 0


def test_a_slight_tint_is_no_colour():
    tinted = phantom().astype(np.int16) + np.array([6, 0, -4], np.int16)
    assert coloured_share(np.clip(tinted, 0, 255).astype(np.uint8)) == 0


def test_the_share_of_coloured_pixels():
    image = phantom()
    image[:10, :20] = (200, 30, 30)
    assert coloured_share(image) == pytest.approx(200 / image[..., 0].size)
