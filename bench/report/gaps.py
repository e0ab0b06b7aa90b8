"""What a report should show and cannot, in sentences."""

from collections.abc import Mapping, Sequence
from typing import Any

import pandas as pd

from bench.report.drawn import FIGURES
from bench.report.tables import Table, missing_tables
from bench.rows import ROWS
from bench.seeds import AXES, Seeds
from bench.settings import Settings


def gaps(
    settings: Settings,
    metrics: Mapping[str, Any],
    not_runnable: Sequence[Mapping[str, Any]],
    tables: Sequence[Table],
    figures: Sequence[str],
    timings: pd.DataFrame,
) -> list[str]:
    """The gaps of a run, the gravest first; none is an error.

    metrics: content of metrics.json. figures: names of those that were drawn. timings: of this machine's diary.
    """
    found = [
        f"{gap['row']}, {Seeds(*(gap[axis] for axis in AXES)).name}: not runnable: {gap['reason']}."
        for gap in not_runnable
    ]
    explained = {gap["row"] for gap in not_runnable}
    silent = [row for row, scores in _rows(metrics).items() if scores.get("tumor_iou") is None and row not in explained]
    if silent:
        found.append(f"No result, and nothing says why: {', '.join(silent)}.")
    left_out = [row.label for row in ROWS if row.id not in settings.train.rows]
    if left_out:
        found.append(f"Rows of Table II that this profile does not run: {', '.join(left_out)}.")
    if len(settings.seeds.runs) == 1:
        found.append("One run: nothing says what another split or another training would give.")
    without = _without_interval(metrics)
    if without:
        found.append(f"No interval over the test images, which are too few: {', '.join(without)}.")
    found += [f"No table: {title}." for title in missing_tables(tables)]
    found += [f"No figure “{figure.title}”: {figure.absent}." for figure in FIGURES if figure.name not in figures]
    if timings.empty:
        found.append("No time or memory by stage: no stage has run on this machine.")
    return found


def _rows(metrics: Mapping[str, Any]) -> dict[str, Mapping[str, float | None]]:
    """Scores of the rows of Tables II and III."""
    return {**metrics.get("table2", {}), **metrics.get("table3", {})}


def _without_interval(metrics: Mapping[str, Any]) -> list[str]:
    """Rows of Tables II and III with a tumour IoU and no interval over images."""
    images = metrics.get("uncertainty", {}).get("images", {})
    return [row for row, scores in _rows(metrics).items() if scores.get("tumor_iou") is not None and row not in images]
