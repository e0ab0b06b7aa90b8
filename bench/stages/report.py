"""report.md with what was learnt, the tables, figures and provenance; reads masks to show the truth."""

from pathlib import Path
from typing import Any

import pandas as pd

from bench.captions import ingredients
from bench.data import masks
from bench.data.images import read_table
from bench.files import read_json, replacing_file, replacing_folder
from bench.methods import FLOOR, methods
from bench.metrics import mean_scores
from bench.paths import SAM_PHANTOM, Paths
from bench.report.audit import audit_section
from bench.report.figures import save_curves, save_grid
from bench.report.gallery import predictions, regions, roads
from bench.report.noise import save_noise
from bench.report.provenance import provenance
from bench.rows import NOT_RUNNABLE, ROWS, THRESHOLD, Row, method_rows, oracle_rows
from bench.rows import predictions as predictions_folder
from bench.seeds import Seeds, of_run
from bench.settings import Settings
from bench.tables import iou_frame, iou_table

FIGURE_3_ROWS = ("pseudo_subset", "pseudo_whole", "pseudo_mean_teacher")


def run(paths: Paths, settings: Settings) -> None:
    """Write report.md and figures/ of the first run."""
    seeds = settings.seeds.runs[0]
    per_image = of_run(read_table(paths.evaluation / "per_image.csv"), seeds)
    with replacing_folder(paths.reports / "figures") as out:
        _figures(paths, settings, seeds, per_image, out)
    text = _text(paths, settings, seeds, per_image)
    with replacing_file(paths.reports / "report.md") as file:
        file.write_text(text, encoding="utf-8")


def _figures(paths: Paths, settings: Settings, seeds: Seeds, per_image: pd.DataFrame, out: Path) -> None:
    truth, cams = masks.folder(paths), paths.cams / settings.select.cams / seeds.name
    selection = read_table(paths.selection / f"{seeds.name}.csv")
    shown = regions(selection, cams, paths.pseudo / seeds.name, paths.images, truth)
    if shown:
        save_grid(shown, out / "figure1.png")
    folders = {row: folder for row, folder in _folders(paths, settings, seeds).items() if row.id in FIGURE_3_ROWS}
    if folders:
        labels = {row.label: folder for row, folder in folders.items()}
        reference = list(folders)[-1].id
        save_grid(predictions(per_image, labels, reference, paths.images, truth), out / "figure3.png")
    with_cams = [row for row in method_rows(settings.cams) if row.labels == "crf"]
    places = {row.label: (paths.cams / row.id / seeds.name, paths.crf / row.id / seeds.name) for row in with_cams}
    save_grid(roads(selection, places, paths.images, truth), out / "baselines.png")
    networks = {name: read_table(paths.cams / name / seeds.name / "history.csv") for name in settings.cams}
    trained = {**_folders(paths, settings, seeds), **{row: predictions_folder(paths, row, seeds) for row in with_cams}}
    rows = {row.id: read_table(folder / "history.csv") for row, folder in trained.items()}
    save_curves({"classifiers": networks, "segmentation": rows}, out / "training.png")
    boxes = of_run(read_table(paths.evaluation / "stability.csv"), seeds)
    sigma = _learnt(paths, seeds)["noise_sigma_V"]
    save_noise(read_table(paths.evaluation / "noise.csv"), boxes, sigma, out / "noise.png")


def _folders(paths: Paths, settings: Settings, seeds: Seeds) -> dict[Row, Path]:
    """Prediction folders of the rows that ran."""
    folders = {row: predictions_folder(paths, row, seeds) for row in ROWS if row.id in settings.train.rows}
    return {row: folder for row, folder in folders.items() if not (folder / NOT_RUNNABLE).is_file()}


def _text(paths: Paths, settings: Settings, seeds: Seeds, per_image: pd.DataFrame) -> str:
    segmenter = read_json(paths.pseudo / seeds.name / "segmenter.json")["name"]
    selection = read_json(paths.selection / f"{seeds.name}.json")
    reasons = "\n".join(f"- {reason}: {count}" for reason, count in selection["reasons"].items())
    facts = "\n".join(f"| {name} | {value} |" for name, value in provenance().items())
    figures = "\n\n".join(
        f"![{text}](figures/{name})\n\n{text}"
        for name, text in (
            (
                "figure1.png",
                "Regions of interest (blue: alpha1, red: alpha2), CAM, truth and pseudo-mask, from the most "
                "stable image of V to the least (quantiles of the box IoU).",
            ),
            (
                "figure3.png",
                "Test images at the 90, 70, 50, 30 and 10 % quantiles of the last row's tumour IoU: "
                "truth in green, predictions in yellow.",
            ),
            (
                "baselines.png",
                "CAMs of the baselines and the outline of the pseudo-label that DenseCRF makes of each (yellow); the "
                "truth (green); at the 90, 70, 50, 30 and 10 % quantiles of the lesion's share of the image.",
            ),
            (
                "noise.png",
                "Algorithm 1 on smooth Gaussian noise. Left: the share it accepts by the noise's smoothness; stars: "
                "the CAMs of V at the sigma that fits them. Right: the box IoUs of these CAMs and of noise as smooth.",
            ),
            ("training.png", "Mean training loss by epoch; each method has its own loss."),
        )
        if (paths.reports / "figures" / name).is_file()
    )
    return f"""# {paths.profile}

{ingredients(settings, segmenter)}{_segmenter(paths)}

## Data audit

{_audit(paths, settings)}
## What the machinery learnt ({seeds.name})

{_checks(paths, seeds, per_image)}

{_roads(paths, seeds)}

## Tables

{_table(paths.reports / "table1.md")}
{_table(paths.reports / "table2.md")}
{_table(paths.reports / "table3.md")}
{_oracle(paths, settings, seeds, per_image)}
## Controls and diagnostics

What the choice of the images is worth, between what bounds the prompts lie, and what Algorithm 1 does to maps that know
nothing of an image (METHOD C). None of this is a result of a method.

{_table(paths.reports / "controls.md")}
{_table(paths.reports / "diagnostics.md")}
## Selection

{selection["made_by"]}; {selection["above_threshold"]} of {selection["images"]} images exceed the
IoU threshold at these alphas. T1 = T2 on {selection["equal_levels"]} images.

{reasons}

## Figures

{figures}

## Provenance

Of the machine and the code that wrote this report from finished results; the networks may have been trained elsewhere
and at an earlier commit.

| | |
|---|---|
{facts}
"""


def _audit(paths: Paths, settings: Settings) -> str:
    """Near-duplicates, overlays and leaks of the data set, and how many images have several masks."""
    mask_counts = read_table(masks.folder(paths) / masks.COUNTS)
    leaks = read_json(paths.reports / "metrics.json")["leaks"]
    return audit_section(settings, read_json(paths.audit / "summary.json"), mask_counts, leaks)


def _table(file: Path) -> str:
    """A table's file with its title one level deeper."""
    return file.read_text(encoding="utf-8").replace("## ", "### ", 1)


def _segmenter(paths: Paths) -> str:
    """What the small SAM can do, where one was trained."""
    file = paths.segmenter / SAM_PHANTOM / "segmenter.json"
    if not file.is_file():
        return ""
    found = read_json(file)
    return (
        f" {SAM_PHANTOM}: mask IoU {found['mask_iou']:.1f} % with true boxes on {found['lesions']} unseen lesions "
        f"(the ellipse in the box: {found['ellipse_iou']:.1f} %)."
    )


def _learnt(paths: Paths, seeds: Seeds) -> dict[str, Any]:
    """What diagnostics.json says of one run."""
    entries: list[dict[str, Any]] = read_json(paths.evaluation / "diagnostics.json")
    return next(entry for entry in entries if seeds.columns.items() <= entry.items())


def _checks(paths: Paths, seeds: Seeds, per_image: pd.DataFrame) -> str:
    """The diagnostics of one run as a table; they use masks and are never trained or tuned on."""
    found = _learnt(paths, seeds)
    ellipse = mean_scores(per_image[per_image["row"] == FLOOR])
    lines = {
        "Classifier accuracy on K (%)": found["classifier_accuracy_K"],
        "CAM peak inside the lesion, V (%)": found["cam_peak_in_lesion_V"],
        "Pseudo-mask tumour IoU on V (%)": found["pseudo_mask_iou_V"],
        "Pseudo-mask tumour IoU on L (%)": found["pseudo_mask_iou_L"],
        "Pseudo-mask tumour IoU on U (%)": found["pseudo_mask_iou_U"],
        "Fixed ellipse, tumour IoU on X (%)": ellipse.tumor_iou,
        "Fixed ellipse, background IoU on X (%)": ellipse.background_iou,
    }
    table = pd.DataFrame(
        [(name, "empty set" if value is None else f"{value:.1f}") for name, value in lines.items()],
        columns=["Diagnostic (uses masks, never trained on)", "Value"],
    )
    return table.to_markdown(index=False, disable_numparse=True)


def _roads(paths: Paths, seeds: Seeds) -> str:
    """The diagnostics of the baselines' road as a table; they use masks too."""
    titles = {
        "method": "Method",
        "classifier_accuracy_K": "Accuracy on K (%)",
        "cam_peak_in_lesion_V": "CAM peak in lesion, V (%)",
        "threshold": "Threshold",
        "share_before_crf": "Foreground before CRF (%)",
        "share_after_crf": "after CRF (%)",
        "empty_crf_images": "Empty CRF, CAM mask kept (images)",
        "pseudo_label_iou_V": "Pseudo-label tumour IoU on V (%)",
    }
    found = of_run(read_table(paths.evaluation / "methods.csv"), seeds)
    table = found.reindex(columns=[*titles]).rename(columns=titles).to_markdown(index=False, floatfmt=".4g")
    notes = "\n".join(f"- {methods()[name].label}: {methods()[name].note}." for name in found["method"])
    return f"{table}\n\nWhat was chosen where the paper is silent, in each method's file:\n\n{notes}"


def _oracle(paths: Paths, settings: Settings, seeds: Seeds, per_image: pd.DataFrame) -> str:
    """The oracle rows, which use pixel labels and stand in no table of the paper."""
    if not settings.oracle:
        return ""
    rows = oracle_rows(settings.oracle)
    headline, pooled = iou_table(per_image, [row.id for row in rows])
    frame = iou_frame(rows, headline, pooled, with_paper=False)
    found = [read_json(predictions_folder(paths, row, seeds) / THRESHOLD)["threshold"] for row in rows]
    frame.insert(2, "Threshold", [f"{threshold:g}" for threshold in found])
    table = frame.to_markdown(index=False, disable_numparse=True)
    return f"""### Oracle rows: CAM thresholds chosen on the training masks

{table}

These rows use pixel labels, which a weakly supervised method does not have: ceilings, never results of a method.
"""
