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
    items, notes, engine = [], {}, settings.engine
    if settings.pseudo.trained_here and settings.segmenter:
        engine = engine.model_copy(update={"threads": settings.segmenter.threads})
        item = Item(
            name=SAM_PHANTOM,
            function="bench.items.segmenter:run",
            settings={
                **settings.segmenter.model_dump(),
                **machine(engine, settings.segmenter.optimisation.precision),
            },
            inputs={},
        )
        items.append((SAM_PHANTOM, item))
    elif settings.pseudo.segmenter == "sam":
        notes[NOTE] = f"nothing is trained: the checkpoint of SAM {settings.pseudo.variant} is used"
    else:
        notes[NOTE] = f"nothing is trained: the segmenter is {settings.pseudo.segmenter}"
    run_and_lay_out(items, engine, paths.segmenter, notes)
