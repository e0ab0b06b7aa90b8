"""Judge every row on X at the original size, and measure what each step and Algorithm 1 do; reads masks."""

from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from bench.data import masks
from bench.data.images import INDEX, read_table
from bench.evaluation import (
    classifier_accuracy,
    classifier_auc,
    judge_bounds,
    judge_predictions,
    judge_pseudo_masks,
    larger_class,
    peak_in_lesion,
    prompt_iou,
)
from bench.files import replacing_folder, write_json
from bench.methods import gives
from bench.metrics import mean_scores, per_image_iou
from bench.noise import PAPER_RULE, Rule, Size, box_ious, compact_blob, matched_sigma, smooth_noise, smoothness, sweep
from bench.paths import ORACLE_BOX, Paths
from bench.progress import track
from bench.rows import NOT_RUNNABLE, ROWS, control_rows, method_rows, oracle_rows, predictions
from bench.seeding import seed_for
from bench.seeds import AXES, Seeds
from bench.settings import Settings

# Pixels; the box IoU of the blob does not depend on it.
BLOB_SIDE = 256


def run(paths: Paths, settings: Settings) -> None:
    """Write per_image.csv (row, the run's seeds, id, category, counts), pseudo.csv, and what each step learnt.

    diagnostics.json is about our method, methods.csv (one line a method and run) about the baselines' road;
    not_runnable.json lists the rows without results. selection.csv, stability.csv, noise.csv and blob.csv are about
    the selection: each image of V, and Algorithm 1 on CAMs, on noise and on one compact blob.
    """
    index, truth = read_table(paths.images / INDEX), masks.folder(paths)
    judged, pseudo, not_runnable, diagnostics, baselines = [], [], [], [], []
    selections, stabilities = [], []
    rules = _rules(settings)
    ablation = [row for row in ROWS if row.id in settings.train.rows]
    controls = control_rows(settings.controls.selections, settings.controls.rows)
    rows = [*ablation, *method_rows(settings.cams), *oracle_rows(settings.oracle), *controls]
    for seeds in settings.seeds.runs:
        for row in track(rows, f"evaluate {seeds.name}"):
            folder = predictions(paths, row, seeds)
            if reason := _gap(folder):
                not_runnable.append({"row": row.id, **seeds.columns, "reason": reason})
            else:
                judged.append(judge_predictions(folder, truth, index).assign(row=row.id, **seeds.columns))
        split = read_table(paths.split(seeds.split))
        in_x = split[(split["set"] == "K") & (split["category"] != "normal")].reset_index(drop=True)
        judged.append(judge_bounds(in_x, truth).assign(**seeds.columns))
        boxed = paths.controls / ORACLE_BOX / seeds.name
        if reason := _gap(boxed):
            not_runnable.append({"row": ORACLE_BOX, **seeds.columns, "reason": reason})
        else:
            judged.append(judge_pseudo_masks(boxed, in_x, truth).assign(row=ORACLE_BOX, **seeds.columns))
        selection = read_table(paths.selection / f"{seeds.name}.csv")
        pseudo.append(judge_pseudo_masks(paths.pseudo / seeds.name, selection, truth).assign(**seeds.columns))
        selections.append(
            _judge_selection(paths, settings, seeds, selection, truth, pseudo[-1]).assign(**seeds.columns)
        )
        stability, smoothness = _stability(paths, settings, seeds, index, rules)
        stabilities.append(stability.assign(**seeds.columns))
        learnt = _diagnostics(paths, settings, seeds, truth, pseudo[-1])
        diagnostics.append({**seeds.columns, **learnt, **smoothness})
        for method in track(list(settings.cams), f"diagnose {seeds.name}"):
            baselines.append({**seeds.columns, "method": method, **_road(paths, method, seeds, truth, index)})
    with replacing_folder(paths.evaluation) as out:
        _write(pd.concat(judged), ["row", *AXES], out / "per_image.csv")
        _write(pd.concat(pseudo), AXES, out / "pseudo.csv")
        _write(pd.concat(selections), AXES, out / "selection.csv")
        _write(pd.concat(stabilities), AXES, out / "stability.csv")
        sizes = _sizes(index[index["label"] == 1])
        sweep(rules, settings.controls.noise, settings.prepare.image_size, sizes).to_csv(out / "noise.csv", index=False)
        pd.DataFrame(baselines).to_csv(out / "methods.csv", index=False)
        blob = compact_blob(BLOB_SIDE)
        box_ious(rules, blob[None], [blob.shape]).drop(columns="map").to_csv(out / "blob.csv", index=False)
        write_json(out / "not_runnable.json", not_runnable)
        write_json(out / "diagnostics.json", diagnostics)


def _gap(folder: Path) -> str:
    """Why there are no results in a folder; "" when there are."""
    note = folder / NOT_RUNNABLE
    return note.read_text(encoding="utf-8").strip() if note.is_file() else ""


def _write(table: pd.DataFrame, first: list[str], file: Path) -> None:
    table[[*first, *(name for name in table.columns if name not in first)]].to_csv(file, index=False)


def _diagnostics(paths: Paths, settings: Settings, seeds: Seeds, truth: Path, pseudo: pd.DataFrame) -> dict[str, Any]:
    """Percentages that show whether each step learnt; None where a subset is empty."""
    cams = paths.cams / settings.select.cams / seeds.name
    peaks = peak_in_lesion(cams, truth)
    in_l, in_u = pseudo[pseudo["selected"]], pseudo[~pseudo["selected"]]
    return {
        "classifier_accuracy_K": classifier_accuracy(cams),
        "classifier_auc_K": classifier_auc(cams),
        "larger_class_K": larger_class(cams),
        "cam_peak_in_lesion_V": float(100 * peaks.mean()),
        "pseudo_mask_iou_V": mean_scores(pseudo).tumor_iou,
        "pseudo_mask_iou_L": mean_scores(in_l).tumor_iou if len(in_l) else None,
        "pseudo_mask_iou_U": mean_scores(in_u).tumor_iou if len(in_u) else None,
    }


def _judge_selection(
    paths: Paths, settings: Settings, seeds: Seeds, selection: pd.DataFrame, truth: Path, pseudo: pd.DataFrame
) -> pd.DataFrame:
    """Each image of V: selected and why, its stability (box IoU of its regions), how well its box and its pseudo-mask
    fit the truth (IoU in percent), and whether each control takes it.
    """
    table = selection[["id", "category", "selected", "reason"]].assign(
        stability=selection["iou"],
        prompt_iou=prompt_iou(selection, truth),
        mask_iou=per_image_iou(pseudo)["tumor_iou"],
    )
    for control in settings.controls.selections:
        taken = read_table(paths.controls / control / f"{seeds.name}.csv")
        table[control] = table["id"].isin(taken.loc[taken["selected"], "id"])
    return table


def _rules(settings: Settings) -> list[Rule]:
    """The profile's Algorithm 1, and the paper's where that is another one."""
    options = settings.select
    own = Rule(options.alpha1, options.alpha2, options.upper_level, options.iou_threshold)
    return list(dict.fromkeys([own, PAPER_RULE]))


def _sizes(images: pd.DataFrame) -> list[Size]:
    return list(zip(images["width"], images["height"], strict=True))


def _stability(
    paths: Paths, settings: Settings, seeds: Seeds, index: pd.DataFrame, rules: list[Rule]
) -> tuple[pd.DataFrame, dict[str, float]]:
    """Box IoUs of the CAMs of V and of noise as smooth as they are; and how smooth that is."""
    folder, options = paths.cams / settings.select.cams / seeds.name, settings.controls.noise
    cams = np.load(folder / "cams.npy", mmap_mode="r")
    sigma = matched_sigma(cams, options.sigmas, options.maps)
    drawn = smooth_noise(
        np.random.default_rng(seed_for("matched noise", seeds.training)), options.maps, cams.shape[-1], sigma
    )
    sizes = _sizes(read_table(folder / "ids.csv").merge(index, on="id"))
    table = pd.concat(
        [box_ious(rules, maps, sizes).assign(source=source) for source, maps in (("cams", cams), ("noise", drawn))]
    )
    return table, {"cam_smoothness_V": float(np.median(smoothness(cams))), "noise_sigma_V": sigma}


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
