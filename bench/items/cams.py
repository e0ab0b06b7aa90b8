"""One weakly supervised method, one seed: train on N, classify N and K, give CAMs of V and segment X."""

from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from bench.data.images import read_rows, read_table
from bench.methods import TUMOUR, ImageSet, gives, method_module, methods
from bench.nets.saved import save_net
from bench.paths import DIRECT, NET
from bench.precision import of_item
from bench.runtime import context
from bench.store import checkpoints_beside
from bench.weights import weights_folder


def run(settings: dict[str, Any], inputs: dict[str, Path], out: Path) -> None:
    """Fill `out`: net.safetensors, classification.csv, history.csv, and what the method gives.

    Of `cams`: cams.npy float16 (|V|, S, S) and ids.csv (V's order). Of `segment`: direct/ with probabilities.npy
    float16 (|X|, S, S) and ids.csv (X's order).

    settings: method, options (its block), seed, device, threads, auto_precision. inputs: index, store, split.
    """
    options = methods()[settings["method"]].settings.model_validate(settings["options"])
    module = method_module(settings["method"])
    precision = of_item(settings["options"]["optimisation"]["precision"], settings)
    where = context(settings["device"], settings["threads"], precision, checkpoints_beside(out))
    table = read_table(inputs["index"]).merge(read_table(inputs["split"])[["id", "set"]], on="id")
    in_n = np.flatnonzero(table["set"] == "N")
    net, history = module.fit(options, _images(table, inputs["store"], in_n), settings["seed"], weights_folder(), where)
    save_net(net, out / NET)
    history.to_csv(out / "history.csv", index=False)

    logits = module.logits(net, read_rows(inputs["store"], np.arange(len(table))), where)
    table["logit_normal"], table["logit_tumour"] = logits[:, 0], logits[:, 1]
    table[["id", "category", "set", "label", "logit_normal", "logit_tumour"]].to_csv(
        out / "classification.csv", index=False
    )
    tumour = table["label"] == TUMOUR
    if gives(settings["method"], "cams"):
        in_v = np.flatnonzero((table["set"] == "N") & tumour)
        cams = module.cams(options, net, _images(table, inputs["store"], in_v), where)
        _write(table, in_v, cams, out / "cams.npy")
    if gives(settings["method"], "segment"):
        in_x = np.flatnonzero((table["set"] == "K") & tumour)
        probabilities = module.segment(options, net, read_rows(inputs["store"], in_x), where)
        (out / DIRECT).mkdir()
        _write(table, in_x, probabilities, out / DIRECT / "probabilities.npy")


def _images(table: pd.DataFrame, store: Path, positions: np.ndarray) -> ImageSet:
    part = table.iloc[positions]
    return ImageSet(list(part["id"]), read_rows(store, positions), part["label"].to_numpy(np.int64, copy=True))


def _write(table: pd.DataFrame, positions: np.ndarray, maps: np.ndarray, file: Path) -> None:
    if len(maps) != len(positions) or maps.ndim != 3 or not (maps.min() >= 0 and maps.max() <= 1):
        raise ValueError(f"{file.name}: {len(positions)} maps in [0, 1] were expected, got {maps.shape}")
    np.save(file, maps.astype(np.float16))
    pd.DataFrame({"id": table["id"].iloc[positions]}).to_csv(file.with_name("ids.csv"), index=False)
