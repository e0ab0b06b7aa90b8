"""What a table's caption must say of the ingredients behind its numbers."""

from collections.abc import Collection, Iterable, Sequence, Set
from typing import Any

from bench.methods import gives, methods
from bench.noise import PAPER_RULE
from bench.schema import ABLATION, BusiData, Segmentation
from bench.settings import Settings

# The paper's section III-A, for its segmentation network and AMR.
PAPER_ENCODER = "resnet50"
PAPER_OPTIMISATION = {
    "epochs": (60, "{} epochs"),
    "batch_size": (32, "batches of {}"),
    "learning_rate": (0.001, "learning rates of {}"),
}


def ingredients(settings: Settings, segmenter: str) -> str:
    """Sentences that name data, networks, weights, epochs, segmenter and seeds. segmenter: its own name."""
    changed = [row for row in ABLATION if settings.train.rows.get(row)]
    unet = _unet(settings.train.common, changed)
    return (
        f"{_data(settings)} Classifier {_network(settings, settings.select.cams)}; {unet}; "
        f"box prompts to {segmenter}; {seeds_named(settings)}."
    )


def baseline_ingredients(settings: Settings) -> str:
    """As `ingredients`, for the baselines' road: their networks, thresholds, DenseCRF and U-Net."""
    networks = "; ".join(_network(settings, method) for method in settings.cams)
    changed = [method for method in settings.cams if settings.train.rows.get(method)]
    common = Segmentation.model_validate(settings.recipe("pseudo_whole"))
    return (
        f"{_data(settings)} CAM networks: {networks}. CAMs {_cut(settings)}, DenseCRF {settings.crf.parameters} on all "
        f"of V, then the {_unet(common, changed)}; {seeds_named(settings)}."
    )


def seeds_named(settings: Settings) -> str:
    """The seeds of both axes, for a caption."""
    axes = (("split", settings.seeds.split), ("training", settings.seeds.training))
    return ", ".join(f"{axis} seed{'s' * (len(seeds) > 1)} {', '.join(map(str, seeds))}" for axis, seeds in axes)


def substitutes(settings: Settings, segmenter: str, rules: Collection[str]) -> list[str]:
    """What stands in the place of an ingredient that the paper names, or that its words imply.

    segmenter: its own name. rules: by which L was made (`rule` of the selections' summaries), whatever was asked for.
    """
    classifier, unets = settings.cams[settings.select.cams], [settings.row(row) for row in settings.train.rows]
    network = classifier.get("network", {})
    found = []
    if not segmenter.startswith("SAM ViT-"):
        found.append(f"{segmenter.removesuffix(' (not SAM)')} instead of SAM")
    if settings.select.cams != "amr":
        found.append(f"CAMs of {settings.select.cams} instead of AMR's")
    else:
        found += _other_size("AMR", {network["encoder"]}, {network["width"]})
    if "none" in (network.get("initialisation", "none"), *(unet.initialisation for unet in unets)):
        found.append("without pretrained weights")
    found += _other_selection(settings, rules)
    found += _other_size("a U-Net", {unet.encoder for unet in unets}, {unet.width for unet in unets})
    trained = [classifier["optimisation"], *(unet.optimisation.model_dump() for unet in unets)]
    for name, (paper, words) in PAPER_OPTIMISATION.items():
        if others := {options[name] for options in trained} - {paper}:
            found.append(f"{words.format(_numbers(others))} instead of {paper:g}")
    return found


def _other_size(what: str, encoders: Set[str], widths: Set[float]) -> list[str]:
    """Where networks are not the paper's, or do not have all of its channels."""
    found = []
    if others := sorted(encoders - {PAPER_ENCODER}):
        found.append(f"{what} with {' and '.join(others)} instead of {PAPER_ENCODER}")
    if narrow := widths - {1}:
        found.append(f"{what} with {_numbers(100 * width for width in narrow)} % of the usual channels")
    return found


def _other_selection(settings: Settings, rules: Collection[str]) -> list[str]:
    """Where images are split and chosen otherwise than the paper says."""
    options, found = settings.select, []
    if "top_fraction" in rules:
        found.append("L made by rank instead of by threshold")
    alphas, paper = (options.alpha1, options.alpha2), (PAPER_RULE.alpha1, PAPER_RULE.alpha2)
    if alphas != paper:
        found.append(f"alphas of {_numbers(alphas)} % instead of {_numbers(paper)} %")
    if options.upper_level != PAPER_RULE.upper_level:
        found.append(f"CAMs cut off at {options.upper_level} instead of {PAPER_RULE.upper_level}")
    if options.rule == "threshold" and options.iou_threshold != PAPER_RULE.iou_threshold:
        found.append(f"a box IoU above {options.iou_threshold:g} instead of {PAPER_RULE.iou_threshold:g}")
    if settings.split.protocol != "paper":
        found.append("a split by groups of images instead of by class")
    return found


def _numbers(values: Iterable[float]) -> str:
    """E.g. "8 and 15", ascending."""
    return " and ".join(f"{value:g}" for value in sorted(values))


def made_like_the_paper(settings: Settings, segmenter: str, rules: Collection[str]) -> str:
    """Whether results on BUSI test the paper: "made ...", with what stands in the place of its ingredients."""
    others = substitutes(settings, segmenter, rules)
    return f"made {_listed(_with(others))}: no test of the paper" if others else "made with the paper's ingredients"


def _cut(settings: Settings) -> str:
    if not settings.crf.cuts:
        return "not cut but taken as soft labels"
    if settings.crf.threshold == "otsu":
        return "cut by Otsu's rule"
    thresholds = (f"{methods()[method].threshold:g}" for method in settings.cams if gives(method, "cams"))
    return f"cut at the original evaluations' thresholds ({', '.join(thresholds)})"


def _data(settings: Settings) -> str:
    on_busi = isinstance(settings.data, BusiData)
    data = "BUSI" if on_busi else "Synthetic B-mode phantoms: a check of the machinery, never compared with the paper"
    groups = "groups of near-duplicate images" if settings.split.groups is None else "groups that split.groups names"
    split = "" if settings.split.protocol == "paper" else f" Split by whole {groups}."
    return f"{data}. {settings.prepare.image_size} px.{split}"


def _network(settings: Settings, method: str) -> str:
    """A method with what its network's settings say of size, places of maps and weights, and its epochs."""
    options = settings.cams[method]
    network = options.get("network", {})
    sizes = [_size(name, value) for name, value in network.items() if name in ORIGINAL and value != ORIGINAL[name]]
    steps = [options[step]["epochs"] for step in ("optimisation", "second_step") if step in options]
    if options.get("training") == "two_stage":
        steps.insert(0, options["spotlight_epochs"])
    parts = [*sizes, _weights(network.get("initialisation", "none")), f"{' + '.join(map(str, steps))} epochs"]
    return f"{method} ({', '.join(parts)})"


# Settings of a network's size and of where its maps lie, and their values in the original, which go without saying.
ORIGINAL = {
    "encoder": None,
    "layout": None,
    "width": 1.0,
    "batch_norm": False,
    "embed_dim": 96,
    "depths": [2, 2, 6],
    "heads": [3, 6, 12],
    "cells": "official",
}


def _size(name: str, value: Any) -> str:
    if name in ("encoder", "layout"):
        return str(value)
    if value is True:
        return name.replace("_", " ")
    return f"{name.replace('_', ' ')} {'-'.join(map(str, value)) if isinstance(value, list) else value}"


def _unet(recipe: Segmentation, changed: Sequence[str]) -> str:
    others = f"; rows with settings of their own: {', '.join(changed)}" if changed else ""
    weights = _weights(recipe.initialisation)
    shape = {5: "", 4: " without its last stage", 3: " without its last two stages"}[len(recipe.decoder_channels)]
    parts = [*([_size("width", recipe.width)] if recipe.width != 1 else []), weights]
    return f"U-Net with {recipe.encoder}{shape} ({', '.join(parts)}, {recipe.optimisation.epochs} epochs{others})"


def _weights(initialisation: str) -> str:
    return "ImageNet weights" if initialisation == "imagenet" else "no pretrained weights"


def _with(others: Sequence[str]) -> list[str]:
    """The first as "with ...", unless it says "without ..."; later ones too."""
    return [other if other.startswith("without") else f"with {other}" for other in others]


def _listed(parts: Sequence[str]) -> str:
    return parts[0] if len(parts) == 1 else f"{', '.join(parts[:-1])} and {parts[-1]}"
