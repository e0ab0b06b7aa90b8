"""DenseCRF at the original size with two processes against one, through the function that the stage uses."""

import os
import tempfile
import zipfile
from collections import deque
from pathlib import Path

import cv2
import numpy as np
from PIL import Image

from bench.benchmarks.timing import Comparison, seconds
from bench.crf_pool import Work, refine_all
from bench.data.images import INDEX, ORIGINALS, read_table
from bench.data.phantom import render
from bench.errors import UserError
from bench.paths import Paths
from bench.progress import track

PREPARED = Paths("busi-small").images
# As many as the paper's training set has tumours.
TUMOURS = 518
TYPICAL_SIZE = (560, 500)  # width, height of a BUSI image
CAM_SIZE = 128


def measure(images: int | None) -> list[Comparison]:
    """Time both ways over `images` tumours (518 when None): of a prepared BUSI, of BUSI_ZIP, or else of phantoms."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        kind, originals, ids = _images(folder / ORIGINALS, images or TUMOURS)
        np.save(folder / "cams.npy", _blobs(len(ids)))
        times = {processes: _time(folder, originals, ids, processes) for processes in (1, 2)}
    return [Comparison(f"DenseCRF, {len(ids)} {kind}", "1 process", times[1], "2 processes", times[2])]


def _images(out: Path, count: int) -> tuple[str, Path, list[str]]:
    """What they are, their folder (`out`, filled, unless BUSI lies prepared) and the ids of `count` tumour images."""
    if (PREPARED / INDEX).is_file():
        index = read_table(PREPARED / INDEX)
        return "BUSI images", PREPARED / ORIGINALS, list(index["id"][index["label"] == 1][:count])
    out.mkdir()
    archive = os.environ.get("BUSI_ZIP")
    if archive:
        return "BUSI images", out, _from_archive(Path(archive), out, count)
    return "phantoms", out, _phantoms(out, count)


def _time(folder: Path, originals: Path, ids: list[str], processes: int) -> float:
    masks = folder / f"masks-{processes}"
    masks.mkdir()
    work = Work(folder / "cams.npy", originals, masks, "irn_label", 0.15)
    results = track(refine_all(work, ids, processes), f"DenseCRF, processes: {processes}", total=len(ids))
    return seconds(lambda: deque(results, maxlen=0))


def _from_archive(archive: Path, out: Path, count: int) -> list[str]:
    """Write the first `count` tumour images of BUSI's archive or unpacked folder as <id>.png; their ids."""
    if archive.is_dir():
        files = sorted(file for file in archive.rglob("*).png") if file.parent.name != "normal")[:count]
        for file in files:
            (out / file.name).write_bytes(file.read_bytes())
        return [file.stem for file in files]
    try:
        with zipfile.ZipFile(archive) as opened:
            names = sorted(name for name in opened.namelist() if name.endswith(").png") and "/normal/" not in name)
            for name in names[:count]:
                (out / Path(name).name).write_bytes(opened.read(name))
    except (OSError, zipfile.BadZipFile) as error:
        raise UserError(f"BUSI_ZIP: {archive} is not a readable ZIP archive") from error
    return [Path(name).stem for name in names[:count]]


def _phantoms(out: Path, count: int) -> list[str]:
    """Write `count` phantoms, enlarged to the typical size of BUSI's images, as <id>.png; their ids."""
    ids = [f"benign ({number})" for number in range(1, count + 1)]
    for number, image_id in enumerate(track(ids, "phantoms")):
        image = cv2.resize(render("benign", number, 0).image, TYPICAL_SIZE, interpolation=cv2.INTER_CUBIC)
        Image.fromarray(image).save(out / f"{image_id}.png")
    return ids


def _blobs(count: int) -> np.ndarray:
    """CAMs of one round blob each, float16 (count, S, S) in [0, 1]."""
    rng = np.random.default_rng(0)
    rows, columns = np.mgrid[:CAM_SIZE, :CAM_SIZE]
    y, x = rng.uniform(0.3 * CAM_SIZE, 0.7 * CAM_SIZE, (2, count, 1, 1))
    width = rng.uniform(0.08 * CAM_SIZE, 0.2 * CAM_SIZE, (count, 1, 1))
    blobs: np.ndarray = np.exp(-((rows - y) ** 2 + (columns - x) ** 2) / (2 * width**2)).astype(np.float16)
    return blobs
