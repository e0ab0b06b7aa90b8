"""One row of Table II (or a baseline's U-Net), one seed: train on V, L or L and U, predict X."""

from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from bench.data.images import read_rows, read_table
from bench.errors import UserError
from bench.precision import of_item
from bench.runtime import context
from bench.schema import Segmentation
from bench.store import checkpoints_beside
from bench.training.segmentation import TrainingSet, predict, train_segmentation
from bench.weights import weights_folder


def run(settings: dict[str, Any], inputs: dict[str, Path], out: Path) -> None:
    """Fill `out`: probabilities.npy float16 (|X|, S, S) of tumour, ids.csv (X's order), history.csv.

    settings: row, images ("whole", "subset" or "mean_teacher"), recipe, its mean_teacher (aside where the row has no
    teacher), seed, device, threads, auto_precision.
    inputs: index, store, split, labels (a mask store in the index's order), selection (for L and U), and usable
    (the pseudo-masks' log) where images without a pseudo-mask are to be left out.
    """
    recipe = Segmentation.model_validate({**settings["recipe"], "mean_teacher": settings["mean_teacher"]})
    precision = of_item(recipe.optimisation.precision, settings)
    where = context(settings["device"], settings["threads"], precision, checkpoints_beside(out))
    table = read_table(inputs["index"]).merge(read_table(inputs["split"])[["id", "set"]], on="id")
    tumour = table["label"] == 1
    labelled, unlabelled = _positions(table, settings["images"], inputs)
    data = TrainingSet(
        labelled=read_rows(inputs["store"], labelled),
        labels=read_rows(inputs["labels"], labelled),
        unlabelled=None if unlabelled is None else read_rows(inputs["store"], unlabelled),
        size_of_v=int(((table["set"] == "N") & tumour).sum()),
    )
    net, history = train_segmentation(settings["row"], data, recipe, settings["seed"], weights_folder(), where)
    in_x = np.flatnonzero((table["set"] == "K") & tumour)
    np.save(out / "probabilities.npy", predict(net, read_rows(inputs["store"], in_x), where))
    pd.DataFrame({"id": table["id"].iloc[in_x]}).to_csv(out / "ids.csv", index=False)
    history.to_csv(out / "history.csv", index=False)


def _positions(table: pd.DataFrame, images: str, inputs: dict[str, Path]) -> tuple[np.ndarray, np.ndarray | None]:
    """Positions in the index of the labelled images, and of the unlabelled ones for Mean Teacher."""
    in_v = (table["set"] == "N") & (table["label"] == 1)
    in_l = in_v
    if images != "whole":
        selection = read_table(inputs["selection"])
        in_l = in_v & table["id"].isin(selection.loc[selection["selected"], "id"])
    usable = in_l
    if "usable" in inputs:
        log = read_table(inputs["usable"])
        usable = in_l & table["id"].isin(log.loc[log["usable"], "id"])
    if not usable.any():
        raise UserError("no image of V has a usable pseudo-mask - set pseudo.without_roi to background")
    unlabelled = np.flatnonzero(in_v & ~in_l) if images == "mean_teacher" else None
    return np.flatnonzero(usable), unlabelled
