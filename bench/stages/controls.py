"""Controls: rows on other selections than L, and what the segmenter makes of true boxes; reads masks (METHOD C)."""

from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from bench.controls import WHAT, inverted, oracle_subset, random_subset
from bench.data import masks
from bench.data.images import INDEX, STORE, read_table
from bench.evaluation import judge_pseudo_masks, true_box
from bench.files import read_json, replacing_folder, write_json
from bench.metrics import per_image_iou
from bench.noise import matched_sigma, smooth_noise
from bench.paths import ORACLE_BOX, Paths, seed_name
from bench.rows import Row, control_rows
from bench.seeding import seed_for
from bench.selection import CORNERS
from bench.settings import Settings
from bench.stages.common import run_and_lay_out
from bench.stages.pseudo import box_item
from bench.stages.select import select_maps, summarise
from bench.stages.training import train_rows

BOXES = "boxes"


def run(paths: Paths, settings: Settings) -> None:
    """Write controls/ (selections, true boxes of X and their masks) and predictions/controls/<row>/seed-<s>/."""
    index = read_table(paths.images / INDEX)
    with replacing_folder(paths.controls) as out:
        for seed in settings.seeds:
            for control in settings.controls.selections:
                (out / control).mkdir(exist_ok=True)
                table, summary = _selection(control, paths, settings, seed, index)
                table.to_csv(out / control / f"{seed_name(seed)}.csv", index=False)
                write_json(out / control / f"{seed_name(seed)}.json", summary)
            (out / BOXES).mkdir(exist_ok=True)
            _true_boxes(paths, seed).to_csv(out / BOXES / f"{seed_name(seed)}.csv", index=False)
    boxes = {seed: paths.controls / BOXES / f"{seed_name(seed)}.csv" for seed in settings.seeds}
    items = [
        (seed_name(seed), box_item(paths, settings, f"true boxes, {seed_name(seed)}", file))
        for seed, file in boxes.items()
    ]
    run_and_lay_out(items, settings.engine, paths.controls / ORACLE_BOX)

    def inputs_of(_row: Row, seed: int) -> dict[str, Path]:
        folder = paths.pseudo / seed_name(seed)
        return {"labels": folder / STORE, "usable": folder / "log.csv"}

    rows = control_rows(settings.controls.selections, settings.controls.rows)
    # DVC warns of outputs that are empty.
    notes = {} if rows else {"off.txt": "no row or no selection is listed under controls"}
    train_rows(paths, settings, rows, inputs_of, paths.predictions_controls, notes)


def _selection(
    control: str, paths: Paths, settings: Settings, seed: int, index: pd.DataFrame
) -> tuple[pd.DataFrame, dict[str, Any]]:
    """The table of one control and its summary, as the select stage writes them."""
    selection = read_table(paths.selection / f"{seed_name(seed)}.csv")
    if control == "noise_cam":
        cams = paths.cams / settings.select.cams / seed_name(seed)
        wanted = read_table(cams / "ids.csv").merge(index, on="id")
        maps = np.load(cams / "cams.npy", mmap_mode="r")
        options = settings.controls.noise
        sigma = matched_sigma(maps, options.sigmas, options.maps)
        noise = smooth_noise(np.random.default_rng(seed_for(control, seed)), len(maps), maps.shape[-1], sigma)
        table, rule = select_maps(noise, wanted, settings.select, settings.train.common.optimisation.batch_size)
        summary = summarise(table, settings.select, rule)
        return table, {**summary, "made_by": f"{WHAT[control]} (sigma {sigma:.3f}): {summary['made_by']}"}
    if control == "random_subset":
        table = random_subset(selection, seed)
    elif control == "inverted":
        table = inverted(selection)
    else:
        counts = judge_pseudo_masks(paths.pseudo / seed_name(seed), selection, masks.folder(paths))
        table = oracle_subset(selection, per_image_iou(counts)["tumor_iou"])
    original = read_json(paths.selection / f"{seed_name(seed)}.json")
    return table, {
        "rule": original["rule"],
        "made_by": original["made_by"] if original["rule"] == "none" else WHAT[control],
        "images": len(table),
        "selected": int(table["selected"].sum()),
        "reasons": {str(reason): int(count) for reason, count in table["reason"].value_counts().items()},
    }


def _true_boxes(paths: Paths, seed: int) -> pd.DataFrame:
    """id and corners of the box around all lesions of each image of X, empty without a lesion."""
    split = read_table(paths.splits / f"{seed_name(seed)}.csv")
    in_x = split.loc[(split["set"] == "K") & (split["category"] != "normal"), "id"]
    truth = masks.folder(paths)
    boxes = [true_box(masks.read_original_mask(truth, image_id)) or (None,) * 4 for image_id in in_x]
    return pd.DataFrame(boxes, columns=list(CORNERS)).assign(id=list(in_x))
