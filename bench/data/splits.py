"""The split into N (training) and K (test), with Table I's class counts or as near to them as groups allow."""

from collections.abc import Sequence

import numpy as np
import pandas as pd

from bench.data.categories import CATEGORIES, TUMOURS
from bench.errors import UserError
from bench.seeding import seed_for

# Table I: images of each class in the whole data set and in the test set K.
ENTIRE = {"benign": 437, "malignant": 210, "normal": 133}
TEST = {"benign": 80, "malignant": 49, "normal": 27}


def test_count(category: str, images: int) -> int:
    """Test images of a class: Table I's share of it, exact for BUSI's own counts."""
    return round(images * TEST[category] / ENTIRE[category])


def paper_split(ids: Sequence[str], categories: Sequence[str], seed: int) -> pd.DataFrame:
    """Columns id, category, set ("N" or "K"), in the order of `ids`.

    Each class is drawn with a generator of its own, so that it does not depend on the other classes.
    Raises UserError when a class would be missing from N or from K.
    """
    table = pd.DataFrame({"id": list(ids), "category": list(categories), "set": "N"})
    for category in CATEGORIES:
        members = table.index[table["category"] == category].to_numpy()
        held_out = test_count(category, len(members))
        if not 0 < held_out < len(members):
            raise UserError(f"{len(members)} images of class {category} cannot be split into training and test")
        drawn = np.random.default_rng(seed_for("split", category, seed)).permutation(members)[:held_out]
        table.loc[drawn, "set"] = "K"
    return table


def grouped_split(ids: Sequence[str], categories: Sequence[str], groups: Sequence[int], seed: int) -> pd.DataFrame:
    """As paper_split, but the images of a group (one number an image) are all in N or all in K.

    Groups are drawn one after the other. A first pass puts a group into K where no class gets more than its count of
    paper_split, a second one where the counts come nearer to these. A group with images of several classes stays whole
    too, and each of its images counts for its own class. Raises UserError when a class would be missing from N or K.
    """
    table = pd.DataFrame({"id": list(ids), "category": list(categories), "set": "N"})
    group_of = pd.factorize(np.asarray(groups))[0]
    members = pd.crosstab(group_of, table["category"]).reindex(columns=list(CATEGORIES), fill_value=0).to_numpy()
    total, held_out = members.sum(axis=0), np.zeros(len(members), bool)
    missing = np.array([test_count(name, images) for name, images in zip(CATEGORIES, total, strict=True)])
    order = np.random.default_rng(seed_for("split", "grouped", seed)).permutation(len(members))
    for group in order:
        if (members[group] <= missing).all():
            held_out[group] = True
            missing = missing - members[group]
    for group in order[~held_out[order]]:
        if np.abs(missing - members[group]).sum() < np.abs(missing).sum():
            held_out[group] = True
            missing = missing - members[group]
    for name, images, tested in zip(CATEGORIES, total, members[held_out].sum(axis=0), strict=True):
        if not 0 < tested < images:
            raise UserError(f"{images} images of class {name} cannot be split into training and test by whole groups")
    table.loc[held_out[group_of], "set"] = "K"
    return table


def group_numbers(table: pd.DataFrame, ids: Sequence[str], source: str) -> list[int]:
    """One number an image of `ids`, from a table with columns id and group; an image not listed is a group of its own.

    source names the table in the UserError for a missing column, an unknown or repeated id, or an empty group.
    """
    if not {"id", "group"} <= set(table.columns):
        raise UserError(f"{source} needs the columns id and group, but has {', '.join(map(str, table.columns))}")
    for fault, wrong in (
        ("lists twice", table.loc[table["id"].duplicated(), "id"]),
        ("names images that the data set lacks:", table.loc[~table["id"].isin(list(ids)), "id"]),
        ("gives no group to", table.loc[table["group"].isna(), "id"]),
    ):
        if len(wrong):
            raise UserError(f"{source} {fault} {', '.join(map(str, wrong[:5]))}{', ...' if len(wrong) > 5 else ''}")
    listed = dict(zip(table["id"], pd.factorize(table["group"])[0], strict=True))
    return [int(listed.get(image_id, len(table) + position)) for position, image_id in enumerate(ids)]


def leaks(split: pd.DataFrame, groups: pd.DataFrame) -> dict[str, float]:
    """How much of the test set has an image of its group in N: tumour images (X) and all (K), counts and percent.

    split: id, category, set. groups: id, group, one line an image.
    """
    table = split.merge(groups, on="id", validate="one_to_one")
    seen = table["group"].isin(table.loc[table["set"] == "N", "group"])
    found: dict[str, float] = {}
    for name, members in (("X", table["category"].isin(TUMOURS)), ("K", table["category"].notna())):
        tested = seen[members & (table["set"] == "K")]
        found |= {name: int(tested.sum()), f"{name}_percent": round(100 * float(tested.mean()), 2)}
    return found
