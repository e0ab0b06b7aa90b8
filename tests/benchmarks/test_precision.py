"""The comparison of precisions: paired by seed, with intervals over seeds."""

import pandas as pd
import pytest

from bench.benchmarks import precision
from bench.errors import UserError
from bench.paths import Paths
from bench.settings import PARAMS, load
from bench.sources import ROOT


def test_intervals_are_those_of_t_over_seeds():
    scores = pd.DataFrame({"seed": [0, 1, 2], "fp32": [80.0, 82.0, 84.0], "bf16": [81.0, 83.0, 85.0]})
    text = precision.summary(scores)
    # Three values two apart: standard error 2 / sqrt(3), t of two degrees of freedom 4.303.
    assert text == (
        "fp32 82.00 [77.03, 86.97], bf16 83.00 [78.03, 87.97]; bf16 - fp32 1.00 [1.00, 1.00] (mean, 95 % over seeds)"
    )


def test_items_differ_in_precision_and_training_seed_alone():
    paths, settings = Paths("phantom"), load("phantom", ROOT / PARAMS)
    first, second = precision._item(paths, settings, "fp32", 0), precision._item(paths, settings, "bf16", 3)
    assert first.inputs == second.inputs
    assert (first.settings["seed"], second.settings["seed"]) == (0, 3)
    assert first.settings["recipe"]["optimisation"].pop("precision") == "fp32"
    assert second.settings["recipe"]["optimisation"].pop("precision") == "bf16"
    assert first.settings["recipe"] == second.settings["recipe"]


def test_without_prepared_data_it_says_what_to_run(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(UserError, match=r"index\.csv is missing - run"):
        precision.compare(Paths("phantom"), load("phantom", ROOT / PARAMS), 2)
