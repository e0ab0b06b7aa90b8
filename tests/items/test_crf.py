"""The item of DenseCRF: the same files from any number of processes, and what becomes of odd images."""

from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pandas as pd
import pytest
from PIL import Image

from bench import crf_pool
from bench.crf import threshold_mask
from bench.engine import run_items
from bench.errors import UserError
from bench.items.crf import run
from bench.schema import Engine
from bench.store import Item, Store
from tests.items.dying import end_at_once

SIZE = 32
SIZES = {"benign (2)": (50, 40), "benign (1)": (40, 44), "malignant (1)": (36, 60)}  # width, height


def bright(shape: tuple[int, int]) -> np.ndarray:
    """Where an image is bright; the CAM marks three quarters of it."""
    rows, columns = np.mgrid[: shape[0], : shape[1]]
    return (abs(rows / shape[0] - 0.44) < 0.22) & (abs(columns / shape[1] - 0.41) < 0.18)


@pytest.fixture
def inputs(tmp_path: Path) -> dict[str, Path]:
    """Images of three tumours and a normal breast; CAMs of the tumours in an order that is not the index's."""
    rng = np.random.default_rng(0)
    originals, cams = tmp_path / "original", tmp_path / "cams"
    originals.mkdir()
    cams.mkdir()
    for image_id, (width, height) in {**SIZES, "normal (1)": (40, 40)}.items():
        image = rng.integers(58, 62, (height, width, 3), np.uint8)
        image[bright((height, width))] += 110
        Image.fromarray(image).save(originals / f"{image_id}.png")
    pd.DataFrame({"id": ["benign (1)", "benign (2)", "malignant (1)", "normal (1)"]}).to_csv(
        tmp_path / "index.csv", index=False
    )
    maps = np.zeros((len(SIZES), SIZE, SIZE), np.float16)
    maps[:, 8:20, 8:18] = rng.uniform(0.3, 1, (len(SIZES), 12, 10))
    np.save(cams / "cams.npy", maps)
    pd.DataFrame({"id": list(SIZES)}).to_csv(cams / "ids.csv", index=False)
    return {"index": tmp_path / "index.csv", "originals": originals, "cams": cams}


def settings(threads: int = 1, threshold: float | str = 0.15) -> dict[str, Any]:
    return {"parameters": "irn_label", "threshold": threshold, "image_size": SIZE, "threads": threads}


def computed(inputs: dict[str, Path], out: Path, **changes: Any) -> Path:
    out.mkdir()
    run(settings(**changes), inputs, out)
    return out


def contents(folder: Path) -> dict[str, bytes]:
    return {file.relative_to(folder).as_posix(): file.read_bytes() for file in folder.rglob("*") if file.is_file()}


@pytest.mark.parametrize("threshold", [0.15, "otsu"])
def test_two_processes_write_the_same_bytes_as_one(inputs, tmp_path, threshold):
    one = contents(computed(inputs, tmp_path / "one", threshold=threshold))
    assert one == contents(computed(inputs, tmp_path / "two", threshold=threshold, threads=2))
    assert sorted(one) == ["log.csv", *(f"original/{image_id}.png" for image_id in sorted(SIZES)), "store.npy"]


def test_masks_lie_in_the_indexs_order_and_at_the_original_size(inputs, tmp_path):
    out = computed(inputs, tmp_path / "out")
    store = np.load(out / "store.npy")
    assert store.dtype == np.uint8
    assert store.shape == (4, SIZE, SIZE)
    assert not store[3].any()
    for row, image_id in enumerate(["benign (1)", "benign (2)", "malignant (1)"]):
        image = Image.open(out / "original" / f"{image_id}.png")
        assert (image.mode, image.size) == ("1", SIZES[image_id])
        mask = np.asarray(image)
        truth = bright(mask.shape)
        assert (mask & truth).sum() / (mask | truth).sum() > 0.9
        small = cv2.resize(mask.astype(np.uint8), (SIZE, SIZE), interpolation=cv2.INTER_NEAREST_EXACT)
        assert np.array_equal(store[row], small)


def test_the_log_says_what_was_done(inputs, tmp_path, capsys):
    out = computed(inputs, tmp_path / "out")
    log = pd.read_csv(out / "log.csv")
    assert list(log) == ["id", "usable", "threshold", "share_before", "share", "empty_crf"]
    assert list(log["id"]) == list(SIZES)
    assert log["usable"].all()
    assert (log["threshold"] == 0.15).all()
    assert not log["empty_crf"].any()
    cams = np.load(inputs["cams"] / "cams.npy").astype(np.float32)
    for row, (image_id, size) in enumerate(SIZES.items()):
        cam = cv2.resize(cams[row], size, interpolation=cv2.INTER_LINEAR)
        assert log["share_before"][row] == pytest.approx((cam > 0.15).mean())
        mask = np.asarray(Image.open(out / "original" / f"{image_id}.png"))
        assert log["share"][row] == pytest.approx(mask.mean())
    (line,) = capsys.readouterr().out.splitlines()
    before, after = log["share_before"].mean(), log["share"].mean()
    assert f"{before:.1%}" in line
    assert f"{after:.1%}" in line
    assert "0 of 3 images kept" in line


def test_otsus_threshold_is_each_images_own(inputs, tmp_path):
    log = pd.read_csv(computed(inputs, tmp_path / "out", threshold="otsu") / "log.csv")
    assert log["threshold"].between(0.05, 0.95).all()
    assert log["threshold"].nunique() > 1


def test_an_image_that_the_crf_empties_keeps_its_cams_mask(inputs, tmp_path, capsys):
    """A few pixels in a flat image are smoothed away."""
    Image.fromarray(np.full((44, 40, 3), 90, np.uint8)).save(inputs["originals"] / "benign (1).png")
    maps = np.load(inputs["cams"] / "cams.npy")
    maps[1] = 0
    maps[1, 16, 16] = 1
    np.save(inputs["cams"] / "cams.npy", maps)
    out = computed(inputs, tmp_path / "out")
    log = pd.read_csv(out / "log.csv", index_col="id")
    assert log["empty_crf"].to_dict() == {"benign (2)": False, "benign (1)": True, "malignant (1)": False}
    cam = cv2.resize(maps[1].astype(np.float32), (40, 44), interpolation=cv2.INTER_LINEAR)
    mask = np.asarray(Image.open(out / "original" / "benign (1).png"))
    assert mask.any()
    assert np.array_equal(mask, threshold_mask(cam, 0.15))
    assert log["share"]["benign (1)"] == log["share_before"]["benign (1)"]
    assert "1 of 3 images kept" in capsys.readouterr().out


@pytest.mark.parametrize("threads", [1, 2])
def test_a_corrupt_image_is_named_and_nothing_is_left(inputs, tmp_path, threads):
    file = inputs["originals"] / "benign (1).png"
    file.write_bytes(file.read_bytes()[:60])
    item = Item("crf", "bench.items.crf:run", settings(threads=threads), inputs)
    store = Store(tmp_path / "runs")
    engine = Engine(kind="inline", device="cpu", threads=threads, gpus_per_item=1.0, checkpoint_seconds=0.0)
    with pytest.raises(UserError, match=r"benign \(1\)\.png is not a readable PNG") as caught:
        run_items([item], engine, store)
    assert "\n" not in str(caught.value)
    assert list(store.root.iterdir()) == []


def test_a_process_that_dies_is_a_user_error(inputs, tmp_path, monkeypatch):
    monkeypatch.setattr(crf_pool, "refine_one", end_at_once)
    with pytest.raises(UserError, match=r"died.*engine\.threads"):
        computed(inputs, tmp_path / "out", threads=2)
