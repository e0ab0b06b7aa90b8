"""What an item writes about an image is about that image, whatever the order of index, split and selection."""

import numpy as np
import pandas as pd
import pytest
import torch
from PIL import Image

from bench.boxes import CORNERS
from bench.data.images import INDEX, ORIGINALS, STORE
from bench.items import pseudo, segmentation
from bench.paths import Paths
from bench.settings import load
from bench.sources import ROOT

SIDE = 32
# id -> grey level, by which an image is known again.
LEVELS = {"d": 40, "a": 80, "c": 120, "b": 200}
IN_X, IN_V = ["c", "d"], ["b", "a"]


class Brightness(torch.nn.Module):
    """A network that knows an image by its grey level: tumour logit = the mean of the normalised first channel."""

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        tumour = images[:, :1].mean((2, 3), keepdim=True).expand(-1, 1, SIDE, SIDE)
        return torch.cat([torch.zeros_like(tumour), tumour], 1)


@pytest.fixture
def paths(tmp_path, monkeypatch):
    """Four prepared tumour images in the index's order d, a, c, b; split and selection have orders of their own."""
    monkeypatch.chdir(tmp_path)
    paths = Paths("phantom")
    (paths.images / ORIGINALS).mkdir(parents=True)
    paths.splits.mkdir()
    sizes = {"width": SIDE, "height": SIDE}
    pd.DataFrame({"id": list(LEVELS), "category": "benign", "label": 1, **sizes}).to_csv(
        paths.images / INDEX, index=False
    )
    grey = np.stack([np.full((SIDE, SIDE), level, np.uint8) for level in LEVELS.values()])
    np.save(paths.images / STORE, grey)
    np.save(tmp_path / "labels.npy", grey // 40 % 2)
    for name, image in zip(LEVELS, grey, strict=True):
        Image.fromarray(image).save(paths.images / ORIGINALS / f"{name}.png")
    split = pd.DataFrame({"id": ["a", "b", "c", "d"], "category": "benign", "set": ["N", "N", "K", "K"]})
    split.to_csv(paths.split(0), index=False)
    return paths


def test_predictions_and_labels_belong_to_their_images(paths, tmp_path, monkeypatch):
    seen = {}

    def train(_row, data, *_):
        seen["images"], seen["labels"] = data.labelled[:, 0, 0], data.labels[:, 0, 0]
        return Brightness(), pd.DataFrame()

    monkeypatch.setattr(segmentation, "train_segmentation", train)
    recipe = load("phantom", ROOT / "params.yaml").row("gt_whole").model_dump()
    settings = {"row": "gt_whole", "images": "whole", "recipe": recipe, "mean_teacher": recipe.pop("mean_teacher")}
    settings |= {"seed": 0, "device": "cpu", "threads": 1}
    inputs = {
        "index": paths.images / INDEX,
        "store": paths.images / STORE,
        "split": paths.split(0),
        "labels": tmp_path / "labels.npy",
    }
    segmentation.run({**settings, "auto_precision": "fp32"}, inputs, tmp_path)
    assert sorted(seen["images"]) == sorted(LEVELS[name] for name in IN_V)
    assert list(seen["labels"]) == [level // 40 % 2 for level in seen["images"]]
    ids = list(pd.read_csv(tmp_path / "ids.csv")["id"])
    assert sorted(ids) == IN_X
    logits = [(LEVELS[name] / 255 - 0.485) / 0.229 for name in ids]
    found = np.load(tmp_path / "probabilities.npy")[:, 0, 0].astype(float)
    assert found == pytest.approx(1 / (1 + np.exp(-np.array(logits))), abs=1e-3)


def test_pseudo_masks_lie_where_the_index_has_their_images(paths, tmp_path):
    boxes = {"b": (0, 0, 15, 31), "a": (16, 0, 31, 31)}
    rows = [(name, "benign", *boxes[name], True) for name in IN_V]
    selection = tmp_path / "selection.csv"
    pd.DataFrame(rows, columns=["id", "category", *CORNERS, "selected"]).to_csv(selection, index=False)
    block = load("busi-small", ROOT / "params.yaml").pseudo.model_dump()
    settings = {**block, "segmenter": "box", "sizes": None, "device": "cpu", "threads": 1, "image_size": SIDE}
    inputs = {"index": paths.images / INDEX, "originals": paths.images / ORIGINALS, "boxes": selection}
    (tmp_path / "out").mkdir()
    pseudo.run({**settings, "auto_precision": "fp32"}, inputs, tmp_path / "out")
    store = dict(zip(LEVELS, np.load(tmp_path / "out" / STORE), strict=True))
    assert not store["c"].any()
    assert not store["d"].any()
    for name in IN_V:
        left, _, right, _ = boxes[name]
        assert np.flatnonzero(store[name].all(0)).tolist() == list(range(left, right + 1))
