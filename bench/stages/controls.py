"""Controls: rows on other selections than L, and what the segmenter makes of true boxes; reads masks (METHOD C)."""

from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from bench.boxes import CORNERS, boxes_csv
from bench.controls import WHAT, inverted, oracle_subset, random_subset
from bench.data import masks
from bench.data.images import INDEX, STORE, read_table
from bench.evaluation import judge_pseudo_masks, true_box
from bench.files import read_json, replacing_folder, write_json
from bench.metrics import per_image_iou
from bench.noise import matched_sigma, smooth_noise
from bench.paths import BOXES, ORACLE_BOX, Paths
from bench.rows import Row, control_rows
from bench.seeding import seed_for
from bench.seeds import Seeds
from bench.settings import Settings
from bench.stages.pseudo import box_item
from bench.stages.select import select_maps, summarise
from bench.stages.training import run_or_note_gaps, train_rows


def run(paths: Paths, settings: Settings) -> None:
    """Write controls/ (selections, true boxes of X and their masks) and predictions/controls/<row>/<run>/.

    Masks and rows that are not finished where nothing may be computed are a file not_runnable.txt.
    """
    index = read_table(paths.images / INDEX)
    with replacing_folder(paths.controls) as out:
        for seeds in settings.seeds.runs:
            for control in settings.controls.selections:
                (out / control).mkdir(exist_ok=True)
                table, summary = _selection(control, paths, settings, seeds, index)
                table.to_csv(out / control / f"{seeds.name}.csv", index=False)
                write_json(out / control / f"{seeds.name}.json", summary)
            (out / BOXES).mkdir(exist_ok=True)
            boxes = boxes_csv(_true_boxes(paths, seeds))
            (out / BOXES / f"{seeds.name}.csv").write_text(boxes, encoding="utf-8")
    files = {seeds: paths.controls / BOXES / f"{seeds.name}.csv" for seeds in settings.seeds.runs}
    items = [
        (seeds.name, box_item(paths, settings, f"true boxes, {seeds.name}", file)) for seeds, file in files.items()
    ]
    run_or_note_gaps(items, settings.engine, paths.controls / ORACLE_BOX)

    def inputs_of(_row: Row, seeds: Seeds) -> dict[str, Path]:
        folder = paths.pseudo / seeds.name
        return {"labels": folder / STORE, "usable": folder / "log.csv"}

    rows = control_rows(settings.controls.selections, settings.controls.rows)
    # DVC warns of outputs that are empty.
    notes = {} if rows else {"off.txt": "no row or no selection is listed under controls"}
    train_rows(paths, settings, rows, inputs_of, paths.predictions_controls, notes)


def _selection(
    control: str, paths: Paths, settings: Settings, seeds: Seeds, index: pd.DataFrame
) -> tuple[pd.DataFrame, dict[str, Any]]:
    """The table of one control and its summary, as the select stage writes them."""
    selection = read_table(paths.selection / f"{seeds.name}.csv")
    original = read_json(paths.selection / f"{seeds.name}.json")
    if control == "noise_cam":
        cams = paths.cams / settings.select.cams / seeds.name
        wanted = read_table(cams / "ids.csv").merge(index, on="id")
        maps = np.load(cams / "cams.npy", mmap_mode="r")
        sigma = matched_sigma(maps, settings.controls.noise.sigmas, settings.controls.noise.maps)
        noise = smooth_noise(np.random.default_rng(seed_for(control, seeds.training)), len(maps), maps.shape[-1], sigma)
        # By the rule that made L, whatever number of images that is: no fallback of its own.
        made_as = {"rule": settings.select.rule}
        if original["rule"] == "top_fraction":
            # As many as L has, which is fewer than asked for where CAMs lack a region.
            made_as = {"rule": "top_fraction", "top_fraction": original["selected"] / original["images"]}
        options = settings.select.model_copy(update={**made_as, "fallback": "none"})
        table, rule = select_maps(noise, wanted, options, settings.train.common.optimisation.batch_size)
        summary = summarise(table, options, rule)
        return table, {**summary, "made_by": f"{WHAT[control]} (sigma {sigma:.3f}): {summary['made_by']}"}
    if control == "random_subset":
        table = random_subset(selection, seeds.training)
    elif control == "inverted":
        table = inverted(selection)
    else:
        counts = judge_pseudo_masks(paths.pseudo / seeds.name, selection, masks.folder(paths))
        table = oracle_subset(selection, per_image_iou(counts)["tumor_iou"])
    return table, {
        "rule": original["rule"],
        "made_by": original["made_by"] if original["rule"] == "none" else WHAT[control],
        "images": len(table),
        "selected": int(table["selected"].sum()),
        "reasons": {str(reason): int(count) for reason, count in table["reason"].value_counts().items()},
    }


def _true_boxes(paths: Paths, seeds: Seeds) -> pd.DataFrame:
    """id and corners of the box around all lesions of each image of X, empty without a lesion."""
    split = read_table(paths.split(seeds.split))
    in_x = split.loc[(split["set"] == "K") & (split["category"] != "normal"), "id"]
    truth = masks.folder(paths)
    boxes = [true_box(masks.read_original_mask(truth, image_id)) or (None,) * 4 for image_id in in_x]
    return pd.DataFrame(boxes, columns=list(CORNERS)).assign(id=list(in_x))
