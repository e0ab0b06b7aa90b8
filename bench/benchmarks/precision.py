"""Does bfloat16 change the result? gt_whole in both precisions over seeds: `python -m bench.benchmarks.precision`.

One split, the first of the profile's; the profile's `prepare` and `split` must have run (`make demo`). On a GPU where
there is one, also with a profile for processors.
"""

import argparse
import sys
from collections.abc import Sequence
from dataclasses import replace

import numpy as np
import pandas as pd
from scipy import stats

from bench.data import masks
from bench.data.images import INDEX, STORE, read_table
from bench.engine import run_items
from bench.errors import UserError
from bench.evaluation import judge_predictions
from bench.metrics import mean_scores
from bench.paths import Paths
from bench.progress import say
from bench.rows import ROWS
from bench.schema import Precision
from bench.seeds import Seeds
from bench.settings import Settings, load
from bench.stages.training import segmentation_item
from bench.store import Item

ROW = next(row for row in ROWS if row.id == "gt_whole")
PRECISIONS: tuple[Precision, ...] = ("fp32", "bf16")


def main(arguments: Sequence[str] | None = None) -> int:
    """Train, judge, print; 0 when done, 2 after a mistake that the user can mend."""
    parser = argparse.ArgumentParser(
        prog="python -m bench.benchmarks.precision", description=__doc__, formatter_class=argparse.RawTextHelpFormatter
    )
    parser.add_argument("--profile", default="phantom")
    parser.add_argument("--seeds", type=int, default=5, choices=range(2, 101), metavar="2..100")
    options = parser.parse_args(arguments)
    try:
        settings = load(options.profile)
        if settings.engine.device == "cpu":
            engine = settings.engine.model_copy(update={"device": "auto"})
            settings = settings.model_copy(update={"engine": engine})
        scores = compare(Paths(options.profile), settings, options.seeds)
        say(scores.round(2).to_markdown(index=False))
        say(summary(scores))
    except UserError as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    return 0


def compare(paths: Paths, settings: Settings, seeds: int) -> pd.DataFrame:
    """Tumour IoU in percent on X by training seed 0, 1, ... (columns seed, fp32, bf16)."""
    index, truth = read_table(paths.images / INDEX), masks.folder(paths)
    # Seed by seed, so that a run that is cut off leaves pairs.
    items = [_item(paths, settings, precision, seed) for seed in range(seeds) for precision in PRECISIONS]
    say(f"{ROW.id} on {items[0].settings['device']}")
    judged = [judge_predictions(folder, truth, index) for folder in run_items(items, settings.engine)]
    scores = np.array([mean_scores(table).tumor_iou for table in judged]).reshape(seeds, len(PRECISIONS))
    return pd.DataFrame({"seed": range(seeds)}).join(pd.DataFrame(scores, columns=list(PRECISIONS)))


def _item(paths: Paths, settings: Settings, precision: Precision, seed: int) -> Item:
    labels = {"labels": masks.folder(paths) / STORE}
    seeds = Seeds(settings.seeds.runs[0].split, seed)
    recipe = settings.row(ROW.id).with_optimisation(precision=precision)
    item = segmentation_item(paths, settings, ROW, seeds, labels, recipe)
    return replace(item, name=f"{ROW.id}, {precision}, training seed {seed}")


def summary(scores: pd.DataFrame) -> str:
    """The mean difference beside the 95 % t intervals of it and of either precision's mean over seeds."""
    parts = [f"{name} {interval(scores[name])}" for name in PRECISIONS]
    return f"{', '.join(parts)}; bf16 - fp32 {interval(scores['bf16'] - scores['fp32'])} (mean, 95 % over seeds)"


def interval(values: pd.Series) -> str:
    """Mean and its 95 % t interval, for printing."""
    mean, error = float(values.mean()), float(stats.sem(values))
    low, high = stats.t.interval(0.95, len(values) - 1, mean, error) if error else (mean, mean)
    return f"{mean:.2f} [{float(np.round(low, 2)):.2f}, {float(np.round(high, 2)):.2f}]"


if __name__ == "__main__":
    sys.exit(main())
