"""Pseudo-masks: the broad region of each image of V prompts the segmenter (paper, section II-C)."""

from pathlib import Path

from bench.data.images import INDEX, ORIGINALS
from bench.errors import UserError
from bench.paths import Paths, seed_name
from bench.settings import Settings
from bench.stages.common import machine, run_and_lay_out
from bench.store import Item


def run(paths: Paths, settings: Settings) -> None:
    """Write seed-<s>/ for every seed."""
    options = settings.pseudo.model_dump()
    inputs = {"index": paths.images / INDEX, "originals": paths.images / ORIGINALS}
    checkpoint = options.pop("checkpoint")
    if checkpoint:
        inputs["checkpoint"] = Path(checkpoint)
        if not Path(checkpoint).is_file():
            raise UserError(f"{paths.profile}.pseudo.checkpoint: {checkpoint} does not exist")
    items = []
    for seed in settings.seeds:
        item = Item(
            name=f"{settings.pseudo.segmenter}, {seed_name(seed)}",
            function="bench.items.pseudo:run",
            settings={**options, "image_size": settings.prepare.image_size, **machine(settings.engine)},
            inputs={**inputs, "selection": paths.selection / f"{seed_name(seed)}.csv"},
        )
        items.append((seed_name(seed), item))
    run_and_lay_out(items, paths.pseudo)
