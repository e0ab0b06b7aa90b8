"""The split into N (training) and K (test), with Table I's class counts."""

from collections.abc import Sequence

import numpy as np
import pandas as pd

from bench.data.categories import CATEGORIES
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


PROTOCOLS = {"paper": paper_split}
