"""Pseudo-masks: the broad region of each image of V prompts the segmenter (paper, section II-C)."""

from pathlib import Path

from bench.data.images import INDEX, ORIGINALS
from bench.errors import UserError
from bench.files import digest
from bench.paths import CHECKPOINT, SAM_PHANTOM, Paths, seed_name
from bench.settings import Settings
from bench.stages.common import machine, run_and_lay_out
from bench.store import Item


def run(paths: Paths, settings: Settings) -> None:
    """Write seed-<s>/ for every seed."""
    options = settings.pseudo.model_dump()
    inputs = {"index": paths.images / INDEX, "originals": paths.images / ORIGINALS}
    if options.pop("checkpoint"):
        inputs["checkpoint"] = _own_checkpoint(paths, settings)
    options["sizes"] = None
    if settings.pseudo.trained_here and settings.segmenter:
        inputs["checkpoint"] = paths.segmenter / SAM_PHANTOM / CHECKPOINT
        options["sizes"] = settings.segmenter.sizes.model_dump()
    items = []
    for seed in settings.seeds:
        item = Item(
            name=f"{settings.pseudo.segmenter}, {seed_name(seed)}",
            function="bench.items.pseudo:run",
            settings={**options, "image_size": settings.prepare.image_size, **machine(settings.engine)},
            inputs={**inputs, "selection": paths.selection / f"{seed_name(seed)}.csv"},
        )
        items.append((seed_name(seed), item))
    run_and_lay_out(items, settings.engine, paths.pseudo)


def _own_checkpoint(paths: Paths, settings: Settings) -> Path:
    """The checkpoint that the settings name; UserError when it is missing or another file than they say."""
    assert settings.pseudo.checkpoint is not None
    file, where = Path(settings.pseudo.checkpoint.file), f"{paths.profile}.pseudo.checkpoint"
    if not file.is_file():
        raise UserError(f"{where}.file: {file} does not exist")
    found = digest(file)
    if found != settings.pseudo.checkpoint.sha256:
        raise UserError(f"{where}.sha256: {file} has the SHA-256 {found} - correct the setting or the file")
    return file
