"""Raw data set -> images and masks: formats, sizes and order."""

from pathlib import Path

import cv2
import numpy as np
import pandas as pd
import pytest
from PIL import Image

from bench.data.decode import read_mask
from bench.data.images import read_original, read_rows
from bench.data.masks import read_original_mask
from bench.data.prepare import write_images, write_masks
from bench.errors import UserError

SIZE = 32
# In the order in which the stores hold them: by class, then by number.
IDS = ["benign (2)", "benign (10)", "malignant (1)", "normal (1)"]
SIZES = {"benign (2)": (60, 40), "benign (10)": (40, 90), "malignant (1)": (33, 64), "normal (1)": (50, 50)}


def left_half(image_id: str) -> np.ndarray:
    width, height = SIZES[image_id]
    return np.arange(width)[None].repeat(height, 0) < width // 2


@pytest.fixture
def raw(tmp_path: Path) -> Path:
    """Four images of several modes and shapes: "benign (2)" has two masks, "benign (10)" an RGBA mask."""
    for position, image_id in enumerate(IDS):
        category = image_id.split(" ")[0]
        (tmp_path / category).mkdir(exist_ok=True)
        width, height = SIZES[image_id]
        mode = ("L", "RGB", "RGBA", "L")[position]
        Image.new("L", (width, height), 50 * position + 20).convert(mode).save(tmp_path / category / f"{image_id}.png")
        mask = left_half(image_id) if category != "normal" else np.zeros((height, width), bool)
        Image.fromarray(mask).convert(("1", "RGBA", "1", "RGB")[position]).save(
            tmp_path / category / f"{image_id}_mask.png"
        )
    second = np.zeros((40, 60), bool)
    second[:4, 50:] = True
    Image.fromarray(second).save(tmp_path / "benign" / "benign (2)_mask_1.png")
    return tmp_path


@pytest.fixture
def images(raw: Path) -> Path:
    out = raw / "images"
    out.mkdir()
    write_images(raw, out, SIZE)
    return out


@pytest.fixture
def masks(raw: Path) -> Path:
    out = raw / "masks"
    out.mkdir()
    write_masks(raw, out, SIZE)
    return out


def test_the_index_lists_images_by_class_and_number(images):
    index = pd.read_csv(images / "index.csv")
    assert index.columns.tolist() == ["id", "category", "label", "width", "height"]
    assert index["id"].tolist() == IDS
    assert index["category"].tolist() == ["benign", "benign", "malignant", "normal"]
    assert index["label"].tolist() == [1, 1, 1, 0]
    assert list(zip(index["width"], index["height"], strict=True)) == list(SIZES.values())


def test_images_are_stored_grey_and_square_in_the_order_of_the_index(images):
    store = np.load(images / "store.npy")
    assert (store.dtype, store.shape) == (np.uint8, (4, SIZE, SIZE))
    assert [set(np.unique(image)) for image in store] == [{20}, {70}, {120}, {170}]
    assert read_rows(images / "store.npy", np.array([3, 0]))[:, 0, 0].tolist() == [170, 20]


def test_colours_become_grey_by_luminance(raw, tmp_path):
    Image.new("RGB", (60, 40), (255, 0, 0)).save(raw / "benign" / "benign (2).png")
    out = tmp_path / "out"
    out.mkdir()
    write_images(raw, out, SIZE)
    assert set(np.unique(np.load(out / "store.npy")[0])) == {76}  # 0.299 * 255


def test_shrinking_an_image_averages_its_pixels(raw, tmp_path):
    stripes = np.zeros((320, 320), np.uint8)
    stripes[::2] = 200
    Image.fromarray(stripes).save(raw / "benign" / "benign (2).png")
    out = tmp_path / "out"
    out.mkdir()
    write_images(raw, out, SIZE)
    assert np.load(out / "store.npy")[0].astype(float) == pytest.approx(100, abs=5)


def test_originals_are_copied_unchanged(raw, images):
    for image_id in IDS:
        category = image_id.split(" ")[0]
        copy = images / "original" / f"{image_id}.png"
        assert copy.read_bytes() == (raw / category / f"{image_id}.png").read_bytes()
    assert read_original(images / "original", "malignant (1)").shape == (64, 33, 3)
    assert len(list((images / "original").iterdir())) == 4


def test_no_mask_reaches_the_images_folder(images):
    assert not [file for file in images.rglob("*") if "mask" in file.name]


def test_masks_are_stored_as_zero_and_one_in_the_order_of_the_index(masks):
    store = np.load(masks / "store.npy")
    assert (store.dtype, store.shape) == (np.uint8, (4, SIZE, SIZE))
    assert set(np.unique(store)) == {0, 1}
    expected = [left_half(image_id).astype(np.uint8) for image_id in IDS[:3]]
    expected[0][:4, 50:] = 1
    for position, mask in enumerate(expected):
        resized = cv2.resize(mask, (SIZE, SIZE), interpolation=cv2.INTER_NEAREST_EXACT)
        assert np.array_equal(store[position], resized)
    assert store[3].sum() == 0


def test_original_masks_are_joined_at_their_own_size(masks):
    joined = left_half("benign (2)")
    joined[:4, 50:] = True
    assert np.array_equal(read_original_mask(masks, "benign (2)"), joined)
    assert np.array_equal(read_original_mask(masks, "benign (10)"), left_half("benign (10)"))
    assert read_mask(masks / "original" / "malignant (1).png").shape == (64, 33)


def test_the_masks_of_every_image_are_counted(masks):
    counts = pd.read_csv(masks / "counts.csv")
    assert counts["id"].tolist() == IDS
    assert counts["category"].tolist() == [image_id.split(" ")[0] for image_id in IDS]
    assert counts["masks"].tolist() == [2, 1, 1, 1]


def test_normal_images_have_no_original_mask(masks):
    assert sorted(file.stem for file in (masks / "original").iterdir()) == sorted(IDS[:3])


def test_the_mask_of_another_number_is_not_taken(raw, tmp_path):
    """ "benign (1)" must not find "benign (10)_mask.png"."""
    Image.new("L", (60, 40)).save(raw / "benign" / "benign (1).png")
    (tmp_path / "out").mkdir()
    with pytest.raises(UserError, match=r"benign \(1\)\.png has no mask"):
        write_masks(raw, tmp_path / "out", SIZE)


@pytest.mark.parametrize("image_id", ["malignant (1)", "normal (1)"])
def test_a_missing_mask_is_named(raw, tmp_path, image_id):
    (raw / image_id.split(" ")[0] / f"{image_id}_mask.png").unlink()
    (tmp_path / "out").mkdir()
    with pytest.raises(UserError, match="has no mask beside it") as caught:
        write_masks(raw, tmp_path / "out", SIZE)
    assert image_id in str(caught.value)


def test_a_folder_without_images_is_refused(tmp_path):
    with pytest.raises(UserError, match="holds no images"):
        write_images(tmp_path, tmp_path, SIZE)
