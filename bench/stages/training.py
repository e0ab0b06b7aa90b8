"""What the stages that train rows share: the items of rows. Labels are paths given by the stage."""

import itertools
import operator
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from types import MappingProxyType
from typing import Any

from bench.data.images import INDEX, STORE
from bench.engine import unfinished
from bench.files import read_json
from bench.nets.weights import pins
from bench.paths import Paths
from bench.rows import NOT_RUNNABLE, Row, selection
from bench.schema import Engine, Segmentation
from bench.seeds import Seeds
from bench.settings import Settings
from bench.stages.common import machine, run_and_lay_out
from bench.store import Item

NOT_FINISHED = "not finished when the tables were made"


def train_rows(
    paths: Paths,
    settings: Settings,
    rows: Sequence[Row],
    inputs_of: Callable[[Row, Seeds], dict[str, Path]],
    folder: Path,
    notes: Mapping[str, str] = MappingProxyType({}),
) -> None:
    """Train `rows` for every seed and lay the results out in `folder`.

    inputs_of(row, seeds) names the label store ("labels") and, for pseudo-labels, their log ("usable").
    A row whose selection is too small to train on, or that is not finished where nothing may be computed, gets a file
    not_runnable.txt instead of a result.
    notes: further small text files by relative path.
    """
    items, texts = [], dict(notes)
    # Longest first: side by side, all have then ended soonest. Mean Teacher runs two networks.
    for row in sorted(rows, key=lambda row: row.images != "mean_teacher"):
        for seeds in settings.seeds.runs:
            place, summary = f"{row.id}/{seeds.name}", selection(paths, row) / f"{seeds.name}.json"
            reason = _why_not(row, read_json(summary)) if row.needs_selection else ""
            if reason:
                texts[f"{place}/{NOT_RUNNABLE}"] = reason
            else:
                items.append((place, segmentation_item(paths, settings, row, seeds, inputs_of(row, seeds))))
    run_or_note_gaps(items, settings.engine, folder, texts)


def run_or_note_gaps(
    items: Sequence[tuple[str, Item]],
    engine: Engine,
    folder: Path,
    notes: Mapping[str, str] = MappingProxyType({}),
) -> None:
    """As `run_and_lay_out`; what is not finished where nothing may be computed gets a file not_runnable.txt instead."""
    gaps = unfinished([item for _, item in items], engine)
    texts = {f"{place}/{NOT_RUNNABLE}": NOT_FINISHED for (place, _), gap in zip(items, gaps, strict=True) if gap}
    run_and_lay_out(itertools.compress(items, map(operator.not_, gaps)), engine, folder, {**notes, **texts})


def _why_not(row: Row, summary: dict[str, Any]) -> str:
    """Why a row cannot run on this selection; "" when it can."""
    if summary["rule"] == "none":
        return str(summary["made_by"])
    if row.images == "mean_teacher" and summary["selected"] == summary["images"]:
        return "U is empty: every image of V was selected"
    return ""


def segmentation_item(
    paths: Paths,
    settings: Settings,
    row: Row,
    seeds: Seeds,
    inputs: dict[str, Path],
    recipe: Segmentation | None = None,
) -> Item:
    """The item that trains one row for one seed.

    recipe: another than the settings' for this row; an oracle row has its method's, a control row its row's.
    """
    shared = {
        "index": paths.images / INDEX,
        "store": paths.images / STORE,
        "split": paths.split(seeds.split),
    }
    if row.needs_selection:
        shared["selection"] = selection(paths, row) / f"{seeds.name}.csv"
    recipe = recipe or settings.row(row.method)
    teaching = {"mean_teacher": recipe.mean_teacher.model_dump()}
    has_teacher = row.images == "mean_teacher"
    return Item(
        name=f"{row.id}, {seeds.name}",
        function="bench.items.segmentation:run",
        settings={
            "row": row.id,
            "images": row.images,
            "recipe": recipe.model_dump(exclude={"mean_teacher"}),
            **(teaching if has_teacher else {}),
            "weights": pins(recipe),
            "seed": seeds.training,
            **machine(settings.engine, recipe.optimisation.precision),
        },
        inputs={**shared, **inputs},
        aside={} if has_teacher else teaching,
    )
