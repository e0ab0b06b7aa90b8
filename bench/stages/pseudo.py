"""Pseudo-masks: the broad region of each image of V prompts the segmenter (paper, section II-C)."""

from pathlib import Path

from bench.artefacts import SAM
from bench.data.images import INDEX, ORIGINALS
from bench.files import own_file
from bench.paths import BOXES, CHECKPOINT, SAM_PHANTOM, Paths
from bench.prompting.kinds import KINDS
from bench.settings import Settings
from bench.stages.common import machine, run_and_lay_out
from bench.store import Item

# Of the settings of `pseudo`, those that every segmenter goes by; the others are SAM's.
OF_ALL = ("segmenter", "without_roi")


def run(paths: Paths, settings: Settings) -> None:
    """Write <run>/ for every run."""
    items = []
    for seeds in settings.seeds.runs:
        name = f"pseudo-masks by {settings.pseudo.shown}, {seeds.name}"
        boxes = paths.selection / BOXES / f"{seeds.name}.csv"
        items.append((seeds.name, box_item(paths, settings, name, boxes)))
    run_and_lay_out(items, settings.engine, paths.pseudo)


def box_item(paths: Paths, settings: Settings, name: str, boxes: Path) -> Item:
    """The item that prompts the profile's segmenter with the boxes of a table (id and corners)."""
    sam = settings.pseudo.segmenter == "sam"
    inputs = {"index": paths.images / INDEX, "originals": paths.images / ORIGINALS, "boxes": boxes}
    small = settings.segmenter if settings.pseudo.trained_here else None
    # Only Segment Anything knows a GPU; the others' items would hold a share of it for nothing.
    engine = settings.engine if sam else settings.engine.model_copy(update={"device": "cpu"})
    options = {
        **settings.pseudo.model_dump(exclude={"checkpoint"}),
        "sizes": small.sizes.model_dump() if small else None,
        **machine(engine, settings.pseudo.precision),
    }
    if sam and settings.pseudo.checkpoint:
        inputs["checkpoint"] = _own_checkpoint(paths, settings)
    elif small:
        inputs["checkpoint"] = paths.segmenter / SAM_PHANTOM / CHECKPOINT
    elif sam:
        # Part of the item's key: other weights give other masks.
        options["weights"] = SAM[settings.pseudo.variant].sha256
    decisive = {name: options.pop(name) for name in (list(options) if sam else OF_ALL)}
    return Item(
        name=name,
        function="bench.items.pseudo:run",
        settings={**decisive, "image_size": settings.prepare.image_size},
        inputs=inputs,
        modules=(KINDS[settings.pseudo.segmenter][0],),
        aside=options,
    )


def _own_checkpoint(paths: Paths, settings: Settings) -> Path:
    """The checkpoint that the settings name; UserError when it is missing or another file than they say."""
    own = settings.pseudo.checkpoint
    assert own is not None
    return own_file(own.file, own.sha256, f"{paths.profile}.pseudo.checkpoint")
