"""Tables I to III as views of the split, the selection and the per-image counts."""

from collections.abc import Mapping, Sequence
from typing import Any

import pandas as pd

from bench.data.categories import CATEGORIES, TUMOURS
from bench.metrics import Scores, mean_scores, pooled_scores
from bench.rows import Row
from bench.seeds import AXES

SETS = ("entire", "N", "K", "V", "X", "L", "U")
# Table I of the paper: benign, malignant, normal, total.
PAPER_TABLE1 = {
    "entire": (437, 210, 133, 780),
    "N": (357, 161, 106, 624),
    "K": (80, 49, 27, 156),
    "V": (357, 161, 0, 518),
    "X": (80, 49, 0, 129),
    "L": (112, 52, 0, 164),
    "U": (245, 109, 0, 354),
}
METRICS = ("tumor_iou", "background_iou", "miou")
# Beside the tables: what there is of them, in the order in which they were made (name, title, caption).
LISTING = "tables.json"


def table1(split: pd.DataFrame, selection: pd.DataFrame) -> dict[str, dict[str, int]]:
    """Images by set and class. split: id, category, set. selection: id, category, selected (of V)."""
    tumour = split["category"].isin(TUMOURS)
    members = {
        "entire": split,
        "N": split[split["set"] == "N"],
        "K": split[split["set"] == "K"],
        "V": split[(split["set"] == "N") & tumour],
        "X": split[(split["set"] == "K") & tumour],
        "L": selection[selection["selected"]],
        "U": selection[~selection["selected"]],
    }
    return {name: _by_class(members[name]["category"]) for name in SETS}


def _by_class(categories: pd.Series) -> dict[str, int]:
    found = {category: int((categories == category).sum()) for category in CATEGORIES}
    return {**found, "total": len(categories)}


def iou_table(
    per_image: pd.DataFrame, rows: Sequence[str]
) -> tuple[dict[str, dict[str, float | None]], dict[str, Scores]]:
    """IoUs of Table II or III in percent by row id (per-image means, None without results), and pooled scores.

    Means over runs; every run counts alike. per_image: row, the runs' seeds, tp, fp, fn, tn.
    """
    headline: dict[str, dict[str, float | None]] = {}
    pooled = {}
    for row in rows:
        runs = [part for _, part in per_image[per_image["row"] == row].groupby(AXES)]
        if not runs:
            headline[row] = dict.fromkeys(METRICS)
            continue
        mean = _mean([mean_scores(part) for part in runs])
        headline[row] = {name: round(getattr(mean, name), 2) for name in METRICS}
        pooled[row] = _mean([pooled_scores(part) for part in runs])
    return headline, pooled


def _mean(scores: Sequence[Scores]) -> Scores:
    return Scores(
        sum(score.tumor_iou for score in scores) / len(scores),
        sum(score.background_iou for score in scores) / len(scores),
    )


def table1_frame(ours: dict[str, dict[str, int]], with_paper: bool) -> pd.DataFrame:
    """Table I for printing; with the paper's counts in brackets where it is the paper's data set."""
    columns = (*CATEGORIES, "total")
    lines = []
    for name in SETS:
        line: dict[str, Any] = {"Dataset": name.capitalize() if name == "entire" else name}
        for position, column in enumerate(columns):
            paper = f" ({PAPER_TABLE1[name][position]})" if with_paper else ""
            line[column.capitalize()] = f"{ours[name][column]}{paper}"
        lines.append(line)
    return pd.DataFrame(lines)


def iou_frame(
    rows: Sequence[Row],
    headline: dict[str, dict[str, float | None]],
    pooled: dict[str, Scores],
    with_paper: bool,
    beside_tumor: Mapping[str, Mapping[str, str]] | None = None,
) -> pd.DataFrame:
    """Table II or III for printing: ours, the paper's and the difference in points, and the pooled IoUs.

    beside_tumor: by row, further cells that follow the tumour IoU.
    """
    cells = beside_tumor or {}
    return pd.DataFrame([_line(row, headline, pooled, with_paper, cells.get(row.id, {})) for row in rows])


def _line(
    row: Row,
    headline: dict[str, dict[str, float | None]],
    pooled: dict[str, Scores],
    with_paper: bool,
    beside_tumor: Mapping[str, str],
) -> dict[str, Any]:
    titles = {"tumor_iou": "Tumor IoU", "background_iou": "Background IoU", "miou": "mIoU"}
    line: dict[str, Any] = {"Row": row.id, "Method": row.label}
    for name, paper in zip(METRICS, row.paper or (None,) * len(METRICS), strict=True):
        value = headline[row.id][name]
        line[titles[name]] = "not runnable" if value is None else f"{value:.2f}"
        if name == "tumor_iou":
            line |= beside_tumor
        if with_paper:
            line[f"{titles[name]} (paper)"] = "" if paper is None else f"{paper:.1f}"
            if name == "tumor_iou":
                line["Difference"] = "" if value is None or paper is None else f"{value - paper:+.2f}"
    for name in METRICS:
        summed = f"{getattr(pooled[row.id], name):.2f}" if row.id in pooled else "not runnable"
        line[f"{titles[name]} (pooled)"] = summed
    return line


# Columns of the intervals of bench.statistics.
OVER_IMAGES = "95 % interval"
OVER_SEEDS = f"{OVER_IMAGES}, seeds"


def interval_text(interval: tuple[float, float] | None) -> str:
    """An interval as a cell."""
    return "none" if interval is None else f"{interval[0]:.1f} to {interval[1]:.1f}"
