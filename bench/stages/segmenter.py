"""Train the small SAM of `pseudo.variant: phantom` on phantoms of its own; a note where another segmenter is used.

It learns from masks, but of phantoms that no other stage ever sees, rendered on the spot from a seed of their own (the
settings refuse the data set's): it neither reads nor can reach the masks of the data set.
"""

from bench.paths import SAM_PHANTOM, Paths
from bench.settings import Settings
from bench.stages.common import machine, run_and_lay_out
from bench.store import Item

NOTE = "note.txt"


def run(paths: Paths, settings: Settings) -> None:
    """Write sam_phantom/, or note.txt."""
    notes, items = {}, segmenter_items(settings)
    if not items and settings.pseudo.segmenter == "sam":
        notes[NOTE] = f"nothing is trained: the checkpoint of SAM {settings.pseudo.variant} is used"
    elif not items:
        notes[NOTE] = f"nothing is trained: the segmenter is {settings.pseudo.segmenter}"
    run_and_lay_out([(item.name, item) for item in items], settings.engine, paths.segmenter, notes)


def segmenter_items(settings: Settings) -> list[Item]:
    """The training, where the settings ask for one. It needs nothing of another stage."""
    if not (settings.pseudo.trained_here and settings.segmenter):
        return []
    recipe = settings.segmenter
    return [
        Item(
            name=SAM_PHANTOM,
            function="bench.items.segmenter:run",
            settings={**recipe.model_dump(), **machine(settings.engine, recipe.optimisation.precision)},
            inputs={},
        )
    ]
