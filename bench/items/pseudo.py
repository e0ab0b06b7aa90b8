"""Pseudo-masks of V for one seed: the broad region of every image prompts the segmenter (paper, section II-C)."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from PIL import Image

from bench.boxes import CORNERS
from bench.data.images import ORIGINALS, STORE, read_original, read_table, resize_mask
from bench.files import write_json
from bench.precision import of_item
from bench.progress import track
from bench.prompting import Prompt
from bench.prompting.kinds import make_segmenter
from bench.schema import SamSizes
from bench.weights import weights_folder

EMBEDDINGS = Path(".bench/embeddings")


def run(settings: dict[str, Any], inputs: dict[str, Path], out: Path) -> None:
    """Fill `out`: store.npy uint8 0/1 (n, S, S) in the index's order, original/<id>.png, log.csv, segmenter.json.

    Rows of the store outside V, and of V without a region, are zero. log.csv: id, usable (the image takes part in
    training), share (of foreground). settings: the pseudo block (its checkpoint is an input), sizes (of the variant
    phantom, else None), device, threads, auto_precision, image_size; what only SAM goes by stands aside for the others.
    inputs: index, originals, boxes (id and corners), and checkpoint when it is no official one.
    """
    precision = of_item(settings["precision"], settings)
    if settings["segmenter"] == "sam":
        from bench.runtime import context

        context(settings["device"], settings["threads"], precision)
    segmenter = make_segmenter(
        settings["segmenter"],
        variant=settings["variant"],
        checkpoint=inputs.get("checkpoint"),
        weights=weights_folder(),
        device=settings["device"],
        precision=precision,
        sizes=SamSizes.model_validate(settings["sizes"]) if settings["sizes"] else None,
        cache=EMBEDDINGS if settings["embedding_cache"] else None,
        processes=settings["threads"],
    )
    index, boxes = read_table(inputs["index"]), read_table(inputs["boxes"])
    position = {image_id: row for row, image_id in enumerate(index["id"])}
    size = settings["image_size"]
    store = np.zeros((len(index), size, size), np.uint8)
    (out / ORIGINALS).mkdir()
    log = []
    has_roi = boxes[[*CORNERS]].notna().all(axis=1)
    masks = segmenter.segment_all(_prompts(boxes.loc[has_roi], inputs["originals"]))
    for image_id, found in track(list(zip(boxes["id"], has_roi, strict=True)), f"pseudo-masks by {segmenter.name}"):
        mask = next(masks) if found else np.zeros(read_original(inputs["originals"], image_id).shape[:2], bool)
        store[position[image_id]] = resize_mask(mask, size)
        Image.fromarray(mask).save(out / ORIGINALS / f"{image_id}.png")
        log.append((image_id, found or settings["without_roi"] == "background", float(mask.mean())))
    np.save(out / STORE, store)
    pd.DataFrame(log, columns=["id", "usable", "share"]).to_csv(out / "log.csv", index=False)
    write_json(out / "segmenter.json", {"name": segmenter.name, "fallbacks": getattr(segmenter, "fallbacks", 0)})


def _prompts(regions: pd.DataFrame, originals: Path) -> Iterator[Prompt]:
    """Every image with its broad region, read when its turn comes."""
    for image_id, *corners in regions[["id", *CORNERS]].itertuples(index=False, name=None):
        x_min, y_min, x_max, y_max = (int(corner) for corner in corners)
        yield read_original(originals, image_id), (x_min, y_min, x_max, y_max)
