"""The control of noise is selected by the rule that made L, and falls back to nothing of its own."""

import numpy as np
import pandas as pd
import pytest

from bench.files import write_json
from bench.paths import Paths
from bench.seeds import Seeds
from bench.settings import load
from bench.sources import ROOT
from bench.stages.controls import _selection

COUNT, SIDE, RUN = 80, 16, Seeds(0, 0)
# Fewer than the share that is asked for, as where CAMs lack a region.
TAKEN = 20


@pytest.mark.parametrize(
    ("rule", "made", "threshold", "selected", "noise_made"),
    [
        # No noise passes: L by the threshold says nothing of how many ranks to take.
        ("threshold", "threshold", 1.0, 0, "none"),
        ("threshold", "top_fraction", 1.0, TAKEN, "top_fraction"),
        ("top_fraction", "top_fraction", 0.7, TAKEN, "top_fraction"),
        # All noise with both regions passes.
        ("threshold", "threshold", 0.0, COUNT, "threshold"),
    ],
)
def test_noise_is_selected_as_l_was(tmp_path, monkeypatch, rule, made, threshold, selected, noise_made):
    monkeypatch.chdir(tmp_path)
    paths, settings = Paths("phantom"), load("phantom", ROOT / "params.yaml")
    options = {"rule": rule, "fallback": "top_fraction", "iou_threshold": threshold}
    options |= {"alpha1": 30.0, "alpha2": 29.0, "upper_level": 255}
    settings = settings.model_copy(update={"select": settings.select.model_copy(update=options)})
    ids = [f"image {number}" for number in range(COUNT)]
    index = pd.DataFrame({"id": ids, "category": "benign", "width": 40, "height": 30})
    cams = paths.cams / settings.select.cams / RUN.name
    cams.mkdir(parents=True)
    paths.selection.mkdir()
    index[["id"]].to_csv(cams / "ids.csv", index=False)
    np.save(cams / "cams.npy", np.random.default_rng(0).random((COUNT, SIDE, SIDE), np.float32))
    index[["id", "category"]].assign(selected=True).to_csv(paths.selection / f"{RUN.name}.csv", index=False)
    write_json(paths.selection / f"{RUN.name}.json", {"rule": made, "selected": TAKEN, "images": COUNT})
    table, summary = _selection("noise_cam", paths, settings, RUN, index)
    assert (int(table["selected"].sum()), summary["rule"]) == (selected, noise_made)
    assert summary["selected"] == selected
