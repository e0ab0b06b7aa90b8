"""The report's section on the data set: near-duplicates, what lies over the images, and what leaks into the test."""

from collections.abc import Sequence
from typing import Any

import pandas as pd

from bench.data.categories import CATEGORIES
from bench.report.tables import Table
from bench.settings import Settings

PAIRS_SHOWN = 20


def audit_tables(
    settings: Settings, found: dict[str, Any], mask_counts: pd.DataFrame, leaks: dict[str, dict[str, float]]
) -> list[Table]:
    """Two tables from the audit's summary.json, the masks' counts.csv and the leaks in metrics.json."""
    several = mask_counts[mask_counts["masks"] > 1]["category"].value_counts()
    lines = {
        "All": found["images_by_class"],
        "With a near-duplicate": found["images_in_groups_by_class"],
        "In colour": found["colour_by_class"],
        "With burnt-in text or calipers": found["annotated_by_class"],
        "With several masks": {name: int(several.get(name, 0)) for name in CATEGORIES},
    }
    counted = [
        [name, *(str(counts[part]) for part in CATEGORIES), str(sum(counts.values()))] for name, counts in lines.items()
    ]
    options = settings.audit
    caption = (
        f"Near-duplicates: {found['pairs']} pairs in {found['groups']} groups (largest group: "
        f"{found['largest_group']}). Their thumbnails of {options.thumbnail} px correlate above {options.ncc:g}, with "
        f"up to {100 * options.crop:g} % of height and width cropped off one of the two. Text and calipers are found "
        "by a detector (METHOD part A). "
        f"Pixel for pixel the same: {_listed(found['exact_duplicates'])}. "
        f"Pairs across classes: {_listed(found['cross_class_pairs'])}."
    )
    leaked = [[seed, _share(counts, "X"), _share(counts, "K")] for seed, counts in leaks.items()]
    return [
        Table(
            "audit",
            "What the audit found",
            caption,
            ["Images", *(name.capitalize() for name in CATEGORIES), "Total"],
            counted,
        ),
        Table(
            "leaks",
            f"Test images with a near-duplicate in the training set (protocol {settings.split.protocol})",
            "",
            ["Split", "Of the tumour images X", "Of all test images K"],
            leaked,
        ),
    ]


def audit_section(tables: Sequence[Table]) -> str:
    """The tables as Markdown."""
    parts = []
    for table in tables:
        parts += [f"### {table.title}", table.frame.to_markdown(index=False, disable_numparse=True), table.caption]
    return "\n\n".join(part for part in parts if part)


def _share(counts: dict[str, float], name: str) -> str:
    return f"{counts[name]} ({counts[f'{name}_percent']:.1f} %)"


def _listed(pairs: Sequence[Sequence[str]]) -> str:
    shown = "; ".join(" and ".join(pair) for pair in pairs[:PAIRS_SHOWN])
    more = f"; {len(pairs) - PAIRS_SHOWN} more in pairs.csv" if len(pairs) > PAIRS_SHOWN else ""
    return f"{shown}{more}" if pairs else "none"
