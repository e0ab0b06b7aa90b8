"""Train the three rows that learn from ground truth; the only training that may read masks."""

from bench.data import masks
from bench.data.images import STORE
from bench.paths import Paths
from bench.rows import ROWS
from bench.settings import Settings
from bench.stages.training import train_rows


def run(paths: Paths, settings: Settings) -> None:
    """Write predictions/gt/<row>/<run>/."""
    labels = masks.folder(paths) / STORE
    rows = [row for row in ROWS if row.labels == "gt" and row.id in settings.train.rows]
    train_rows(paths, settings, rows, lambda row, seeds: {"labels": labels}, paths.predictions_gt)
