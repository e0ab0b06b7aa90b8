"""What captions say of the ingredients."""

import pytest

from bench.captions import ingredients
from bench.settings import load


def test_the_papers_profile_names_its_weights_and_segmenter():
    text = ingredients(load("busi"), "SAM ViT-H")
    assert "BUSI" in text and "SAM ViT-H" in text and "no pretrained" not in text and "phantom" not in text


@pytest.mark.parametrize("profile", ["busi-scratch", "busi-small", "phantom"])
def test_stand_ins_are_named(profile):
    text = ingredients(load(profile), "GrabCut (not SAM)")
    assert text.count("no pretrained weights") == 2
    assert "GrabCut (not SAM)" in text


def test_phantoms_are_never_compared_with_the_paper():
    assert "never compared with the paper" in ingredients(load("phantom"), "box")


def test_rows_with_settings_of_their_own_are_named():
    settings = load("busi")
    changed = settings.train.model_copy(update={"rows": {"gt_whole": {}, "gt_subset": {"updates": "per_labelled"}}})
    text = ingredients(settings.model_copy(update={"train": changed}), "box")
    assert "rows with settings of their own: gt_subset;" in f"{text};".replace(")", ";")
