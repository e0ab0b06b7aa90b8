"""Tables I to III of two commits side by side, in Markdown, differences held against the intervals of both sides.

`python -m bench diff A [B]`.
"""

import argparse
import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import PurePosixPath
from typing import Any

from tabulate import tabulate

from bench.errors import UserError
from bench.files import read_json
from bench.git import git
from bench.paths import REPORTS
from bench.progress import say

FILE = "metrics.json"
HERE = "the files here"
TITLES = {"table1": "Table I, images", "table2": "Table II, IoU in percent", "table3": "Table III, IoU in percent"}
SOURCES = ("images", "seeds")
NOTE = (
    "In brackets, whether a difference lies beyond the 95 % intervals of both sides, over images and, where there are "
    "any, over seeds; without brackets a side has none. It is no test: both sides may have the same test images."
)
COLUMNS = {"tumor_iou": "Tumor IoU", "background_iou": "Background IoU", "miou": "mIoU"}

Table = Mapping[str, Mapping[str, float | None]]
# Content of metrics.json: tables, and the intervals by source, row and column.
Metrics = Mapping[str, Any]


@dataclass(frozen=True)
class Side:
    """One side: what to call it, and the content of its metrics.json by profile."""

    name: str
    metrics: Mapping[str, Metrics]


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the two sides and the profile."""
    parser.add_argument("a", metavar="A", help="a commit, branch or tag")
    parser.add_argument("b", metavar="B", nargs="?", help="another; the files here when it is left out")
    parser.add_argument("--profile", help="one profile of params.yaml; all when it is left out")


def run(options: argparse.Namespace) -> None:
    """Print the comparison."""
    say(compare(options.a, options.b, options.profile))


def compare(a: str, b: str | None, profile: str | None) -> str:
    """Markdown of Tables I to III of revisions `a` and `b` (None: the working tree) with differences B - A.

    For one profile, or for all that either side has. Raises UserError for an unknown revision, a damaged
    metrics.json, or when neither side has a table.
    """
    sides = (_revision(a), _working_tree() if b is None else _revision(b))
    profiles = sorted(set(sides[0].metrics) | set(sides[1].metrics))
    if profile is not None:
        profiles = [name for name in profiles if name == profile]
    if not profiles:
        raise UserError(f"neither side has {REPORTS}/{profile or '<profile>'}/{FILE} - name commits with reports")
    parts = [f"A: {sides[0].name}. B: {sides[1].name}. Differences are B - A, in points. {NOTE}"]
    parts += [_profile(name, sides[0].metrics.get(name), sides[1].metrics.get(name)) for name in profiles]
    return "\n\n".join(parts)


def _revision(name: str) -> Side:
    commit = git("rev-parse", "--verify", "--quiet", "--end-of-options", f"{name}^{{commit}}")
    if commit is None:
        raise UserError(f"git knows no commit {name!r} here - name a commit, a branch or a tag")
    files = (git("ls-tree", "-r", "--name-only", commit, f"{REPORTS.as_posix()}/") or "").splitlines()
    return Side(
        f"{name} ({commit[:10]})",
        {
            PurePosixPath(file).parent.name: _parsed(git("show", f"{commit}:./{file}"), f"{file} of {name}")
            for file in files
            if PurePosixPath(file).match(f"{REPORTS.name}/*/{FILE}")
        },
    )


def _parsed(text: str | None, what: str) -> dict[str, Any]:
    try:
        found: dict[str, Any] = json.loads(text or "")
    except ValueError as error:
        raise UserError(f"{what} is damaged ({error}) - name another commit") from error
    return found


def _working_tree() -> Side:
    return Side(HERE, {path.parent.name: read_json(path) for path in REPORTS.glob(f"*/{FILE}")})


def _profile(name: str, a: Metrics | None, b: Metrics | None) -> str:
    parts = [f"## {name}"]
    for side, metrics in (("A", a), ("B", b)):
        if metrics is None:
            parts.append(f"{side} has no such profile.")
    for table, title in TITLES.items():
        old, new = (a or {}).get(table), (b or {}).get(table)
        if old is None and new is None:
            continue
        parts.append(f"### {title}")
        for side, metrics, found in (("A", a, old), ("B", b, new)):
            if metrics is not None and found is None:
                parts.append(f"{side} has no such table.")
        if old == new:
            parts.append("No number differs.")
        parts.append(_counts(old or {}, new or {}) if table == "table1" else _scores(table, a or {}, b or {}))
    return "\n\n".join(parts)


def _counts(a: Table, b: Table) -> str:
    """Table I: one number where both sides agree, else both and their difference."""
    sets = list(dict.fromkeys([*b, *a]))
    classes = list(dict.fromkeys(name for table in (b, a) for line in table.values() for name in line))
    rows = [[name, *(_count(a, b, name, column) for column in classes)] for name in sets]
    return _markdown(["Set", *(column.capitalize() for column in classes)], rows)


def _count(a: Table, b: Table, name: str, column: str) -> str:
    old, new = a.get(name, {}).get(column), b.get(name, {}).get(column)
    if old is None or new is None:
        return f"{_or_dash(old, 'd')} / {_or_dash(new, 'd')}"
    return f"{new:d}" if old == new else f"{old:d} / {new:d} ({new - old:+d})"


def _or_dash(value: Any, form: str) -> str:
    return "-" if value is None else f"{value:{form}}"


def _scores(table: str, side_a: Metrics, side_b: Metrics) -> str:
    """Table II or III: A, B and the difference for each IoU; rows in B's order, then those that only A has."""
    a, b = side_a.get(table, {}), side_b.get(table, {})
    header = ["Row", *(f"{title} {part}" for title in COLUMNS.values() for part in ("A", "B", "B - A"))]
    rows = []
    for row in dict.fromkeys([*b, *a]):
        cells = [row]
        for column in COLUMNS:
            old, new = _score(a, row, column), _score(b, row, column)
            difference = ""
            if isinstance(old, float) and isinstance(new, float):
                difference = f"{new - old:+.2f}{_held_against(side_a, side_b, row, column, old, new)}"
            cells += [_shown(old), _shown(new), difference]
        rows.append(cells)
    return _markdown(header, rows)


def _held_against(a: Metrics, b: Metrics, row: str, column: str, old: float, new: float) -> str:
    """Over what the difference lies beyond the intervals of both sides; "" where one of them has none."""
    verdicts = {}
    for source in SOURCES:
        one, other = (side.get("uncertainty", {}).get(source, {}).get(row, {}).get(column) for side in (a, b))
        if one and other:
            verdicts[source] = not one["low"] <= new <= one["high"] and not other["low"] <= old <= other["high"]
    if not verdicts:
        return ""
    beyond = ", ".join(source for source, verdict in verdicts.items() if verdict)
    return f" (beyond: {beyond})" if beyond else " (within)"


def _score(table: Table, row: str, column: str) -> float | str:
    if row not in table:
        return "no such row"
    value = table[row].get(column)
    return "not runnable" if value is None else float(value)


def _shown(score: float | str) -> str:
    return score if isinstance(score, str) else f"{score:.2f}"


def _markdown(header: list[str], rows: list[list[str]]) -> str:
    return tabulate(rows, header, tablefmt="pipe", disable_numparse=True)
