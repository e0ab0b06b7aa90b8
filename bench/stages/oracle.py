"""Rows whose CAM threshold is chosen on the training masks: a diagnostic that uses pixel labels, off by default."""

from pathlib import Path

from bench.data import masks
from bench.data.images import INDEX, STORE
from bench.engine import run_items
from bench.files import read_json
from bench.paths import Paths, seed_name
from bench.rows import CURVE, THRESHOLD, Row, oracle_rows
from bench.settings import Settings
from bench.stages.crf import crf_item
from bench.stages.training import train_rows
from bench.store import Item


def run(paths: Paths, settings: Settings) -> None:
    """Write predictions/oracle/oracle_<method>/seed-<s>/, with the curve of thresholds and the one that was taken."""
    labels: dict[tuple[str, int], Path] = {}
    # DVC warns of outputs that are empty.
    notes = {} if settings.oracle else {"off.txt": "no method is listed under oracle"}
    for row in oracle_rows(settings.oracle):
        for seed in settings.seeds:
            search = _search(paths, settings, row.method, seed)
            for name in (THRESHOLD, CURVE):
                notes[f"{row.id}/{seed_name(seed)}/{name}"] = (search / name).read_text(encoding="utf-8").rstrip()
            item = crf_item(paths, settings, row.method, seed, read_json(search / THRESHOLD)["threshold"])
            (labels[row.id, seed],) = run_items([item], settings.engine)

    def inputs_of(row: Row, seed: int) -> dict[str, Path]:
        folder = labels[row.id, seed]
        return {"labels": folder / STORE, "usable": folder / "log.csv"}

    train_rows(paths, settings, oracle_rows(settings.oracle), inputs_of, paths.predictions_oracle, notes)


def _search(paths: Paths, settings: Settings, method: str, seed: int) -> Path:
    """The folder of the finished item that looked for the best threshold of one method."""
    item = Item(
        name=f"oracle threshold of {method}, {seed_name(seed)}",
        function="bench.items.oracle:run",
        settings={},
        inputs={
            "index": paths.images / INDEX,
            "cams": paths.cams / method / seed_name(seed),
            "labels": masks.folder(paths) / STORE,
        },
    )
    (folder,) = run_items([item], settings.engine)
    return folder
