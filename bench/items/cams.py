"""One weakly supervised method, one seed: train the classifier on N, classify N and K, give CAMs of V."""

from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from bench.data.images import read_rows, read_table
from bench.methods import ImageSet, method_module, methods
from bench.runtime import context
from bench.weights import weights_folder


def run(settings: dict[str, Any], inputs: dict[str, Path], out: Path) -> None:
    """Fill `out`: cams.npy float16 (|V|, S, S), ids.csv (V's order), classification.csv, history.csv.

    settings: method, options (its block), seed, device, threads. inputs: index, store, split.
    """
    options = methods()[settings["method"]].settings.model_validate(settings["options"])
    module = method_module(settings["method"])
    where = context(settings["device"], settings["threads"], settings["options"]["optimisation"]["precision"])
    table = read_table(inputs["index"]).merge(read_table(inputs["split"])[["id", "set"]], on="id")
    in_n = np.flatnonzero(table["set"] == "N")
    train = ImageSet(read_rows(inputs["store"], in_n), table["label"].to_numpy(np.int64)[in_n])
    net, history = module.fit(options, train, settings["seed"], weights_folder(), where)

    logits = module.logits(net, read_rows(inputs["store"], np.arange(len(table))), where)
    table["logit_normal"], table["logit_tumour"] = logits[:, 0], logits[:, 1]
    table[["id", "category", "set", "label", "logit_normal", "logit_tumour"]].to_csv(
        out / "classification.csv", index=False
    )
    in_v = np.flatnonzero((table["set"] == "N") & (table["label"] == 1))
    cams = module.cams(options, net, read_rows(inputs["store"], in_v), where)
    np.save(out / "cams.npy", cams.astype(np.float16))
    pd.DataFrame({"id": table["id"].iloc[in_v]}).to_csv(out / "ids.csv", index=False)
    history.to_csv(out / "history.csv", index=False)
