"""A checkpoint of one's own is bound to its hash."""

import hashlib

import pytest

from bench.errors import UserError
from bench.paths import Paths
from bench.schema import OwnFile
from bench.settings import Settings, load
from bench.stages.pseudo import _own_checkpoint


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
