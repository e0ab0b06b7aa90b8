"""Items side by side, a core each, against one after the other on all cores; and processes of our own against Ray's."""

import os
import tempfile
from importlib.util import find_spec
from pathlib import Path

from bench.benchmarks.timing import Comparison, seconds
from bench.engine import run_items
from bench.schema import Engine, PhantomSam
from bench.settings import PARAMS, load
from bench.sources import ROOT
from bench.store import Item, Store

ITEMS, PHANTOMS, EPOCHS = 4, 200, 2
PROFILE = "phantom"


def measure(images: int | None) -> list[Comparison]:
    """Time four trainings of the demo's small SAM, each on `images` phantoms (200 when None), from start to end."""
    count, cores = images or PHANTOMS, len(os.sched_getaffinity(0))
    one_by_one = _time("inline", cores, count)
    side_by_side = _time("processes", 1, count)
    work = f"{ITEMS} trainings of sam_phantom on {count} phantoms, {EPOCHS} epochs"
    plain = f"one after the other, threads: {cores}"
    found = [Comparison(work, plain, one_by_one, "processes, a core each", side_by_side)]
    if find_spec("ray"):
        found.append(Comparison(work, "Ray, a core each", _time("ray", 1, count), "processes", side_by_side))
    return found


def _time(kind: str, threads: int, count: int) -> float:
    """Seconds of all items in an empty run store."""
    engine = Engine.model_validate(
        {"kind": kind, "device": "cpu", "threads": threads, "gpus_per_item": 1.0, "checkpoint_seconds": 0.0}
    )
    recipe = load(PROFILE, ROOT / PARAMS).segmenter
    assert recipe is not None
    items = [_item(recipe, seed, count, threads) for seed in range(ITEMS)]
    with tempfile.TemporaryDirectory() as folder:
        return seconds(lambda: run_items(items, engine, Store(Path(folder))))


def _item(recipe: PhantomSam, seed: int, count: int, threads: int) -> Item:
    half = (count + 1) // 2
    few = recipe.model_copy(
        update={
            "training": recipe.training.model_copy(update={"seed": seed, "benign": half, "malignant": half}),
            "held_out": recipe.held_out.model_copy(update={"benign": 2, "malignant": 2}),
            "optimisation": recipe.optimisation.model_copy(update={"epochs": EPOCHS, "precision": "fp32"}),
        }
    )
    settings = {**few.model_dump(), "device": "cpu", "threads": threads}
    return Item(f"sam_phantom, seed {seed}", "bench.items.segmenter:run", settings, {})
