"""Rows whose CAM threshold is chosen on the training masks: a diagnostic that uses pixel labels, off by default."""

from pathlib import Path

from bench.data import masks
from bench.data.images import INDEX, STORE
from bench.engine import run_items, unfinished
from bench.files import read_json
from bench.paths import Paths
from bench.rows import CURVE, NOT_RUNNABLE, THRESHOLD, oracle_rows
from bench.seeds import Seeds
from bench.settings import Settings
from bench.stages.crf import crf_item
from bench.stages.training import NOT_FINISHED, run_or_note_gaps, segmentation_item
from bench.store import Item


def run(paths: Paths, settings: Settings) -> None:
    """Write predictions/oracle/oracle_<method>/<run>/, with the curve of thresholds and the one that was taken.

    What is not finished where nothing may be computed gets a file not_runnable.txt instead.
    """
    # DVC warns of outputs that are empty.
    notes = {} if settings.oracle else {"off.txt": "no method is listed under oracle"}
    items = []
    for row in oracle_rows(settings.oracle):
        for seeds in settings.seeds.runs:
            place = f"{row.id}/{seeds.name}"
            labels = None
            if search := _finished(_search(paths, settings, row.method, seeds), settings):
                for name in (THRESHOLD, CURVE):
                    notes[f"{place}/{name}"] = (search / name).read_text(encoding="utf-8").rstrip()
                threshold = read_json(search / THRESHOLD)["threshold"]
                labels = _finished(crf_item(paths, settings, row.method, seeds, threshold), settings)
            if labels:
                inputs = {"labels": labels / STORE, "usable": labels / "log.csv"}
                items.append((place, segmentation_item(paths, settings, row, seeds, inputs)))
            else:
                notes[f"{place}/{NOT_RUNNABLE}"] = NOT_FINISHED
    run_or_note_gaps(items, settings.engine, paths.predictions_oracle, notes)


def _finished(item: Item, settings: Settings) -> Path | None:
    """The item's folder, or None where it is not finished and nothing may be computed."""
    if any(unfinished([item], settings.engine)):
        return None
    (folder,) = run_items([item], settings.engine)
    return folder


def _search(paths: Paths, settings: Settings, method: str, seeds: Seeds) -> Item:
    """The item that looks for the best threshold of one method."""
    return Item(
        name=f"oracle threshold of {method}, {seeds.name}",
        function="bench.items.oracle:run",
        settings={},
        inputs={
            "index": paths.images / INDEX,
            "cams": paths.cams / method / seeds.name,
            "labels": masks.folder(paths) / STORE,
        },
    )
