"""What a table's caption must say of the ingredients behind its numbers."""

from bench.schema import BusiData
from bench.settings import Settings


def ingredients(settings: Settings, segmenter: str) -> str:
    """One sentence that names data, weights and segmenter, and what is not the paper's. segmenter: its own name."""
    on_busi = isinstance(settings.data, BusiData)
    data = "BUSI" if on_busi else "Synthetic B-mode phantoms, a check of the machinery, never compared with the paper"
    options = settings.cams[settings.select.cams]
    encoder = settings.train.common.encoder
    weights = "ImageNet weights" if settings.train.common.initialisation == "imagenet" else "no pretrained weights"
    classifier = options.get("network", {}).get("encoder", "own network")
    seeds = ", ".join(map(str, settings.seeds))
    return (
        f"{data}; {settings.prepare.image_size} px; classifier {classifier}, U-Net {encoder}, {weights}; "
        f"{settings.train.common.optimisation.epochs} epochs; box prompts to {segmenter}; seed {seeds}."
    )
