"""Do near-duplicates flatter the paper's split? gt_whole under both protocols: `python -m bench.benchmarks.protocols`.

For each split seed one training under `paper` and one under `grouped`, training seed 0. Under `paper` the test images
with a near-duplicate in N are judged apart from the others, by the same network. The profile's `prepare` and `audit`
must have run.
"""

import argparse
import sys
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import pandas as pd

from bench.benchmarks.precision import ROW, interval
from bench.data import masks
from bench.data.images import INDEX, STORE, read_table
from bench.data.splits import group_numbers, grouped_split, paper_split
from bench.engine import run_items
from bench.errors import UserError
from bench.evaluation import judge_predictions
from bench.files import replacing_file
from bench.metrics import per_image_iou
from bench.paths import Paths
from bench.progress import say
from bench.seeds import Seeds
from bench.settings import Settings, load
from bench.stages.training import segmentation_item
from bench.store import Item

PROTOCOLS = ("paper", "grouped")
SPLITS = Path(".bench/protocols")
# What is told apart: all test images, those with a near-duplicate in N, those without.
PARTS = ("all", "duplicate in N", "none in N")


def main(arguments: Sequence[str] | None = None) -> int:
    """Train, judge, print; 0 when done, 2 after a mistake that the user can mend."""
    parser = argparse.ArgumentParser(
        prog="python -m bench.benchmarks.protocols",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--profile", default="busi-small")
    parser.add_argument("--splits", type=int, default=3, choices=range(2, 101), metavar="2..100")
    parser.add_argument("--epochs", type=int, help="instead of the profile's")
    options = parser.parse_args(arguments)
    try:
        settings = load(options.profile)
        if options.epochs is not None and options.epochs < 1:
            raise UserError("--epochs must be at least 1")
        found = compare(Paths(options.profile), settings, options.splits, options.epochs)
        say(found.round(2).to_markdown(index=False))
        say(summary(found))
    except UserError as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    return 0


def compare(paths: Paths, settings: Settings, splits: int, epochs: int | None) -> pd.DataFrame:
    """Mean tumour IoU in percent on X by protocol and split seed (columns protocol, split, images, and PARTS).

    images: percent of X with a near-duplicate in N. A part without images is NaN. UserError where prepare or audit has
    not run.
    """
    index, truth = read_table(paths.images / INDEX), masks.folder(paths)
    groups = read_table(paths.audit / "groups.csv")
    group_of = pd.Series(group_numbers(groups, list(index["id"]), "groups.csv"), index=index["id"])
    chosen = [(protocol, seed) for protocol in PROTOCOLS for seed in range(splits)]
    tables = {(protocol, seed): _split(protocol, index, group_of, seed) for protocol, seed in chosen}
    items = [_item(paths, settings, protocol, seed, tables[protocol, seed], epochs) for protocol, seed in chosen]
    found = []
    for (protocol, seed), folder in zip(chosen, run_items(items, settings.engine), strict=True):
        counts = judge_predictions(folder, truth, index)
        iou = per_image_iou(counts)["tumor_iou"].set_axis(counts["id"])
        in_n = tables[protocol, seed].loc[tables[protocol, seed]["set"] == "N", "id"]
        seen = group_of[iou.index].isin(group_of[in_n])
        means = (iou.mean(), iou[seen.to_numpy()].mean(), iou[~seen.to_numpy()].mean())
        found.append((protocol, seed, 100 * seen.mean(), *means))
    return pd.DataFrame(found, columns=["protocol", "split", "images", *PARTS])


def _split(protocol: str, index: pd.DataFrame, group_of: pd.Series, seed: int) -> pd.DataFrame:
    ids, categories = list(index["id"]), list(index["category"])
    if protocol == "paper":
        return paper_split(ids, categories, seed)
    return grouped_split(ids, categories, list(group_of), seed)


def _item(paths: Paths, settings: Settings, protocol: str, seed: int, split: pd.DataFrame, epochs: int | None) -> Item:
    file = SPLITS / paths.profile / f"{protocol}-{seed}.csv"
    with replacing_file(file) as temporary:
        split.to_csv(temporary, index=False)
    recipe = settings.row(ROW.id)
    if epochs:
        recipe = recipe.with_optimisation(epochs=epochs)
    item = segmentation_item(paths, settings, ROW, Seeds(seed, 0), {"labels": masks.folder(paths) / STORE}, recipe)
    return replace(item, name=f"{ROW.id}, {protocol}, split seed {seed}", inputs={**item.inputs, "split": file})


def summary(found: pd.DataFrame) -> str:
    """Means over splits with 95 % t intervals, and what a near-duplicate in N is worth under `paper`."""
    means = [f"{name} {interval(table['all'])}" for name, table in found.groupby("protocol", sort=False)]
    paper = found[found["protocol"] == "paper"]
    gain = interval(paper["duplicate in N"] - paper["none in N"])
    return f"{', '.join(means)}; paper: with a near-duplicate in N minus without {gain} (mean, 95 % over splits)"


if __name__ == "__main__":
    sys.exit(main())
