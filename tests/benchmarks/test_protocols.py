"""The comparison of protocols: who is told apart, and what is printed of it."""

import numpy as np
import pandas as pd
import pytest

from bench.benchmarks import protocols
from bench.data.images import INDEX
from bench.errors import UserError
from bench.paths import Paths
from bench.settings import PARAMS, load
from bench.sources import ROOT

SIZES = {"benign": 60, "malignant": 40, "normal": 32}
# Per-image IoU of a network that knows a near-duplicate, and of one that does not.
KNOWN, UNKNOWN = 0.75, 0.5


@pytest.fixture
def index() -> pd.DataFrame:
    categories = [name for name, count in SIZES.items() for _ in range(count)]
    return pd.DataFrame({"id": [f"image {number}" for number in range(len(categories))], "category": categories})


@pytest.fixture
def groups(index) -> pd.DataFrame:
    """Pairs among the first half of each class; the rest are alone."""
    table = index[["id"]].assign(group=np.arange(len(index)))
    for category in SIZES:
        members = table.index[index["category"] == category][: SIZES[category] // 2]
        table.loc[members[1::2], "group"] = table.loc[members[0::2], "group"].to_numpy()
    return table


@pytest.fixture
def found(index, groups, monkeypatch, tmp_path) -> pd.DataFrame:
    monkeypatch.chdir(tmp_path)
    settings, paths = load("busi-small", ROOT / PARAMS), Paths("busi-small")
    monkeypatch.setattr(protocols, "read_table", lambda file: index if file == paths.images / INDEX else groups)
    monkeypatch.setattr(protocols, "run_items", lambda items, _: [item.inputs["split"] for item in items])

    def judged(split_file, _truth, _index):
        split = pd.read_csv(split_file).merge(groups, on="id")
        x = split[(split["set"] == "K") & (split["category"] != "normal")]
        known = x["group"].isin(split.loc[split["set"] == "N", "group"])
        tp = np.where(known, KNOWN, UNKNOWN) * 100
        return pd.DataFrame({"id": x["id"], "category": x["category"], "tp": tp, "fp": 0, "fn": 100 - tp, "tn": 100})

    monkeypatch.setattr(protocols, "judge_predictions", judged)
    return protocols.compare(paths, settings, 3, 20)


def test_images_with_a_near_duplicate_in_n_are_judged_apart(found):
    paper, grouped = (found[found["protocol"] == name] for name in ("paper", "grouped"))
    assert list(paper["split"]) == list(grouped["split"]) == [0, 1, 2]
    assert (paper["images"] > 10).all()
    assert np.allclose(paper["duplicate in N"], 100 * KNOWN)
    assert np.allclose(paper["none in N"], 100 * UNKNOWN)
    share = paper["images"] / 100
    assert np.allclose(paper["all"], 100 * (share * KNOWN + (1 - share) * UNKNOWN))
    assert (grouped["images"] == 0).all()
    assert grouped["duplicate in N"].isna().all()


def test_the_summary_is_of_means_over_splits(found):
    text = protocols.summary(found)
    assert "grouped 50.00 [50.00, 50.00]" in text
    assert "with a near-duplicate in N minus without 25.00 [25.00, 25.00]" in text


def test_items_differ_in_split_and_epochs_alone(index, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    settings, paths = load("busi-small", ROOT / PARAMS), Paths("busi-small")
    split = index.assign(set="N")
    usual, other = (
        protocols._item(paths, settings, "paper", seed, split, epochs) for seed, epochs in ((0, None), (1, 20))
    )
    assert usual.inputs["split"] != other.inputs["split"]
    assert other.settings["recipe"]["optimisation"].pop("epochs") == 20
    assert usual.settings["recipe"]["optimisation"].pop("epochs") == settings.row("gt_whole").optimisation.epochs
    assert usual.settings == other.settings


def test_mistakes_are_named(tmp_path, monkeypatch, capsys):
    with pytest.raises(UserError, match=r"index\.csv is missing - run"):
        monkeypatch.chdir(tmp_path)
        protocols.compare(Paths("busi-small"), load("busi-small", ROOT / PARAMS), 2, None)
    monkeypatch.chdir(ROOT)
    assert protocols.main(["--epochs", "0"]) == 2
    assert "at least 1" in capsys.readouterr().err
