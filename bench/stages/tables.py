"""Tables I to III, metrics.json, paired comparisons, controls, diagnostics, and the paper's claims."""

from collections.abc import Collection, Mapping
from dataclasses import replace
from itertools import combinations
from pathlib import Path
from typing import Any

import pandas as pd

from bench.captions import baseline_ingredients, ingredients, made_like_the_paper
from bench.claims import NOTE as CLAIMS_NOTE
from bench.claims import SELECTED, UNSELECTED, Finding, Vocabulary, claims_frame, judge_claims, load_claims
from bench.control_table import BOUNDS, controls_frame, gap
from bench.control_table import NOTE as CONTROLS_NOTE
from bench.data.images import read_table
from bench.data.splits import leaks
from bench.diagnostics import NOTE as DIAGNOSTICS_NOTE
from bench.diagnostics import diagnostics_frame
from bench.files import read_json, replacing_file, write_json
from bench.methods import methods
from bench.paths import Paths
from bench.progress import say
from bench.rows import OURS, ROWS, control_rows, method_rows
from bench.schema import BusiData
from bench.seeds import AXES, Seeds
from bench.settings import Settings
from bench.statistics import compare, refuse_repeats, row_estimates, spread
from bench.tables import LISTING, iou_frame, iou_table, table1, table1_frame
from bench.uncertainty import (
    PAIRS_NOTE,
    SPREAD_NOTE,
    interval_cells,
    interval_note,
    interval_scalars,
    pairs_frame,
    spread_frame,
)


def run(paths: Paths, settings: Settings) -> None:
    """Write tables I to III, pairs, seeds, claims, controls and diagnostics as .md and .csv, and metrics.json.

    Table I is of the first run.
    """
    with_paper = isinstance(settings.data, BusiData)
    first = settings.seeds.runs[0]
    counts = table1(read_table(paths.split(first.split)), read_table(paths.selection / f"{first.name}.csv"))
    segmenter = read_json(paths.pseudo / first.name / "segmenter.json")["name"]
    made_by = {
        summary["made_by"]: summary["rule"]
        for summary in (read_json(paths.selection / f"{seeds.name}.json") for seeds in settings.seeds.runs)
    }
    rule = "; ".join(made_by)
    made_with = f"{ingredients(settings, segmenter)} {rule}."
    paths.reports.mkdir(parents=True, exist_ok=True)
    (paths.reports / LISTING).unlink(missing_ok=True)
    _write(
        paths.reports / "table1",
        "Table I. Images by set and class",
        table1_frame(counts, with_paper),
        f"{made_with}{' In brackets: the paper.' if with_paper else ''}",
    )
    ablation = [row for row in ROWS if row.id in settings.train.rows]
    baselines = method_rows(settings.cams)
    ours = [replace(row, label=f"{row.label} (the paper's method)") for row in ablation if row.id == OURS.id]
    last = f" Last row: box prompts to {segmenter}, as in Table II; {rule}." if ours else ""
    per_image = read_table(paths.evaluation / "per_image.csv")
    refuse_repeats(per_image, BOUNDS)
    duplicates = read_table(paths.audit / "groups.csv")
    grouped = read_table(paths.groups) if settings.split.protocol == "grouped" else duplicates
    groups = dict(zip(grouped["id"], grouped["group"].astype(str), strict=True))
    found = row_estimates(per_image, [row.id for row in (*ablation, *baselines)], groups)
    metrics: dict[str, Any] = {"table1": counts}
    for name, title, rows, caption in (
        ("table2", "Table II. Ablation", ablation, made_with),
        (
            "table3",
            "Table III. Comparison with other methods",
            [*baselines, *ours],
            f"{baseline_ingredients(settings)}{last}",
        ),
    ):
        headline, pooled = iou_table(per_image, [row.id for row in rows])
        estimated = {row.id: found[row.id]["tumor_iou"] if row.id in found else None for row in rows}
        cells = {row: interval_cells(estimate, settings.seeds) for row, estimate in estimated.items()}
        gaps = _gaps(paths, [row.id for row in rows])
        _write(
            paths.reports / name,
            f"{title}, IoU in percent on the test set X",
            iou_frame(rows, headline, pooled, with_paper, cells),
            f"{caption} Means of per-image IoUs at the original image size; pooled: IoU of summed pixel counts. "
            f"{interval_note(settings.seeds, bool(gaps))}{gaps}",
        )
        metrics[name] = headline
    metrics["leaks"] = _leaks(paths, settings, duplicates)
    metrics["uncertainty"] = interval_scalars(found)
    write_json(paths.reports / "metrics.json", metrics)
    families = {
        "II": compare(per_image, list(combinations([row.id for row in ablation], 2)), groups),
        "III": compare(per_image, [(one.id, other.id) for one in ours for other in baselines], groups),
    }
    trained = [*ablation, *baselines]
    gaps = _gaps(paths, [row.id for row in trained])
    note = interval_note(settings.seeds, bool(gaps))
    _write(
        paths.reports / "pairs",
        "Rows of Tables II and III against each other, tumour IoU in points on the test set X",
        pairs_frame(families, settings.seeds),
        f"{made_with} {PAIRS_NOTE} {note}{gaps}",
    )
    _write(
        paths.reports / "seeds",
        "Runs of Tables II and III, tumour IoU in percent on the test set X",
        spread_frame(trained, {row.id: spread(per_image, row.id) for row in trained}, settings.seeds),
        f"{made_with} {SPREAD_NOTE}{gaps}",
    )
    findings = _findings(paths, per_image, with_paper, groups)
    like = f" As a whole {made_like_the_paper(settings, segmenter, made_by.values())}." if with_paper else ""
    caption = f"{made_with}{like} {CLAIMS_NOTE} {note}"
    _write(paths.reports / "claims", "The paper's claims", claims_frame(findings), caption)
    _write_controls(paths, settings, per_image, groups, segmenter, made_with)
    _write_diagnostics(paths, groups, made_with)


def _write_controls(
    paths: Paths,
    settings: Settings,
    per_image: pd.DataFrame,
    groups: Mapping[str, str],
    segmenter: str,
    made_with: str,
) -> None:
    """Rows on other selections than L, and the masks without a network; no row of Tables II and III."""
    rows = control_rows(settings.controls.selections, settings.controls.rows)
    shown = [*(row.id for row in rows), *(row.method for row in rows), *BOUNDS]
    found = row_estimates(per_image, list(dict.fromkeys(shown)), groups)
    pairs = compare(per_image, [(row.id, row.method) for row in rows], groups)
    gaps = _gaps(paths, shown)
    _write(
        paths.reports / "controls",
        "Controls, IoU in percent on the test set X",
        controls_frame(rows, found, pairs, segmenter, settings.seeds),
        f"{made_with} {CONTROLS_NOTE} {interval_note(settings.seeds, bool(gaps))}{gap(rows)}{gaps}",
    )


def _write_diagnostics(paths: Paths, groups: Mapping[str, str], made_with: str) -> None:
    """What each step learnt, by the evaluate stage."""
    folder = paths.evaluation
    frame = diagnostics_frame(
        read_json(folder / "diagnostics.json"),
        read_table(folder / "selection.csv"),
        read_table(folder / "stability.csv"),
        read_table(folder / "noise.csv"),
        read_table(folder / "blob.csv"),
        groups,
    )
    _write(paths.reports / "diagnostics", "Diagnostics", frame, f"{made_with} {DIAGNOSTICS_NOTE}")


def _findings(paths: Paths, per_image: pd.DataFrame, with_paper: bool, groups: Mapping[str, str]) -> list[Finding]:
    """Judge the claims, for which the pseudo-masks of L and of U count as rows."""
    pseudo = read_table(paths.evaluation / "pseudo.csv")
    pseudo["row"] = pseudo["selected"].map({True: SELECTED, False: UNSELECTED})
    return judge_claims(
        load_claims(),
        pd.concat([per_image, pseudo.drop(columns="selected")]),
        Vocabulary(ROWS, [row for row in method_rows(methods()) if row.paper]),
        None if with_paper else "phantoms are a check of the machinery",
        groups,
    )


def _leaks(paths: Paths, settings: Settings, groups: pd.DataFrame) -> dict[str, dict[str, float]]:
    """By split, the test images with a near-duplicate among the training images, whatever the protocol."""
    files = [paths.split(seed) for seed in settings.seeds.split]
    return {file.stem: leaks(read_table(file), groups) for file in files}


def _gaps(paths: Paths, shown: Collection[str]) -> str:
    """Sentences on the rows, of those shown, without results."""
    return "".join(
        f" {gap['row']}, {Seeds(*(gap[axis] for axis in AXES)).name}: not runnable: {gap['reason']}."
        for gap in read_json(paths.evaluation / "not_runnable.json")
        if gap["row"] in shown
    )


def _write(base: Path, title: str, table: pd.DataFrame, caption: str) -> None:
    """Write a table as .md and .csv, and list it in LISTING for the report."""
    markdown = table.to_markdown(index=False, disable_numparse=True)
    with replacing_file(base.with_suffix(".md")) as file:
        file.write_text(f"## {title}\n\n{markdown}\n\n{caption}\n", encoding="utf-8")
    with replacing_file(base.with_suffix(".csv")) as file:
        table.to_csv(file, index=False)
    listing = base.parent / LISTING
    listed = read_json(listing) if listing.is_file() else []
    write_json(listing, [*listed, {"name": base.name, "title": title, "caption": caption}])
    say(f"{title}\n{markdown}\n{caption}\n")
