"""Pseudo-labels of the baselines: threshold and DenseCRF on every method's CAMs (METHOD 5.3)."""

from bench.data.images import INDEX, ORIGINALS
from bench.methods import gives, methods
from bench.paths import Paths, seed_name
from bench.settings import Settings
from bench.stages.common import run_and_lay_out
from bench.store import Item


def run(paths: Paths, settings: Settings) -> None:
    """Write <method>/seed-<s>/ for every method of the profile that gives CAMs, and every seed."""
    items = []
    for method in settings.cams:
        if not gives(method, "cams"):
            continue
        official = settings.crf.threshold == "official"
        options = {
            "parameters": settings.crf.parameters,
            "threshold": methods()[method].threshold if official else settings.crf.threshold,
            "image_size": settings.prepare.image_size,
            "threads": settings.engine.threads,
        }
        for seed in settings.seeds:
            place = f"{method}/{seed_name(seed)}"
            inputs = {
                "index": paths.images / INDEX,
                "originals": paths.images / ORIGINALS,
                "cams": paths.cams / place,
            }
            item = Item(f"DenseCRF, {method}, {seed_name(seed)}", "bench.items.crf:run", options, inputs)
            items.append((place, item))
    run_and_lay_out(items, settings.engine, paths.crf)
