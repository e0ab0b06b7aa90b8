"""Algorithm 1 on the CAMs of V: regions of interest, and the subsets L and U (paper, section II-B)."""

from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from bench.boxes import CORNERS, boxes_csv
from bench.data.images import INDEX, read_table
from bench.files import replacing_folder, write_json
from bench.paths import BOXES, Paths
from bench.progress import say, track
from bench.schema import Select
from bench.selection import Roi, Stability, choose, stability
from bench.settings import Settings


def run(paths: Paths, settings: Settings) -> None:
    """Write <run>.csv (one line an image of V), boxes/<run>.csv (its broad ones) and <run>.json (counts) for each."""
    index = read_table(paths.images / INDEX)
    with replacing_folder(paths.selection) as out:
        (out / BOXES).mkdir()
        for seeds in settings.seeds.runs:
            folder = paths.cams / settings.select.cams / seeds.name
            table, rule = select(folder, index, settings.select, settings.train.common.optimisation.batch_size)
            table.to_csv(out / f"{seeds.name}.csv", index=False)
            (out / BOXES / f"{seeds.name}.csv").write_text(boxes_csv(table), encoding="utf-8")
            summary = summarise(table, settings.select, rule)
            write_json(out / f"{seeds.name}.json", summary)
            say(f"{seeds.name}: {summary['selected']} of {summary['images']} images in L; {summary['made_by']}")


def select(cams: Path, index: pd.DataFrame, options: Select, batch_size: int) -> tuple[pd.DataFrame, str]:
    """Algorithm 1 for every CAM of a folder: one line an image with T1, T2, both boxes, IoU, selected and reason.

    The second value is the rule that made L, "none" when L is too small to train on.
    """
    maps = np.load(cams / "cams.npy", mmap_mode="r")
    return select_maps(maps, read_table(cams / "ids.csv").merge(index, on="id"), options, batch_size)


def select_maps(maps: np.ndarray, wanted: pd.DataFrame, options: Select, batch_size: int) -> tuple[pd.DataFrame, str]:
    """As `select`, of maps (n, h, w) of the images `wanted`: id, category, width, height."""
    results = [
        stability(maps[row], (width, height), options.alpha1, options.alpha2, options.upper_level)
        for row, (width, height) in enumerate(
            track(list(zip(wanted["width"], wanted["height"], strict=True)), "Algorithm 1")
        )
    ]
    selection = choose(
        list(wanted["id"]),
        results,
        rule=options.rule,
        iou_threshold=options.iou_threshold,
        top_fraction=options.top_fraction,
        fallback=options.fallback,
        batch_size=batch_size,
    )
    table = pd.DataFrame([_line(result) for result in results])
    table.insert(0, "category", wanted["category"])
    table.insert(0, "id", wanted["id"])
    table["selected"], table["reason"] = selection.selected, selection.reasons
    return table, selection.rule


def _line(result: Stability) -> dict[str, Any]:
    return {"T1": result.broad.level, "T2": result.narrow.level} | {
        **_corners(result.broad, ""),
        **_corners(result.narrow, "narrow_"),
        "iou": result.iou,
    }


def _corners(roi: Roi, prefix: str) -> dict[str, int | None]:
    return {f"{prefix}{name}": value for name, value in zip(CORNERS, roi.box or (None,) * 4, strict=True)}


def _rules_tried(options: Select, threshold: str, ranked: str) -> str:
    if options.rule == "top_fraction":
        return ranked
    return threshold if options.fallback == "none" else f"{threshold}, then {ranked}"


def summarise(table: pd.DataFrame, options: Select, rule: str) -> dict[str, Any]:
    """What Table I prints of the selection: the rule in words, and the counts by reason."""
    threshold = f"box IoU > {options.iou_threshold} at alpha {options.alpha1:g} % / {options.alpha2:g} %"
    ranked = (
        f"the {100 * options.top_fraction:.4g} % most stable images (box IoU at alpha {options.alpha1:g} % / "
        f"{options.alpha2:g} %)"
    )
    made_by = {
        "threshold": f"L made by threshold: {threshold}",
        "top_fraction": f"L made by rank: {ranked}",
        "none": f"L is smaller than one batch ({_rules_tried(options, threshold, ranked)}); "
        "the rows that need L are not runnable",
    }[rule]
    if rule == "top_fraction" and table["selected"].sum() < round(options.top_fraction * len(table)):
        made_by += f", only {table['selected'].sum()} images because no more have both regions"
    if rule == "top_fraction" and options.rule == "threshold":
        made_by += f"; fallback, because {threshold} gives fewer images than one batch"
    return {
        "rule": rule,
        "made_by": made_by,
        "images": len(table),
        "selected": int(table["selected"].sum()),
        "above_threshold": int((table["iou"] > options.iou_threshold).sum()),
        "equal_levels": int((table["T1"] == table["T2"]).sum()),
        "reasons": {str(reason): int(count) for reason, count in table["reason"].value_counts().items()},
    }
