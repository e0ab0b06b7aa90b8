"""The audit stage on a few prepared phantoms, one of them planted twice."""

import json
import shutil
from pathlib import Path

import pandas as pd
import pytest

from bench.data import phantom
from bench.data.prepare import write_images
from bench.errors import UserError
from bench.paths import Paths
from bench.settings import load
from bench.stages import audit

PARAMS = Path(__file__).resolve().parents[2] / "params.yaml"
PATHS = Paths("phantom")


@pytest.fixture
def prepared(tmp_path, monkeypatch):
    """Images without masks: "malignant (1)" is also "normal (9)"."""
    monkeypatch.chdir(tmp_path)
    phantom.write(tmp_path / "raw", {"benign": 2, "malignant": 2, "normal": 2}, 3)
    shutil.copy(tmp_path / "raw/malignant/malignant (1).png", tmp_path / "raw/normal/normal (9).png")
    PATHS.images.mkdir(parents=True)
    write_images(tmp_path / "raw", PATHS.images, 32)
    shutil.rmtree(tmp_path / "raw")
    return load("phantom", PARAMS)


def test_the_audit_needs_images_alone_and_writes_all_it_found(prepared):
    audit.run(PATHS, prepared)
    assert sorted(file.name for file in PATHS.audit.iterdir()) == [
        "flags.csv",
        "groups.csv",
        "pairs.csv",
        "summary.json",
    ]
    grouped = pd.read_csv(PATHS.audit / "groups.csv")
    assert grouped["id"].tolist() == pd.read_csv(PATHS.images / "index.csv")["id"].tolist()
    assert grouped["group"].tolist() == [0, 1, 2, 3, 4, 5, 2]
    assert pd.read_csv(PATHS.audit / "pairs.csv").to_numpy().tolist() == [
        ["malignant (1)", "normal (9)", 1, True, False]
    ]
    flags = pd.read_csv(PATHS.audit / "flags.csv")
    assert flags.columns.tolist() == ["id", "category", "coloured_share", "colour", "stroke_pixels", "annotated"]
    assert not flags[["colour", "annotated"]].any(axis=None)
    counts = json.loads((PATHS.audit / "summary.json").read_text())
    assert counts["cross_class_pairs"] == counts["exact_duplicates"] == [["malignant (1)", "normal (9)"]]


def test_two_audits_write_the_same_bytes(prepared):
    audit.run(PATHS, prepared)
    first = {file.name: file.read_bytes() for file in PATHS.audit.iterdir()}
    audit.run(PATHS, prepared)
    assert {file.name: file.read_bytes() for file in PATHS.audit.iterdir()} == first


def test_a_damaged_image_is_named_and_nothing_is_written(prepared):
    (PATHS.images / "original" / "benign (2).png").write_bytes(b"GIF89a")
    with pytest.raises(UserError, match=r"benign \(2\)\.png is not a readable PNG"):
        audit.run(PATHS, prepared)
    assert not PATHS.audit.exists()
