"""What the select stage says of the rule that made L."""

import pandas as pd

from bench.settings import load
from bench.sources import ROOT
from bench.stages.select import summarise

OPTIONS = load("busi", ROOT / "params.yaml").select


def made_by(selected: int, images: int = 100) -> str:
    flags = [position < selected for position in range(images)]
    table = pd.DataFrame({"selected": flags, "iou": 0.5, "T1": 3, "T2": 4, "reason": "among the most stable"})
    return str(summarise(table, OPTIONS, "top_fraction")["made_by"])


def test_a_share_that_was_taken_whole_needs_no_explanation():
    assert made_by(32).startswith(
        "L made by rank: the 31.7 % most stable images (box IoU at alpha 2.5 % / 1 %); fallback"
    )


def test_a_share_that_could_not_be_taken_whole_is_said():
    assert "(box IoU at alpha 2.5 % / 1 %), only 19 images because no more have both regions; fallback" in made_by(19)
