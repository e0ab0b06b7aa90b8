"""Rows whose CAM threshold is chosen on the training masks: a diagnostic that uses pixel labels, off by default."""

from pathlib import Path

from bench.data import masks
from bench.data.images import INDEX, STORE
from bench.engine import run_items
from bench.files import read_json
from bench.paths import Paths, seed_name
from bench.rows import Row, oracle_rows
from bench.settings import Settings
from bench.stages.crf import crf_item
from bench.stages.training import train_rows
from bench.store import Item


def run(paths: Paths, settings: Settings) -> None:
    """Write predictions/oracle/oracle_<method>/seed-<s>/."""
    labels = {
        (method, seed): _labels(paths, settings, method, seed) for method in settings.oracle for seed in settings.seeds
    }

    def inputs_of(row: Row, seed: int) -> dict[str, Path]:
        folder = labels[row.id.removeprefix("oracle_"), seed]
        return {"labels": folder / STORE, "usable": folder / "log.csv"}

    train_rows(paths, settings, oracle_rows(settings.oracle), inputs_of, paths.predictions_oracle)


def _labels(paths: Paths, settings: Settings, method: str, seed: int) -> Path:
    """The pseudo-labels of one method cut at its best threshold: the folder of a finished item."""
    search = Item(
        name=f"oracle threshold of {method}, {seed_name(seed)}",
        function="bench.items.oracle:run",
        settings={},
        inputs={
            "index": paths.images / INDEX,
            "cams": paths.cams / method / seed_name(seed),
            "labels": masks.folder(paths) / STORE,
        },
    )
    (found,) = run_items([search], settings.engine.kind)
    threshold = read_json(found / "threshold.json")["threshold"]
    (folder,) = run_items([crf_item(paths, settings, method, seed, threshold)], settings.engine.kind)
    return folder
