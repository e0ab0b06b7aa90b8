"""report.html: one file that opens from disk, asks no network for anything, and holds the whole report."""

import base64
import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import pandas as pd
from jinja2 import Environment, FileSystemLoader, StrictUndefined

from bench.data.decode import read_rgb
from bench.report.cases import Cases, data_uri
from bench.report.drawn import FIGURES, Figure
from bench.report.tables import Table
from bench.report.verdict import Verdict

TEMPLATE = "report.html.j2"
WEBP_QUALITY = 80
# How cells that say one of these are shown; the words stay, so that no meaning is in the colour alone.
TONES = {
    "good": ("holds", "better", "above the paper"),
    "bad": ("fails", "worse", "below the paper"),
    "open": ("cannot tell", "not comparable"),
    "gap": ("not runnable", "row missing", "none", "not in the paper", "empty set"),
}


@dataclass(frozen=True)
class Picture:
    """A figure as a data URI with its size in pixels."""

    figure: Figure
    uri: str
    width: int
    height: int


@dataclass(frozen=True)
class Page:
    """What a report is made of.

    gaps: sentences on what is missing. audit: tables about the data set. pictures: those that were drawn. row: the row
    whose cases are shown first. facts: provenance. timings: stage, ended, seconds, peak_mib.
    """

    profile: str
    made_with: str
    verdict: Verdict
    gaps: Sequence[str]
    tables: Sequence[Table]
    audit: Sequence[Table]
    pictures: Sequence[Picture]
    cases: Cases
    row: str
    facts: Mapping[str, str]
    timings: pd.DataFrame


def pictures(folder: Path) -> list[Picture]:
    """The PNG files of `folder` that FIGURES names, made smaller as WebP."""
    found = []
    for figure in FIGURES:
        file = folder / f"{figure.name}.png"
        if file.is_file():
            image = read_rgb(file)
            found.append(Picture(figure, data_uri(image, WEBP_QUALITY), image.shape[1], image.shape[0]))
    return found


def render(page: Page) -> str:
    """The HTML. Whatever stands in a name, a caption or a cell is shown as text; the same page gives the same bytes."""
    environment = Environment(
        loader=FileSystemLoader(Path(__file__).parent),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters |= {"tone": _tone, "hash": _hash}
    return environment.get_template(TEMPLATE).render(page=page, browser=_browser(page))


def _tone(cell: str) -> str:
    return next((tone for tone, words in TONES.items() if cell in words), "")


def _hash(text: str) -> str:
    """As a content security policy names an inline script or style."""
    return f"'sha256-{base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()}'"


def _browser(page: Page) -> dict[str, object]:
    """What the script needs beside the cards: of every row, IoUs and outlines in the order of the cards."""
    return {
        "row": page.row,
        "rows": [
            {"id": row.id, "label": row.label, "ious": row.ious, "outlines": row.outlines, "note": row.note}
            for row in page.cases.rows
        ],
    }
