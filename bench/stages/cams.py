"""Train every weakly supervised method on images and labels, and extract CAMs of V (paper, section II-A).

Where items run in processes, the small SAM of the stage `segmenter` is trained beside them, for the run store.
"""

from bench.data.images import INDEX, STORE
from bench.methods import methods
from bench.nets.weights import pins
from bench.paths import Paths
from bench.settings import Settings
from bench.stages.common import machine, run_and_lay_out
from bench.stages.segmenter import segmenter_items
from bench.store import Item


def run(paths: Paths, settings: Settings) -> None:
    """Write <method>/<run>/ for every method of the profile and every seed."""
    items = []
    # Longest first, as far as epochs tell: side by side, all have then ended soonest.
    for method, options in sorted(settings.cams.items(), key=lambda one: -one[1]["optimisation"]["epochs"]):
        weights = pins(methods()[method].settings.model_validate(options))
        for seeds in settings.seeds.runs:
            item = Item(
                name=f"{method}, {seeds.name}",
                function="bench.items.cams:run",
                settings={
                    "method": method,
                    "options": options,
                    "weights": weights,
                    "seed": seeds.training,
                    **machine(settings.engine, options["optimisation"]["precision"]),
                },
                inputs={
                    "index": paths.images / INDEX,
                    "store": paths.images / STORE,
                    "split": paths.split(seeds.split),
                },
                modules=(f"baselines.{method}",),
            )
            items.append((f"{method}/{seeds.name}", item))
    run_and_lay_out(items, settings.engine, paths.cams, ahead=segmenter_items(settings))
