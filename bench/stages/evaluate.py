"""Judge every row on X at the original size, and measure what the machinery learnt; reads masks."""

from pathlib import Path
from typing import Any

import pandas as pd

from bench.data import masks
from bench.data.images import INDEX, read_table
from bench.evaluation import (
    classifier_accuracy,
    judge_ellipse,
    judge_predictions,
    judge_pseudo_masks,
    peak_in_lesion,
)
from bench.files import replacing_folder, write_json
from bench.methods import FLOOR, gives
from bench.metrics import mean_scores
from bench.paths import Paths
from bench.progress import track
from bench.rows import NOT_RUNNABLE, ROWS, method_rows, oracle_rows, predictions
from bench.seeds import AXES, Seeds
from bench.settings import Settings


def run(paths: Paths, settings: Settings) -> None:
    """Write per_image.csv (row, the run's seeds, id, category, counts), pseudo.csv, and what each step learnt.

    diagnostics.json is about our method, methods.csv (one line a method and run) about the baselines' road;
    not_runnable.json lists the rows without results.
    """
    index, truth = read_table(paths.images / INDEX), masks.folder(paths)
    judged, pseudo, not_runnable, diagnostics, baselines = [], [], [], [], []
    ablation = [row for row in ROWS if row.id in settings.train.rows]
    rows = [*ablation, *method_rows(settings.cams), *oracle_rows(settings.oracle)]
    for seeds in settings.seeds.runs:
        for row in track(rows, f"evaluate {seeds.name}"):
            folder = predictions(paths, row, seeds)
            if (folder / NOT_RUNNABLE).is_file():
                reason = (folder / NOT_RUNNABLE).read_text(encoding="utf-8").strip()
                not_runnable.append({"row": row.id, **seeds.columns, "reason": reason})
            else:
                judged.append(judge_predictions(folder, truth, index).assign(row=row.id, **seeds.columns))
        split = read_table(paths.split(seeds.split))
        in_x = split.loc[(split["set"] == "K") & (split["category"] != "normal"), "id"]
        judged.append(judge_ellipse(list(in_x), truth, index).assign(row=FLOOR, **seeds.columns))
        selection = read_table(paths.selection / f"{seeds.name}.csv")
        pseudo.append(judge_pseudo_masks(paths.pseudo / seeds.name, selection, truth).assign(**seeds.columns))
        diagnostics.append({**seeds.columns, **_diagnostics(paths, settings, seeds, truth, pseudo[-1])})
        for method in track(list(settings.cams), f"diagnose {seeds.name}"):
            baselines.append({**seeds.columns, "method": method, **_road(paths, method, seeds, truth, index)})
    with replacing_folder(paths.evaluation) as out:
        _write(pd.concat(judged), ["row", *AXES], out / "per_image.csv")
        _write(pd.concat(pseudo), AXES, out / "pseudo.csv")
        pd.DataFrame(baselines).to_csv(out / "methods.csv", index=False)
        write_json(out / "not_runnable.json", not_runnable)
        write_json(out / "diagnostics.json", diagnostics)


def _write(table: pd.DataFrame, first: list[str], file: Path) -> None:
    table[[*first, *(name for name in table.columns if name not in first)]].to_csv(file, index=False)


def _diagnostics(paths: Paths, settings: Settings, seeds: Seeds, truth: Path, pseudo: pd.DataFrame) -> dict[str, Any]:
    """Percentages that show whether each step learnt; None where a subset is empty."""
    cams = paths.cams / settings.select.cams / seeds.name
    peaks = peak_in_lesion(cams, truth)
    in_l, in_u = pseudo[pseudo["selected"]], pseudo[~pseudo["selected"]]
    return {
        "classifier_accuracy_K": classifier_accuracy(cams),
        "cam_peak_in_lesion_V": float(100 * peaks.mean()),
        "pseudo_mask_iou_V": mean_scores(pseudo).tumor_iou,
        "pseudo_mask_iou_L": mean_scores(in_l).tumor_iou if len(in_l) else None,
        "pseudo_mask_iou_U": mean_scores(in_u).tumor_iou if len(in_u) else None,
    }


def _road(paths: Paths, method: str, seeds: Seeds, truth: Path, index: pd.DataFrame) -> dict[str, Any]:
    """What one method's road to pseudo-labels gave, in percent of pixels or images; shares before and after the CRF."""
    cams = paths.cams / method / seeds.name
    found: dict[str, Any] = {"classifier_accuracy_K": classifier_accuracy(cams)}
    if not gives(method, "cams"):
        return found
    labels = paths.crf / method / seeds.name
    log = read_table(labels / "log.csv")
    scores = mean_scores(judge_pseudo_masks(labels, log.merge(index, on="id"), truth))
    return found | {
        "cam_peak_in_lesion_V": float(100 * peak_in_lesion(cams, truth).mean()),
        "threshold": float(log["threshold"].mean()),
        "share_before_crf": float(100 * log["share_before"].mean()),
        "share_after_crf": float(100 * log["share"].mean()),
        "empty_crf_images": int(log["empty_crf"].sum()),
        "pseudo_label_iou_V": scores.tumor_iou,
    }
