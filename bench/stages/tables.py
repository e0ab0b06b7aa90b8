"""Tables I to III and metrics.json."""

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import pandas as pd

from bench.captions import baseline_ingredients, ingredients
from bench.data.images import read_table
from bench.data.splits import leaks
from bench.files import read_json, replacing_file, write_json
from bench.paths import Paths, seed_name
from bench.progress import say
from bench.rows import OURS, ROWS, Row, method_rows
from bench.schema import BusiData
from bench.settings import Settings
from bench.tables import iou_frame, iou_table, table1, table1_frame


def run(paths: Paths, settings: Settings) -> None:
    """Write table1 to table3 as .md and .csv, and metrics.json; Table I is of the first seed."""
    with_paper = isinstance(settings.data, BusiData)
    first = seed_name(settings.seeds[0])
    counts = table1(read_table(paths.splits / f"{first}.csv"), read_table(paths.selection / f"{first}.csv"))
    segmenter = read_json(paths.pseudo / first / "segmenter.json")["name"]
    made_by = [read_json(paths.selection / f"{seed_name(seed)}.json")["made_by"] for seed in settings.seeds]
    rule = "; ".join(dict.fromkeys(made_by))
    paths.reports.mkdir(parents=True, exist_ok=True)
    _write(
        paths.reports / "table1",
        "Table I. Images by set and class",
        table1_frame(counts, with_paper),
        f"{ingredients(settings, segmenter)} {rule}.{' In brackets: the paper.' if with_paper else ''}",
    )
    metrics: dict[str, Any] = {"table1": counts}
    ablation = [row for row in ROWS if row.id in settings.train.rows]
    ours = [replace(row, label=f"{row.label} (ours)") for row in ablation if row.id == OURS.id]
    last = f" Last row: box prompts to {segmenter}, as in Table II; {rule}." if ours else ""
    per_image = read_table(paths.evaluation / "per_image.csv")
    for name, title, rows, caption in (
        ("table2", "Table II. Ablation", ablation, f"{ingredients(settings, segmenter)} {rule}."),
        (
            "table3",
            "Table III. Comparison with other methods",
            [*method_rows(settings.cams), *ours],
            f"{baseline_ingredients(settings)}{last}",
        ),
    ):
        headline, pooled = iou_table(per_image, [row.id for row in rows])
        _write(
            paths.reports / name,
            f"{title}, IoU in percent on the test set X",
            iou_frame(rows, headline, pooled, with_paper),
            f"{caption} Means of per-image IoUs at the original image size; pooled: IoU of summed pixel counts."
            f"{_gaps(paths, rows)}",
        )
        metrics[name] = headline
    metrics["leaks"] = _leaks(paths, settings)
    write_json(paths.reports / "metrics.json", metrics)


def _leaks(paths: Paths, settings: Settings) -> dict[str, dict[str, float]]:
    """By seed, the test images with a near-duplicate among the training images, whatever the protocol."""
    groups = read_table(paths.audit / "groups.csv")
    names = [seed_name(seed) for seed in settings.seeds]
    return {name: leaks(read_table(paths.splits / f"{name}.csv"), groups) for name in names}


def _gaps(paths: Paths, rows: Sequence[Row]) -> str:
    """Sentences on the rows without results."""
    shown = {row.id for row in rows}
    return "".join(
        f" {gap['row']}, {seed_name(gap['seed'])}: not runnable: {gap['reason']}."
        for gap in read_json(paths.evaluation / "not_runnable.json")
        if gap["row"] in shown
    )


def _write(base: Path, title: str, table: pd.DataFrame, caption: str) -> None:
    markdown = table.to_markdown(index=False, disable_numparse=True)
    with replacing_file(base.with_suffix(".md")) as file:
        file.write_text(f"## {title}\n\n{markdown}\n\n{caption}\n", encoding="utf-8")
    with replacing_file(base.with_suffix(".csv")) as file:
        table.to_csv(file, index=False)
    say(f"{title}\n{markdown}\n{caption}\n")
