"""The report's section on the data set: near-duplicates, what lies over the images, and what leaks into the test."""

from collections.abc import Sequence
from typing import Any

import pandas as pd

from bench.data.categories import CATEGORIES
from bench.settings import Settings

PAIRS_SHOWN = 20


def audit_section(
    settings: Settings, found: dict[str, Any], mask_counts: pd.DataFrame, leaks: dict[str, dict[str, float]]
) -> str:
    """Markdown from the audit's summary.json, the masks' counts.csv and the leaks in metrics.json."""
    several = mask_counts[mask_counts["masks"] > 1]["category"].value_counts()
    lines = {
        "Images": found["images_by_class"],
        "With a near-duplicate": found["images_in_groups_by_class"],
        "In colour": found["colour_by_class"],
        "With burnt-in text or calipers": found["annotated_by_class"],
        "With several masks": {name: int(several.get(name, 0)) for name in CATEGORIES},
    }
    rows = [(name, *(counts[part] for part in CATEGORIES), sum(counts.values())) for name, counts in lines.items()]
    table = pd.DataFrame(rows, columns=["", *(name.capitalize() for name in CATEGORIES), "Total"])
    leaked = pd.DataFrame(
        [(seed, _share(counts, "X"), _share(counts, "K")) for seed, counts in leaks.items()],
        columns=["Split", "Of the tumour images X", "Of all test images K"],
    )
    options = settings.audit
    return f"""{table.to_markdown(index=False)}

Near-duplicates: {found["pairs"]} pairs in {found["groups"]} groups (largest group: {found["largest_group"]}). Their
thumbnails of {options.thumbnail} px correlate above {options.ncc:g}, with up to {100 * options.crop:g} % of height
and width cropped off one of the two. Text and calipers are found by a detector (METHOD part A).

- Pixel for pixel the same: {_listed(found["exact_duplicates"])}.
- Pairs across classes: {_listed(found["cross_class_pairs"])}.

Test images with a near-duplicate in the training set (protocol `{settings.split.protocol}`):

{leaked.to_markdown(index=False)}
"""


def _share(counts: dict[str, float], name: str) -> str:
    return f"{counts[name]} ({counts[f'{name}_percent']:.1f} %)"


def _listed(pairs: Sequence[Sequence[str]]) -> str:
    shown = "; ".join(" and ".join(pair) for pair in pairs[:PAIRS_SHOWN])
    more = f"; {len(pairs) - PAIRS_SHOWN} more in pairs.csv" if len(pairs) > PAIRS_SHOWN else ""
    return f"{shown}{more}" if pairs else "none"
