"""What a table's caption must say of the ingredients behind its numbers."""

from bench.schema import BusiData
from bench.settings import Settings


def ingredients(settings: Settings, segmenter: str) -> str:
    """Sentences that name data, networks, weights, epochs, segmenter and seeds. segmenter: its own name."""
    on_busi = isinstance(settings.data, BusiData)
    data = "BUSI" if on_busi else "Synthetic B-mode phantoms: a check of the machinery, never compared with the paper"
    options, recipe = settings.cams[settings.select.cams], settings.train.common
    network = options.get("network", {})
    changed = ", ".join(row for row, changes in settings.train.rows.items() if changes)
    return (
        f"{data}. {settings.prepare.image_size} px; classifier {settings.select.cams} with "
        f"{network.get('encoder', 'a network of its own')} ({_weights(network.get('initialisation', 'none'))}, "
        f"{options['optimisation']['epochs']} epochs); U-Net with {recipe.encoder} ({_weights(recipe.initialisation)}, "
        f"{recipe.optimisation.epochs} epochs{f'; rows with settings of their own: {changed}' if changed else ''}); "
        f"box prompts to {segmenter}; seed {', '.join(map(str, settings.seeds))}."
    )


def _weights(initialisation: str) -> str:
    return "ImageNet weights" if initialisation == "imagenet" else "no pretrained weights"
