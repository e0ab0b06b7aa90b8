"""Pseudo-masks: the broad region of each image of V prompts the segmenter (paper, section II-C)."""

from pathlib import Path

from bench.artefacts import SAM
from bench.data.images import INDEX, ORIGINALS
from bench.files import own_file
from bench.paths import Paths, seed_name
from bench.settings import Settings
from bench.stages.common import machine, run_and_lay_out
from bench.store import Item


def run(paths: Paths, settings: Settings) -> None:
    """Write seed-<s>/ for every seed."""
    items = []
    for seed in settings.seeds:
        name = seed_name(seed)
        item = box_item(paths, settings, f"{settings.pseudo.segmenter}, {name}", paths.selection / f"{name}.csv")
        items.append((name, item))
    run_and_lay_out(items, settings.engine, paths.pseudo)


def box_item(paths: Paths, settings: Settings, name: str, boxes: Path) -> Item:
    """The item that prompts the profile's segmenter with the boxes of a table (id and corners)."""
    options = settings.pseudo.model_dump()
    inputs = {"index": paths.images / INDEX, "originals": paths.images / ORIGINALS}
    if options.pop("checkpoint"):
        inputs["checkpoint"] = _own_checkpoint(paths, settings)
    elif settings.pseudo.segmenter == "sam":
        # Part of the item's key: other weights give other masks.
        options["weights"] = SAM[settings.pseudo.variant].sha256
    return Item(
        name=name,
        function="bench.items.pseudo:run",
        settings={**options, "image_size": settings.prepare.image_size, **machine(settings.engine)},
        inputs={**inputs, "selection": boxes},
    )


def _own_checkpoint(paths: Paths, settings: Settings) -> Path:
    """The checkpoint that the settings name; UserError when it is missing or another file than they say."""
    own = settings.pseudo.checkpoint
    assert own is not None
    return own_file(own.file, own.sha256, f"{paths.profile}.pseudo.checkpoint")
