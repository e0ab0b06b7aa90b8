"""Rows whose CAM threshold is chosen on the training masks: a diagnostic that uses pixel labels, off by default."""

from pathlib import Path

from bench.data import masks
from bench.data.images import INDEX, STORE
from bench.engine import run_items
from bench.files import read_json
from bench.paths import Paths
from bench.rows import CURVE, THRESHOLD, Row, oracle_rows
from bench.seeds import Seeds
from bench.settings import Settings
from bench.stages.crf import crf_item
from bench.stages.training import train_rows
from bench.store import Item


def run(paths: Paths, settings: Settings) -> None:
    """Write predictions/oracle/oracle_<method>/<run>/, with the curve of thresholds and the one that was taken."""
    labels: dict[tuple[str, Seeds], Path] = {}
    # DVC warns of outputs that are empty.
    notes = {} if settings.oracle else {"off.txt": "no method is listed under oracle"}
    for row in oracle_rows(settings.oracle):
        for seeds in settings.seeds.runs:
            search = _search(paths, settings, row.method, seeds)
            for name in (THRESHOLD, CURVE):
                notes[f"{row.id}/{seeds.name}/{name}"] = (search / name).read_text(encoding="utf-8").rstrip()
            item = crf_item(paths, settings, row.method, seeds, read_json(search / THRESHOLD)["threshold"])
            (labels[row.id, seeds],) = run_items([item], settings.engine)

    def inputs_of(row: Row, seeds: Seeds) -> dict[str, Path]:
        folder = labels[row.id, seeds]
        return {"labels": folder / STORE, "usable": folder / "log.csv"}

    train_rows(paths, settings, oracle_rows(settings.oracle), inputs_of, paths.predictions_oracle, notes)


def _search(paths: Paths, settings: Settings, method: str, seeds: Seeds) -> Path:
    """The folder of the finished item that looked for the best threshold of one method."""
    item = Item(
        name=f"oracle threshold of {method}, {seeds.name}",
        function="bench.items.oracle:run",
        settings={},
        inputs={
            "index": paths.images / INDEX,
            "cams": paths.cams / method / seeds.name,
            "labels": masks.folder(paths) / STORE,
        },
    )
    (folder,) = run_items([item], settings.engine)
    return folder
