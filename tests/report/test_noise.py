"""The figure of noise is drawn for one rule and for two, also where no map has regions."""

import numpy as np
import pandas as pd
import pytest

from bench.noise import PAPER_RULE, Rule, box_ious, smooth_noise, sweep
from bench.report.noise import save_noise
from bench.schema import Noise

SIZES = [(64, 64)]


@pytest.mark.parametrize("rules", [[PAPER_RULE], [Rule(10.0, 7.0, 250, 0.7), PAPER_RULE]])
def test_it_is_drawn_and_always_the_same(tmp_path, rules):
    drawn = smooth_noise(np.random.default_rng(0), 6, 32, 0.1)
    boxes = pd.concat([box_ious(rules, drawn, SIZES).assign(source=source) for source in ("cams", "noise")])
    table = sweep(rules, Noise(maps=4, sigmas=[0.05, 0.2]), 32, SIZES)
    for name in ("one.png", "two.png"):
        save_noise(table, boxes, 0.1, tmp_path / name)
    assert (tmp_path / "one.png").read_bytes() == (tmp_path / "two.png").read_bytes()
    save_noise(table, boxes.assign(iou=np.nan), 0.1, tmp_path / "none.png")
    assert (tmp_path / "none.png").stat().st_size > 1000
