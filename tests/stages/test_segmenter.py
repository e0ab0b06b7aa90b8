"""The segmenter stage: trains where the profile asks for it, and says what is used where it does not."""

import contextlib

import pytest

from bench.paths import Paths
from bench.settings import load
from bench.stages import segmenter
from tests.items.test_segmenter import SETTINGS


@pytest.mark.parametrize(
    ("profile", "note"),
    [
        ("busi", "nothing is trained: the checkpoint of SAM vit_h is used\n"),
        ("busi-small", "nothing is trained: the segmenter is grabcut\n"),
    ],
)
def test_other_segmenters_leave_a_note(tmp_path, profile, note):
    settings, paths = load(profile), Paths(profile)
    with contextlib.chdir(tmp_path):
        segmenter.run(paths, settings)
        (file,) = paths.segmenter.iterdir()
        assert (file.name, file.read_text(encoding="utf-8")) == ("note.txt", note)


def test_the_note_gives_way_to_a_trained_segmenter_and_back(tmp_path, capsys):
    settings, paths = load("phantom"), Paths("phantom")
    assert settings.segmenter is not None
    small = type(settings.segmenter).model_validate(
        {name: SETTINGS[name] for name in type(settings.segmenter).model_fields}
    )
    settings = settings.model_copy(update={"segmenter": small})
    grabcut = settings.model_copy(update={"pseudo": settings.pseudo.model_copy(update={"segmenter": "grabcut"})})
    with contextlib.chdir(tmp_path):
        for each, expected in ((grabcut, ["note.txt"]), (settings, ["sam_phantom"]), (grabcut, ["note.txt"])):
            segmenter.run(paths, each)
            assert [file.name for file in paths.segmenter.iterdir()] == expected
        capsys.readouterr()
        segmenter.run(paths, settings)
        assert "1 items, 1 of them already in the store" in capsys.readouterr().out
