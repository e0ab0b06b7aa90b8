"""The tables that the tables stage wrote, as the report shows them."""

import io
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pandas as pd

from bench.files import read_json, read_text
from bench.report.verdict import against_paper
from bench.tables import LISTING

# What a report should show, in this order; tables that are not named here follow.
EXPECTED = {
    "table1": "Table I",
    "table2": "Table II",
    "table3": "Table III",
    "seeds": "spread of the runs",
    "pairs": "paired comparisons of rows",
    "controls": "controls of the selection",
    "diagnostics": "diagnostics of the steps",
    "claims": "the paper's claims",
}
WITH_ROWS = ("table2", "table3")
NUMBER = re.compile(r"[-+]?\d[\d,]*(\.\d+)?( %)?( \(\d+(\.\d+)?\))?")
VERDICT_NOTE = (
    "Verdict: whether every interval of our tumour IoU lies below or above the paper's number; cannot tell: one "
    "includes it, or there is none."
)


@dataclass(frozen=True)
class Table:
    """A table as text. rows: cells in the order of `columns`."""

    name: str
    title: str
    caption: str
    columns: Sequence[str]
    rows: Sequence[Sequence[str]]

    @property
    def frame(self) -> pd.DataFrame:
        """The cells by column."""
        return pd.DataFrame(self.rows, columns=list(self.columns))

    @property
    def numeric(self) -> list[bool]:
        """By column, whether every cell that says something is a number."""
        said = [[cell for cell in column if cell] for column in zip(*self.rows, strict=True)]
        found = [bool(cells) and all(NUMBER.fullmatch(cell) for cell in cells) for cells in said]
        return found or [False] * len(self.columns)


def read_tables(reports: Path, metrics: Mapping[str, Any]) -> list[Table]:
    """The tables that LISTING names, in the report's order. metrics: content of metrics.json, for the verdicts."""
    listed = [_table(reports, entry, metrics) for entry in read_json(reports / LISTING)]
    places = list(EXPECTED)
    return sorted(listed, key=lambda table: places.index(table.name) if table.name in EXPECTED else len(places))


def missing_tables(tables: Sequence[Table]) -> list[str]:
    """What a report should show and has no table for."""
    there = {table.name for table in tables}
    return [title for name, title in EXPECTED.items() if name not in there]


def _table(reports: Path, entry: Mapping[str, str], metrics: Mapping[str, Any]) -> Table:
    name, caption = entry["name"], entry["caption"]
    # As printed: a number's last zero counts, and "none" is a word.
    frame = pd.read_csv(io.StringIO(read_text(reports / f"{name}.csv")), dtype=str, keep_default_na=False)
    if name in WITH_ROWS and "Difference" in frame:
        verdicts = [_against_paper(line, metrics.get("uncertainty", {})) for _, line in frame.iterrows()]
        frame.insert(list(frame.columns).index("Difference") + 1, "Verdict", verdicts)
        caption = f"{caption} {VERDICT_NOTE}"
    return Table(name, entry["title"], caption, list(frame.columns), frame.to_numpy().tolist())


def _against_paper(line: "pd.Series[str]", uncertainty: Mapping[str, Any]) -> str:
    """Verdict of one row of Table II or III on its tumour IoU."""
    if not line["Difference"]:
        return "not runnable" if line["Tumor IoU (paper)"] else "not in the paper"
    by_source = (uncertainty.get(source, {}).get(line["Row"], {}).get("tumor_iou") for source in ("images", "seeds"))
    intervals = [(found["low"], found["high"]) for found in by_source if found]
    return against_paper(float(line["Tumor IoU (paper)"]), intervals)
