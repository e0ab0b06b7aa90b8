"""Selections that stand in the place of L, to see what Algorithm 1's choice of images is worth (METHOD C).

Each takes the select stage's table (id, category, iou, selected) and gives one of its format: id, category, selected,
reason. The pseudo-masks stay those of the real regions, so that the selection alone differs.
"""

import hashlib
from collections.abc import Iterable

import numpy as np
import pandas as pd

from bench.seeding import seed_for

WHAT = {
    "random_subset": "images drawn at random, as many of each class as L has",
    "noise_cam": "the images that Algorithm 1 takes when the CAMs are noise as smooth as they are",
    "inverted": "the least stable images, as many as L has",
    "oracle_subset": "the images with the best pseudo-masks by the truth, as many as L has",
}


def random_subset(selection: pd.DataFrame, seed: int) -> pd.DataFrame:
    """As many images of each class as L has, drawn from all of V; the images' order does not matter."""
    rng = np.random.default_rng(seed_for("random_subset", seed))
    chosen: set[str] = set()
    for _, members in sorted(selection.groupby("category")):
        chosen.update(rng.choice(sorted(members["id"]), int(members["selected"].sum()), replace=False))
    return _table(selection, chosen, "drawn", "not drawn")


def inverted(selection: pd.DataFrame) -> pd.DataFrame:
    """The images with the lowest box IoU; those without both regions only where there are too few others."""
    last = selection["iou"].fillna(np.inf)
    return _table(selection, _lowest(selection, last), "among the least stable", "not among the least stable")


def oracle_subset(selection: pd.DataFrame, mask_iou: pd.Series) -> pd.DataFrame:
    """The images whose pseudo-masks fit the truth best. mask_iou: in the table's order."""
    return _table(selection, _lowest(selection, -mask_iou), "among the best masks", "not among the best masks")


def _lowest(selection: pd.DataFrame, values: Iterable[float]) -> set[str]:
    """Ids of the |L| lowest values; ties fall by a hash of the id, not by order."""
    ranked = sorted(
        zip(values, selection["id"], strict=True), key=lambda pair: (pair[0], hashlib.sha256(pair[1].encode()).digest())
    )
    return {image_id for _, image_id in ranked[: int(selection["selected"].sum())]}


def _table(selection: pd.DataFrame, chosen: set[str], yes: str, no: str) -> pd.DataFrame:
    flags = selection["id"].isin(chosen)
    return selection[["id", "category"]].assign(selected=flags, reason=flags.map({True: yes, False: no}))
