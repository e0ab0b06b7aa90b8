"""What decides the masks is in the item's key and nothing else; a checkpoint of one's own is bound to its hash."""

import hashlib
from pathlib import Path
from typing import Any

import pytest

from bench.errors import UserError
from bench.paths import Paths
from bench.schema import OwnFile
from bench.settings import Settings, load
from bench.stages.pseudo import _own_checkpoint, box_item
from bench.store import Item


def with_checkpoint(file: str, sha256: str) -> Settings:
    settings = load("busi")
    pseudo = settings.pseudo.model_copy(update={"checkpoint": OwnFile(file=file, sha256=sha256)})
    return settings.model_copy(update={"pseudo": pseudo})


def test_the_named_file_is_taken(tmp_path):
    file = tmp_path / "own.pth"
    file.write_bytes(b"weights")
    settings = with_checkpoint(str(file), hashlib.sha256(b"weights").hexdigest())
    assert _own_checkpoint(Paths("busi"), settings) == file


def test_another_content_under_the_same_name_is_refused(tmp_path):
    file = tmp_path / "own.pth"
    file.write_bytes(b"other weights")
    with pytest.raises(UserError, match=r"busi\.pseudo\.checkpoint\.sha256: .*own\.pth has the SHA-256"):
        _own_checkpoint(Paths("busi"), with_checkpoint(str(file), "0" * 64))


def test_a_missing_file_is_named(tmp_path):
    with pytest.raises(UserError, match=r"busi\.pseudo\.checkpoint\.file: .*gone\.pth does not exist"):
        _own_checkpoint(Paths("busi"), with_checkpoint(str(tmp_path / "gone.pth"), "0" * 64))


def item(profile: str, threads: int = 2, **changed: Any) -> Item:
    settings = load(profile)
    engine = settings.engine.model_copy(update={"device": "cpu", "threads": threads})
    pseudo = settings.pseudo.model_copy(update=changed)
    return box_item(
        Paths(profile), settings.model_copy(update={"engine": engine, "pseudo": pseudo}), "masks", Path("boxes.csv")
    )


@pytest.mark.parametrize(
    "changed", [{"precision": "bf16"}, {"variant": "vit_b"}, {"embedding_cache": True}, {"threads": 7}]
)
def test_only_segment_anything_goes_by_its_settings(changed):
    assert item("busi-small", **changed).settings == item("busi-small").settings
    assert item("busi", **changed).settings != item("busi").settings


@pytest.mark.parametrize("profile", ["busi", "busi-small", "phantom"])
def test_what_every_segmenter_goes_by_counts(profile):
    assert item(profile, without_roi="skip").settings != item(profile).settings


@pytest.mark.parametrize(("profile", "module"), [("busi", "sam"), ("busi-small", "grabcut"), ("phantom", "sam")])
def test_the_sources_of_the_segmenter_count(profile, module):
    assert item(profile).modules == (f"bench.prompting.{module}",)
