"""Train the rows that learn from pseudo-labels; no mask is within reach."""

from pathlib import Path

from bench.data.images import STORE
from bench.paths import Paths, seed_name
from bench.settings import Settings
from bench.stages.training import train_rows


def run(paths: Paths, settings: Settings) -> None:
    """Write predictions/weak/<row>/seed-<s>/."""

    def inputs_of(seed: int) -> dict[str, Path]:
        folder = paths.pseudo / seed_name(seed)
        return {"labels": folder / STORE, "usable": folder / "log.csv"}

    train_rows(paths, settings, "pseudo", inputs_of, paths.predictions_weak)
