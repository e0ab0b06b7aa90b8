"""report.md and report.html: verdict, tables, figures, what was learnt, provenance; reads masks to show the truth."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pandas as pd

from bench import timings
from bench.captions import ingredients, seeds_named
from bench.data import masks
from bench.data.images import ORIGINALS, read_table
from bench.files import digest, read_json, read_text, replacing_file, replacing_folder
from bench.methods import FLOOR, methods
from bench.metrics import mean_scores
from bench.paths import SAM_PHANTOM, Paths
from bench.precision import resolve
from bench.report.audit import audit_section, audit_tables
from bench.report.cases import gather_cases
from bench.report.drawn import FIGURES, Results, draw, of_diagnostics
from bench.report.gaps import gaps
from bench.report.page import Page, pictures, render
from bench.report.provenance import provenance
from bench.report.tables import Table, read_tables
from bench.report.verdict import conclude
from bench.rows import NOT_RUNNABLE, OURS, ROWS, THRESHOLD, Row, control_rows, method_rows, oracle_rows
from bench.rows import predictions as predictions_folder
from bench.seeds import Seeds, of_run
from bench.settings import Settings
from bench.tables import iou_frame, iou_table


def run(paths: Paths, settings: Settings) -> None:
    """Write report.md, report.html and figures/ of the first run."""
    seeds = settings.seeds.runs[0]
    per_image = of_run(read_table(paths.evaluation / "per_image.csv"), seeds)
    metrics = read_json(paths.reports / "metrics.json")
    facts = provenance() | {
        "precision auto, on this machine": resolve("auto", _device(settings)),
        "images (SHA-256)": digest(paths.images / ORIGINALS)[:16],
        "seeds": seeds_named(settings),
    }
    with replacing_folder(paths.reports / "figures") as out:
        draw(Results(paths, settings, per_image, _folders(paths, settings, seeds), metrics, FLOOR), out)
    page = _page(paths, settings, per_image, metrics, facts)
    for name, text in (("report.md", _text(paths, settings, seeds, per_image, page)), ("report.html", render(page))):
        with replacing_file(paths.reports / name) as file:
            file.write_text(text, encoding="utf-8")


def _device(settings: Settings) -> str:
    """Where an item would compute on this machine."""
    if settings.engine.device == "cpu":
        return "cpu"
    import torch

    return "cuda" if torch.cuda.is_available() else "cpu"


def _page(
    paths: Paths, settings: Settings, per_image: pd.DataFrame, metrics: dict[str, Any], facts: dict[str, str]
) -> Page:
    """What report.html shows. per_image: of the first run."""
    seeds = settings.seeds.runs[0]
    segmenter = read_json(paths.pseudo / seeds.name / "segmenter.json")["name"]
    tables = read_tables(paths.reports, metrics)
    drawn = pictures(paths.reports / "figures")
    not_runnable = read_json(paths.evaluation / "not_runnable.json")
    rows = [
        *(row for row in ROWS if row.id in settings.train.rows),
        *method_rows(settings.cams),
        *oracle_rows(settings.oracle),
        *control_rows(settings.controls.selections, settings.controls.rows),
    ]
    cases = gather_cases(
        per_image,
        {row.id: (row.label, predictions_folder(paths, row, seeds)) for row in rows}
        | {FLOOR: ("Fixed ellipse, blind to the image", None)},
        {gap["row"]: f"not runnable: {gap['reason']}" for gap in not_runnable if seeds.columns.items() <= gap.items()},
        FLOOR,
        paths.images,
        masks.folder(paths),
    )
    claims = next((table.frame for table in tables if table.name == "claims"), pd.DataFrame())
    ellipse = per_image[per_image["row"] == FLOOR]
    floor = mean_scores(ellipse).tumor_iou if len(ellipse) else None
    stages = timings.latest(paths.profile)
    ran = [row.id for row in cases.rows if row.ran]
    return Page(
        profile=paths.profile,
        made_with=ingredients(settings, segmenter),
        verdict=conclude(settings, segmenter, _rules(paths, settings), claims, metrics, floor),
        gaps=gaps(settings, metrics, not_runnable, tables, [picture.figure.name for picture in drawn], stages),
        tables=tables,
        audit=_audit(paths, settings),
        pictures=drawn,
        cases=cases,
        row=OURS.id if OURS.id in ran else ran[0],
        facts=facts,
        timings=stages,
    )


def _rules(paths: Paths, settings: Settings) -> set[str]:
    """The rules that made L in the runs."""
    return {read_json(paths.selection / f"{seeds.name}.json")["rule"] for seeds in settings.seeds.runs}


def _folders(paths: Paths, settings: Settings, seeds: Seeds) -> dict[Row, Path]:
    """Prediction folders of the rows that ran."""
    folders = {row: predictions_folder(paths, row, seeds) for row in ROWS if row.id in settings.train.rows}
    return {row: folder for row, folder in folders.items() if not (folder / NOT_RUNNABLE).is_file()}


def _text(paths: Paths, settings: Settings, seeds: Seeds, per_image: pd.DataFrame, page: Page) -> str:
    selection = read_json(paths.selection / f"{seeds.name}.json")
    reasons = _listed([f"{reason}: {count}" for reason, count in selection["reasons"].items()])
    facts = "\n".join(f"| {name} | {value} |" for name, value in page.facts.items())
    figures = "\n\n".join(
        f"![{figure.title}](figures/{figure.name}.png)\n\n{figure.caption}"
        for figure in FIGURES
        if (paths.reports / "figures" / f"{figure.name}.png").is_file()
    )
    return f"""# {paths.profile}

{page.made_with}{_segmenter(paths)}

## Verdict

**{page.verdict.headline}**

{_listed(page.verdict.notes)}

## What is missing

{_listed(page.gaps) or "Nothing that the settings ask for."}

## Data audit

{audit_section(page.audit)}

## What the machinery learnt ({seeds.name})

{_checks(paths, seeds, per_image)}

{_roads(paths, seeds)}

## Tables

{_table(paths.reports / "table1.md")}
{_table(paths.reports / "table2.md")}
{_table(paths.reports / "table3.md")}
{_oracle(paths, settings, seeds, per_image)}
{_table(paths.reports / "seeds.md")}
{_table(paths.reports / "pairs.md")}
{_table(paths.reports / "claims.md")}
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


def _listed(lines: Sequence[str]) -> str:
    return "\n".join(f"- {line}" for line in lines)


def _audit(paths: Paths, settings: Settings) -> list[Table]:
    """Near-duplicates, overlays and leaks of the data set, and how many images have several masks."""
    mask_counts = read_table(masks.folder(paths) / masks.COUNTS)
    leaks = read_json(paths.reports / "metrics.json")["leaks"]
    return audit_tables(settings, read_json(paths.audit / "summary.json"), mask_counts, leaks)


def _table(file: Path) -> str:
    """A table's file with its title one level deeper."""
    return read_text(file).replace("## ", "### ", 1)


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


def _checks(paths: Paths, seeds: Seeds, per_image: pd.DataFrame) -> str:
    """The diagnostics of one run as a table; they use masks and are never trained or tuned on."""
    found = of_diagnostics(paths.evaluation, seeds)
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
    notes = _listed([f"{methods()[name].label}: {methods()[name].note}." for name in found["method"]])
    return f"{table}\n\nWhat was chosen where the paper is silent, in each method's file:\n\n{notes}"


def _oracle(paths: Paths, settings: Settings, seeds: Seeds, per_image: pd.DataFrame) -> str:
    """The oracle rows, which use pixel labels and stand in no table of the paper."""
    if not settings.oracle:
        return ""
    rows = oracle_rows(settings.oracle)
    headline, pooled = iou_table(per_image, [row.id for row in rows])
    frame = iou_frame(rows, headline, pooled, with_paper=False)
    files = [predictions_folder(paths, row, seeds) / THRESHOLD for row in rows]
    frame.insert(2, "Threshold", [f"{read_json(file)['threshold']:g}" if file.is_file() else "none" for file in files])
    table = frame.to_markdown(index=False, disable_numparse=True)
    return f"""### Oracle rows: CAM thresholds chosen on the training masks

{table}

These rows use pixel labels, which a weakly supervised method does not have: ceilings, never results of a method.
"""
