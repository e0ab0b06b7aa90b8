"""`python -m bench sweep select`: |L| and its quality over a grid of Algorithm 1's settings; reads masks to judge.

Its output feeds no stage. It is written when the whole grid is done: an interrupted sweep leaves the old files and
begins anew, except for pseudo-masks, each of which rests in the run store once it is made.
"""

import argparse
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np
import pandas as pd

from bench.boxes import CORNERS, boxes_csv
from bench.data import masks
from bench.data.images import INDEX, read_table
from bench.engine import STORE, run_items
from bench.evaluation import judge_pseudo_masks, true_box
from bench.files import read_json, replacing_file
from bench.metrics import per_image_iou
from bench.paths import SWEEP, Paths
from bench.progress import say, track
from bench.schema import Select
from bench.seeds import Seeds
from bench.settings import Settings, load
from bench.stages.pseudo import box_item
from bench.store import Item, Store
from bench.sweep import PAPER, Axes, Rules, Swept, basis, regions, rows
from bench.sweep_views import text

SEGMENTER = "segmenter.json"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the commands, the profile and the axes of the grid."""
    commands = parser.add_subparsers(dest="command", required=True, metavar="command")
    select = commands.add_parser("select", help="Algorithm 1 over a grid of alpha1, alpha2 and IoU threshold")
    select.add_argument("--profile", required=True, help="a profile of params.yaml")
    for option, kind, default in (
        ("--alpha1", _percent, [2.5, 5.0, 10.0, 15.0, 20.0]),
        ("--alpha2", _percent, [0.5, 1.0, 2.5, 5.0, 7.0]),
        ("--iou-threshold", _fraction, [0.5, 0.6, 0.7, 0.8, 0.9]),
    ):
        shown = " ".join(f"{value:g}" for value in default)
        told = f"default: {shown}; the profile's own value and the paper's are always added"
        select.add_argument(option, type=kind, nargs="+", default=default, metavar="X", help=told)
    select.add_argument("--masks", action="store_true", help="make and judge the pseudo-masks of every alpha1, too")


def _between(low: float, high: float, text: str) -> float:
    value = float(text)
    if not low <= value < high:
        raise argparse.ArgumentTypeError(f"{text} is not in [{low:g}, {high:g})")
    return value


def _percent(text: str) -> float:
    """An alpha from the command line."""
    value = _between(0.0, 100.0, text)
    if value == 0:
        raise argparse.ArgumentTypeError("an alpha must be larger than 0")
    return value


def _fraction(text: str) -> float:
    """An IoU threshold from the command line."""
    return _between(0.0, 1.0, text)


def run(options: argparse.Namespace) -> None:
    """Write sweep.csv and sweep.md to the profile's reports; the next report draws them."""
    paths, settings = Paths(options.profile), load(options.profile)
    axes = grid(options.alpha1, options.alpha2, options.iou_threshold, settings.select)
    table, segmenters = sweep(paths, settings, axes, options.masks)
    words = text(paths.profile, table, axes, settings.select, segmenters)
    paths.reports.mkdir(parents=True, exist_ok=True)
    with replacing_file(paths.reports / SWEEP) as file:
        table.to_csv(file, index=False)
    with replacing_file(paths.reports / "sweep.md") as file:
        file.write_text(words, encoding="utf-8")
    say(words)


def grid(alpha1: Sequence[float], alpha2: Sequence[float], thresholds: Sequence[float], options: Select) -> Axes:
    """The axes asked for, with the values of the profile and of the paper."""
    own = (options.alpha1, options.alpha2, options.iou_threshold)
    asked = (alpha1, alpha2, thresholds)
    return Axes(*(tuple(sorted({*values, *extra})) for values, *extra in zip(asked, own, PAPER, strict=True)))


def sweep(paths: Paths, settings: Settings, axes: Axes, make_masks: bool) -> tuple[pd.DataFrame, list[str]]:
    """One line a run and possible cell, as `bench.sweep.rows` gives it, and who made the pseudo-masks judged.

    basis: what it rests on (bench.sweep.basis), so that a report can tell whether it is of its CAMs.
    """
    rules = Rules(settings.select.top_fraction, settings.train.common.optimisation.batch_size)
    truth = masks.folder(paths)
    lines, segmenters = [], set()
    for seeds in settings.seeds.runs:
        images = _images(paths, settings, seeds, axes)
        prompts = {alpha: _prompts(images, alpha) for alpha in axes.alpha1}
        folders = (_made if make_masks else _own)(paths, settings, seeds, prompts)
        segmenters |= {read_json(folder / SEGMENTER)["name"] for folder in folders.values()}
        ious = {
            alpha: list(per_image_iou(judge_pseudo_masks(folder, prompts[alpha], truth))["tumor_iou"])
            for alpha, folder in track(folders.items(), f"pseudo-masks, {seeds.name}", len(folders))
        }
        cells = len(axes.pairs()) * len(axes.iou_threshold)
        folder = paths.cams / settings.select.cams / seeds.name
        made = {**seeds.columns, "basis": basis(folder, settings.select.upper_level)}
        lines += [{**made, **row} for row in track(rows(images, axes, rules, ious), "cells", cells)]
    return pd.DataFrame(lines), sorted(segmenters)


def _images(paths: Paths, settings: Settings, seeds: Seeds, axes: Axes) -> list[Swept]:
    """Every image of V with its regions at all alphas and its true box, in the order of the CAMs."""
    folder, truth = paths.cams / settings.select.cams / seeds.name, masks.folder(paths)
    wanted = read_table(folder / "ids.csv").merge(read_table(paths.images / INDEX), on="id")
    maps = np.load(folder / "cams.npy", mmap_mode="r")
    alphas = sorted({*axes.alpha1, *axes.alpha2})
    lines = list(wanted[["id", "category", "width", "height"]].itertuples(index=False, name=None))
    return [
        Swept(
            image_id,
            category,
            regions(maps[row], (width, height), alphas, settings.select.upper_level),
            true_box(masks.read_original_mask(truth, image_id)),
        )
        for row, (image_id, category, width, height) in enumerate(track(lines, f"regions, {seeds.name}"))
    ]


def _prompts(images: Sequence[Swept], alpha1: float) -> pd.DataFrame:
    """The boxes that prompt the segmenter, as the selection's table has them: id and corners."""
    boxes = [(image.id, *(image.regions[alpha1].box or (None,) * 4)) for image in images]
    return pd.DataFrame(boxes, columns=["id", *CORNERS])


def _own(paths: Paths, settings: Settings, seeds: Seeds, prompts: Mapping[float, pd.DataFrame]) -> dict[float, Path]:
    """The pseudo-masks of an alpha1 that are in the run store, the pipeline's and earlier sweeps'.

    What lies in the pipeline's outputs may come from the boxes of settings that have changed since.
    """
    store = Store(STORE)
    with _items(paths, settings, seeds, prompts) as items:
        known = {alpha: item for alpha, item in items.items() if all(map(Path.exists, item.inputs.values()))}
        found = {alpha: store.find(item.key()) for alpha, item in known.items()}
    return {alpha: folder for alpha, folder in found.items() if folder}


def _made(paths: Paths, settings: Settings, seeds: Seeds, prompts: Mapping[float, pd.DataFrame]) -> dict[float, Path]:
    """Pseudo-masks of every alpha1: items of the run store, so that none is made twice, nor one of the pipeline's."""
    with _items(paths, settings, seeds, prompts) as items:
        return dict(zip(items, run_items([*items.values()], settings.engine), strict=True))


@contextmanager
def _items(
    paths: Paths, settings: Settings, seeds: Seeds, prompts: Mapping[float, pd.DataFrame]
) -> Iterator[dict[float, Item]]:
    """What makes the pseudo-masks of each alpha1; their boxes are there for the length of the block."""
    items = {}
    with TemporaryDirectory() as scratch:
        for alpha, table in prompts.items():
            boxes = Path(scratch) / f"{alpha:g}.csv"
            boxes.write_text(boxes_csv(table), encoding="utf-8")
            name = f"pseudo-masks by {settings.pseudo.shown}, alpha1 {alpha:g} %, {seeds.name}"
            items[alpha] = box_item(paths, settings, name, boxes)
        yield items
