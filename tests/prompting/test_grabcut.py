"""GrabCut: better than the shapes it starts from, and how good on real tumours."""

import io
import os
import zipfile
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from bench.prompting import Box
from bench.prompting.grabcut import GrabCutSegmenter
from bench.prompting.shapes import BoxSegmenter, EllipseSegmenter

SIDE = 256


def iou(one: np.ndarray, other: np.ndarray) -> float:
    return float((one & other).sum() / (one | other).sum())


def box_of(mask: np.ndarray) -> Box:
    rows, columns = np.nonzero(mask)
    return int(columns.min()), int(rows.min()), int(columns.max()), int(rows.max())


def lesion(seed: int) -> tuple[np.ndarray, np.ndarray]:
    """A dark lobed blob under speckle: image uint8 (160, 200, 3), mask bool (160, 200)."""
    rng = np.random.default_rng(seed)
    rows, columns = np.mgrid[:160, :200]
    angle = np.arctan2(rows - 80, columns - 100)
    lobes = 1 + 0.3 * np.cos(3 * angle + rng.uniform(0, 6)) + 0.12 * np.sin(5 * angle + rng.uniform(0, 6))
    mask = np.hypot(rows - 80, columns - 100) <= 34 * lobes
    grey = np.where(mask, 45.0, 125.0) * rng.gamma(8.0, 1 / 8.0, mask.shape)
    image = np.repeat(np.clip(grey, 0, 255).astype(np.uint8)[..., None], 3, axis=2)
    return image, mask


@pytest.mark.parametrize("seed", range(4))
def test_an_irregular_lesion_is_followed_better_than_by_the_ellipse(seed: int) -> None:
    image, mask = lesion(seed)
    box = box_of(mask)
    found = iou(GrabCutSegmenter().segment(image, box), mask)
    assert found > iou(EllipseSegmenter().segment(image, box), mask) + 0.1
    assert found > 0.8


def test_masks_do_not_depend_on_earlier_calls_or_on_the_generator() -> None:
    import cv2

    image, mask = lesion(0)
    segmenter = GrabCutSegmenter()
    first = segmenter.segment(image, box_of(mask))
    segmenter.segment(lesion(1)[0], (20, 20, 90, 90))
    cv2.setRNGSeed(12345)
    assert np.array_equal(segmenter.segment(image, box_of(mask)), first)


def test_the_mask_is_one_component() -> None:
    import cv2

    image = np.random.default_rng(0).integers(0, 256, (80, 80, 3), dtype=np.uint8)
    mask = GrabCutSegmenter().segment(image, (20, 20, 60, 60))
    assert cv2.connectedComponents(mask.astype(np.uint8))[0] == 2


def test_a_box_that_leaves_no_background_is_counted() -> None:
    segmenter = GrabCutSegmenter()
    image = np.zeros((1, 9, 3), dtype=np.uint8)
    assert segmenter.segment(image, (2, 0, 4, 0)).any()
    assert segmenter.fallbacks == 0
    assert segmenter.segment(image, (0, 0, 8, 0)).all()
    assert segmenter.fallbacks == 1


def busi(count: int) -> list[tuple[np.ndarray, np.ndarray]]:
    """About `count` tumours spread over BUSI: images uint8 (256, 256, 3), masks bool (256, 256)."""
    place = os.environ.get("BUSI_ZIP")
    if not place:
        pytest.skip("BUSI_ZIP does not name the BUSI archive")
    cases = []
    with zipfile.ZipFile(Path(place)) as archive:
        names = sorted(name for name in archive.namelist() if name.endswith(").png") and "/normal/" not in name)
        for name in names[:: len(names) // count]:
            image = Image.open(io.BytesIO(archive.read(name))).convert("RGB")
            mask = Image.open(io.BytesIO(archive.read(name.removesuffix(".png") + "_mask.png"))).convert("L")
            cases.append(
                (
                    np.asarray(image.resize((SIDE, SIDE), Image.Resampling.BILINEAR)),
                    np.asarray(mask.resize((SIDE, SIDE), Image.Resampling.NEAREST)) > 0,
                )
            )
    return cases


def jittered(box: Box, rng: np.random.Generator) -> Box:
    """The box with every edge moved by up to 20 % of its side."""
    width, height = box[2] - box[0] + 1, box[3] - box[1] + 1
    edges = np.asarray(box) + rng.uniform(-0.2, 0.2, 4) * (width, height, width, height)
    x_min, y_min, x_max, y_max = np.clip(np.rint(edges), 0, SIDE - 1).astype(int).tolist()
    return x_min, y_min, x_max, y_max


@pytest.mark.busi
def test_real_tumours_are_found_as_well_as_measured() -> None:
    cases = busi(60)
    rng = np.random.default_rng(0)
    boxes = [box_of(mask) for _, mask in cases]
    loose = [jittered(box, rng) for box in boxes]

    def mean(segmenter: GrabCutSegmenter | EllipseSegmenter | BoxSegmenter, prompts: list[Box]) -> float:
        pairs = zip(cases, prompts, strict=True)
        return float(np.mean([iou(segmenter.segment(image, box), mask) for (image, mask), box in pairs]))

    grabcut = GrabCutSegmenter()
    true_boxes, loose_boxes = mean(grabcut, boxes), mean(grabcut, loose)
    print(f"GrabCut on {len(cases)} BUSI tumours: true boxes {true_boxes:.3f}, jittered {loose_boxes:.3f}")
    assert true_boxes >= 0.74
    assert true_boxes > mean(BoxSegmenter(), boxes)
    assert loose_boxes > mean(EllipseSegmenter(), loose)
    assert grabcut.fallbacks == 0


def test_two_processes_give_the_same_masks_and_fallbacks_as_one() -> None:
    prompts = [(lesion(seed)[0], box_of(lesion(seed)[1])) for seed in range(3)]
    prompts.append((np.zeros((1, 9, 3), dtype=np.uint8), (0, 0, 8, 0)))
    one, two = GrabCutSegmenter(), GrabCutSegmenter(processes=2)
    for alone, spread in zip(one.segment_all(prompts), two.segment_all(iter(prompts)), strict=True):
        assert np.array_equal(alone, spread)
    assert one.fallbacks == two.fallbacks == 1
