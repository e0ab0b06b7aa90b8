"""Train the rows that learn from pseudo-labels, the baselines' among them; no mask is within reach."""

from pathlib import Path

from bench.data.images import STORE
from bench.paths import Paths
from bench.rows import ROWS, Row, method_rows
from bench.seeds import Seeds
from bench.settings import Settings
from bench.stages.training import train_rows


def run(paths: Paths, settings: Settings) -> None:
    """Write predictions/weak/<row>/<run>/."""

    def inputs_of(row: Row, seeds: Seeds) -> dict[str, Path]:
        base = paths.crf / row.id if row.labels == "crf" else paths.pseudo
        return {"labels": base / seeds.name / STORE, "usable": base / seeds.name / "log.csv"}

    ablation = [row for row in ROWS if row.labels == "pseudo" and row.id in settings.train.rows]
    baselines = [row for row in method_rows(settings.cams) if row.labels == "crf"]
    train_rows(paths, settings, [*ablation, *baselines], inputs_of, paths.predictions_weak)
