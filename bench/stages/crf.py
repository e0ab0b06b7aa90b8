"""Pseudo-labels of the baselines: threshold and DenseCRF on every method's CAMs (METHOD 5.3)."""

from bench.data.images import INDEX, ORIGINALS
from bench.methods import gives, methods
from bench.paths import Paths
from bench.seeds import Seeds
from bench.settings import Settings
from bench.stages.common import run_and_lay_out
from bench.store import Item


def run(paths: Paths, settings: Settings) -> None:
    """Write <method>/<run>/ for every method of the profile that gives CAMs, and every seed."""
    items = []
    for method in (name for name in settings.cams if gives(name, "cams")):
        official = settings.crf.threshold == "official"
        threshold = methods()[method].threshold if official else settings.crf.threshold
        for seeds in settings.seeds.runs:
            items.append((f"{method}/{seeds.name}", crf_item(paths, settings, method, seeds, threshold)))
    run_and_lay_out(items, settings.engine, paths.crf)


def crf_item(paths: Paths, settings: Settings, method: str, seeds: Seeds, threshold: float | str) -> Item:
    """The item that makes pseudo-labels of one method's CAMs. threshold: 0 to 1, or "otsu"."""
    return Item(
        name=f"DenseCRF, {method}, {seeds.name}",
        function="bench.items.crf:run",
        settings={
            "parameters": settings.crf.parameters,
            "threshold": threshold,
            "image_size": settings.prepare.image_size,
        },
        aside={"threads": settings.engine.threads},
        inputs={
            "index": paths.images / INDEX,
            "originals": paths.images / ORIGINALS,
            "cams": paths.cams / method / seeds.name,
        },
    )
