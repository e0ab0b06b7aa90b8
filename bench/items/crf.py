"""Pseudo-masks of V from one method's CAMs, one seed: threshold and DenseCRF at the original size (METHOD 5.3)."""

from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from bench.crf_pool import Work, refine_all
from bench.data.images import ORIGINALS, STORE, read_table, resize_mask
from bench.progress import say, track


def run(settings: dict[str, Any], inputs: dict[str, Path], out: Path) -> None:
    """Fill `out`: store.npy uint8 0/1 (n, S, S) in the index's order, original/<id>.png (1 bit), log.csv.

    Rows of the store outside V are zero. log.csv, in V's order: id, usable (always true), threshold, share_before
    and share (of foreground, before and after the CRF), empty_crf (nothing was left, so the thresholded CAM stays).
    settings: parameters, threshold ("otsu" or a number), image_size, and aside threads (as many processes).
    inputs: index, originals, cams (a folder that the item of bench.items.cams made).
    """
    index, ids = read_table(inputs["index"]), list(read_table(inputs["cams"] / "ids.csv")["id"])
    position = {image_id: row for row, image_id in enumerate(index["id"])}
    size = settings["image_size"]
    store = np.zeros((len(index), size, size), np.uint8)
    (out / ORIGINALS).mkdir()
    work = Work(
        cams=inputs["cams"] / "cams.npy",
        originals=inputs["originals"],
        masks=out / ORIGINALS,
        parameters=settings["parameters"],
        threshold=settings["threshold"],
    )
    log = []
    results = track(refine_all(work, ids, settings["threads"]), "DenseCRF", total=len(ids))
    for image_id, result in zip(ids, results, strict=True):
        store[position[image_id]] = resize_mask(result.mask, size)
        log.append((image_id, True, result.threshold, result.share_before, result.share, result.empty_crf))
    np.save(out / STORE, store)
    table = pd.DataFrame(log, columns=["id", "usable", "threshold", "share_before", "share", "empty_crf"])
    table.to_csv(out / "log.csv", index=False)
    say(
        f"foreground {table['share_before'].mean():.1%} of the image before the CRF, {table['share'].mean():.1%} after;"
        f" {table['empty_crf'].sum()} of {len(table)} images kept their CAM's mask"
    )
