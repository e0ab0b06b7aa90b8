"""Pseudo-masks of V for one seed: the broad region of every image prompts the segmenter (paper, section II-C)."""

from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from PIL import Image

from bench.data.images import ORIGINALS, STORE, read_original, read_table, resize_mask
from bench.files import write_json
from bench.progress import track
from bench.prompting import make_segmenter
from bench.selection import CORNERS
from bench.weights import weights_folder


def run(settings: dict[str, Any], inputs: dict[str, Path], out: Path) -> None:
    """Fill `out`: store.npy uint8 0/1 (n, S, S) in the index's order, original/<id>.png, log.csv, segmenter.json.

    Rows of the store outside V, and of V without a region, are zero. log.csv: id, usable (the image takes part in
    training), share (of foreground). settings: segmenter, variant, without_roi, device, image_size.
    inputs: index, originals, selection, and checkpoint when the settings name a file of their own.
    """
    if settings["segmenter"] == "sam":
        from bench.runtime import context

        context(settings["device"], settings["threads"], "fp32")
    segmenter = make_segmenter(
        settings["segmenter"],
        variant=settings["variant"],
        checkpoint=inputs.get("checkpoint"),
        weights=weights_folder(),
        device=settings["device"],
    )
    index, selection = read_table(inputs["index"]), read_table(inputs["selection"])
    position = {image_id: row for row, image_id in enumerate(index["id"])}
    size = settings["image_size"]
    store = np.zeros((len(index), size, size), np.uint8)
    (out / ORIGINALS).mkdir()
    log = []
    for image_id, *corners in track(
        list(selection[["id", *CORNERS]].itertuples(index=False, name=None)), f"pseudo-masks by {segmenter.name}"
    ):
        image = read_original(inputs["originals"], image_id)
        has_roi = bool(np.isfinite(corners).all())
        mask = np.zeros(image.shape[:2], bool)
        if has_roi:
            x_min, y_min, x_max, y_max = (int(corner) for corner in corners)
            mask = segmenter.segment(image, (x_min, y_min, x_max, y_max))
        store[position[image_id]] = resize_mask(mask, size)
        Image.fromarray(mask).save(out / ORIGINALS / f"{image_id}.png")
        log.append((image_id, has_roi or settings["without_roi"] == "background", float(mask.mean())))
    np.save(out / STORE, store)
    pd.DataFrame(log, columns=["id", "usable", "share"]).to_csv(out / "log.csv", index=False)
    write_json(out / "segmenter.json", {"name": segmenter.name, "fallbacks": getattr(segmenter, "fallbacks", 0)})
