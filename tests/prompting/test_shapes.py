"""What every segmenter without weights promises, and the two shapes."""

import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from bench.errors import UserError
from bench.prompting import Box, Segmenter
from bench.prompting.kinds import make_segmenter
from bench.prompting.shapes import INSCRIBED, ellipse_in_box

KINDS = ("grabcut", "ellipse", "box")
HEIGHT, WIDTH = 40, 56
BOXES: dict[str, Box] = {
    "inside": (10, 8, 40, 30),
    "one pixel": (20, 20, 20, 20),
    "one pixel wide": (20, 5, 20, 30),
    "one pixel high": (5, 20, 50, 20),
    "two pixels": (20, 20, 21, 21),
    "whole image": (0, 0, WIDTH - 1, HEIGHT - 1),
    "whole height": (20, 0, 30, HEIGHT - 1),
    "left border": (0, 10, 12, 25),
    "lower right corner": (WIDTH - 1, HEIGHT - 1, WIDTH - 1, HEIGHT - 1),
}


def make(kind: str) -> Segmenter:
    return make_segmenter(kind, variant="vit_h", checkpoint=None, weights=Path("unused"), device="cpu")


def noise(height: int = HEIGHT, width: int = WIDTH) -> np.ndarray:
    return np.random.default_rng(0).integers(0, 256, (height, width, 3), dtype=np.uint8)


@pytest.mark.parametrize("name", BOXES)
@pytest.mark.parametrize("kind", KINDS)
def test_any_box_gives_a_repeatable_mask_near_it(kind: str, name: str) -> None:
    image, box = noise(), BOXES[name]
    before = image.copy()
    mask = make(kind).segment(image, box)
    assert mask.shape == (HEIGHT, WIDTH)
    assert mask.dtype == np.bool_
    assert np.array_equal(image, before)
    assert mask[(box[1] + box[3]) // 2, (box[0] + box[2]) // 2]
    assert not (mask & ~ellipse_in_box((HEIGHT, WIDTH), box, 1.6)).any() or kind == "box"
    assert np.array_equal(mask, make(kind).segment(image, box))


@pytest.mark.parametrize("fill", [0, 255])
@pytest.mark.parametrize("kind", KINDS)
def test_a_flat_image_gives_a_mask(kind: str, fill: int) -> None:
    image = np.full((HEIGHT, WIDTH, 3), fill, dtype=np.uint8)
    for box in BOXES.values():
        assert make(kind).segment(image, box).any()


@pytest.mark.parametrize("size", [(1, 1), (1, 9), (9, 1), (2, 2), (3, 3)])
@pytest.mark.parametrize("kind", KINDS)
def test_a_tiny_image_gives_a_mask(kind: str, size: tuple[int, int]) -> None:
    image = noise(*size)
    mask = make(kind).segment(image, (0, 0, size[1] - 1, size[0] - 1))
    assert mask.shape == size
    assert mask.any()


@pytest.mark.parametrize("kind", KINDS)
def test_an_image_that_is_a_view_gives_the_mask_of_its_copy(kind: str) -> None:
    view = noise(80, 112)[::2, ::2]
    assert np.array_equal(make(kind).segment(view, (10, 8, 40, 30)), make(kind).segment(view.copy(), (10, 8, 40, 30)))


@pytest.mark.parametrize("box", [(9, 0, 3, 5), (0, 9, 5, 3), (-1, 0, 5, 5), (0, 0, WIDTH, 5), (0, 0, 5, HEIGHT)])
@pytest.mark.parametrize("kind", KINDS)
def test_a_box_outside_the_image_or_turned_over_is_refused(kind: str, box: Box) -> None:
    with pytest.raises(ValueError, match="not ordered or leaves the image of 56 x 40"):
        make(kind).segment(noise(), box)


@pytest.mark.parametrize("kind", KINDS)
def test_wrong_types_are_refused(kind: str) -> None:
    images: list[Any] = [noise().astype(np.float32), noise()[..., 0], noise()[..., :2]]
    for image in images:
        with pytest.raises(ValueError, match=r"image must be uint8 \(H, W, 3\), got"):
            make(kind).segment(image, (1, 1, 5, 5))
    for box in ((1.0, 1, 5, 5), (1, 1, 5)):
        with pytest.raises(ValueError, match="four whole numbers"):
            make(kind).segment(noise(), box)  # type: ignore[arg-type]


def test_names_keep_the_stand_ins_apart_from_sam() -> None:
    assert [make(kind).name for kind in KINDS] == ["GrabCut (not SAM)", "ellipse in the box", "filled box"]


def test_an_unknown_kind_is_refused_with_the_known_ones() -> None:
    with pytest.raises(UserError, match="unknown segmenter 'snake' - choose one of sam, grabcut, ellipse, box"):
        make("snake")


def test_listing_loads_neither_torch_nor_opencv() -> None:
    code = "import sys, bench.prompting.kinds as p; print((*p.KINDS,), {'torch', 'cv2'} & set(sys.modules))"
    shown = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout
    assert shown.strip().endswith("set()")


def test_the_filled_box_holds_exactly_its_inclusive_pixels() -> None:
    mask = make("box").segment(noise(), (3, 5, 7, 6))
    assert mask.sum() == 10
    assert mask[5:7, 3:8].all()


@pytest.mark.parametrize("area", [0.5, INSCRIBED, 1.6])
def test_an_ellipse_has_the_asked_area_and_the_symmetry_of_its_box(area: float) -> None:
    mask = ellipse_in_box((300, 400), (100, 100, 279, 199), area)
    assert mask.sum() == pytest.approx(area * 180 * 100, rel=0.005)
    part = mask[40:260, 40:340]
    assert np.array_equal(part, part[::-1])
    assert np.array_equal(part, part[:, ::-1])


def test_the_inscribed_ellipse_touches_all_sides_of_the_box() -> None:
    mask = make("ellipse").segment(noise(), (10, 8, 40, 30))
    rows, columns = np.nonzero(mask)
    assert (columns.min(), rows.min(), columns.max(), rows.max()) == (10, 8, 40, 30)
