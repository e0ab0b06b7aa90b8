"""What a table's caption must say of the ingredients behind its numbers."""

from bench.methods import gives, methods
from bench.rows import ROWS
from bench.schema import BusiData
from bench.settings import Settings


def ingredients(settings: Settings, segmenter: str) -> str:
    """Sentences that name data, networks, weights, epochs, segmenter and seeds. segmenter: its own name."""
    rows = {row.id for row in ROWS}
    changed = ", ".join(row for row, changes in settings.train.rows.items() if changes and row in rows)
    return (
        f"{_data(settings)} Classifier {_network(settings, settings.select.cams)}; {_unet(settings, changed)}; "
        f"box prompts to {segmenter}; seed {', '.join(map(str, settings.seeds))}."
    )


def baseline_ingredients(settings: Settings) -> str:
    """As `ingredients`, for the baselines' road: their networks, thresholds, DenseCRF and U-Net."""
    networks = "; ".join(_network(settings, method) for method in settings.cams)
    changed = ", ".join(row for row, changes in settings.train.rows.items() if changes and row in settings.cams)
    cut = {
        "official": "cut at the original evaluations' thresholds ("
        + ", ".join(f"{methods()[method].threshold:g}" for method in settings.cams if gives(method, "cams"))
        + ")",
        "otsu": "cut by Otsu's rule",
    }[settings.crf.threshold]
    return (
        f"{_data(settings)} CAM networks: {networks}. CAMs {cut}, DenseCRF {settings.crf.parameters} on all of V, "
        f"then the {_unet(settings, changed)}; seed {', '.join(map(str, settings.seeds))}."
    )


def _data(settings: Settings) -> str:
    on_busi = isinstance(settings.data, BusiData)
    data = "BUSI" if on_busi else "Synthetic B-mode phantoms: a check of the machinery, never compared with the paper"
    return f"{data}. {settings.prepare.image_size} px."


def _network(settings: Settings, method: str) -> str:
    """A method with its encoder where it has one, weights and epochs."""
    options = settings.cams[method]
    network = options.get("network", {})
    encoder = f"{network['encoder']}, " if "encoder" in network else ""
    weights = _weights(network.get("initialisation", "none"))
    steps = [options[step]["epochs"] for step in ("optimisation", "second_step") if step in options]
    return f"{method} ({encoder}{weights}, {' + '.join(map(str, steps))} epochs)"


def _unet(settings: Settings, changed: str) -> str:
    recipe = settings.train.common
    return (
        f"U-Net with {recipe.encoder} ({_weights(recipe.initialisation)}, {recipe.optimisation.epochs} epochs"
        f"{f'; rows with settings of their own: {changed}' if changed else ''})"
    )


def _weights(initialisation: str) -> str:
    return "ImageNet weights" if initialisation == "imagenet" else "no pretrained weights"
