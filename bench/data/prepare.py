"""Raw data set -> a folder of images and labels, and another of masks. The mask firewall begins here."""

from pathlib import Path

import numpy as np
import pandas as pd
from PIL import Image

from bench.data.decode import read_rgb
from bench.data.images import INDEX, ORIGINALS, STORE, resize_mask
from bench.data.masks import COUNTS
from bench.data.raw import image_files, joined, mask_files
from bench.progress import track


def write_images(raw: Path, out: Path, size: int) -> None:
    """Fill `out` with index.csv (id, category, label, width, height), store.npy and original/<id>.png.

    The store is uint8 (n, size, size): grey by ITU-R 601, bilinear with anti-aliasing, aspect ratio not kept
    (METHOD 10c). label is 1 for tumour (benign, malignant) and 0 for normal. Originals are copied unchanged.
    """
    files = image_files(raw)
    (out / ORIGINALS).mkdir()
    store = np.empty((len(files), size, size), np.uint8)
    rows = []
    for position, file in enumerate(track(files, "prepare: images")):
        image = Image.fromarray(read_rgb(file))
        store[position] = np.asarray(image.convert("L").resize((size, size), Image.Resampling.BILINEAR))
        category = file.parent.name
        rows.append((file.stem, category, int(category != "normal"), image.width, image.height))
        (out / ORIGINALS / file.name).write_bytes(file.read_bytes())
    np.save(out / STORE, store)
    pd.DataFrame(rows, columns=["id", "category", "label", "width", "height"]).to_csv(out / INDEX, index=False)


def write_masks(raw: Path, out: Path, size: int) -> None:
    """Fill `out` with store.npy, uint8 0/1 (n, size, size) in the images' order, original/<id>.png and counts.csv.

    counts.csv: id, category and masks, the number of masks that were joined. Originals are written for tumour images
    only; normal images are never segmented nor evaluated.
    """
    files = image_files(raw)
    masks = mask_files(files)
    (out / ORIGINALS).mkdir()
    store = np.empty((len(files), size, size), np.uint8)
    counts = []
    for position, file in enumerate(track(files, "prepare: masks")):
        mask = joined(masks[position])
        counts.append((file.stem, file.parent.name, len(masks[position])))
        store[position] = resize_mask(mask, size)
        if file.parent.name != "normal":
            Image.fromarray(mask).save(out / ORIGINALS / file.name)
    np.save(out / STORE, store)
    pd.DataFrame(counts, columns=["id", "category", "masks"]).to_csv(out / COUNTS, index=False)
