"""The figure of Algorithm 1 on noise: what it accepts by smoothness, and box IoUs of CAMs beside those of noise."""

from pathlib import Path
from typing import Any

import pandas as pd
from matplotlib import pyplot as plt
from matplotlib.axes import Axes

from bench.noise import RULE
from bench.report.figures import BROAD, NARROW, save_figure
from bench.tables import PAPER_TABLE1

COLOURS = (BROAD, NARROW)
PAPERS_SHARE = PAPER_TABLE1["L"][3] / PAPER_TABLE1["V"][3]


def save_noise(sweep: pd.DataFrame, boxes: pd.DataFrame, sigma: float, file: Path) -> None:
    """Draw noise.csv and one seed of stability.csv of the evaluate stage. sigma: of noise as smooth as the CAMs."""
    figure, (left, right) = plt.subplots(1, 2, figsize=(13, 4), layout="constrained")
    for colour, (rule, lines) in zip(COLOURS, sweep.groupby(RULE, sort=False), strict=False):
        left.plot(lines["sigma"], 100 * lines["accepted"] / lines["maps"], "o-", color=colour, label=_name(rule))
    for colour, (rule, of_rule) in zip(COLOURS, boxes.groupby(RULE, sort=False), strict=False):
        accepted = (of_rule["iou"] > rule[3]).groupby(of_rule["source"]).mean()
        star = f"CAMs, {_name(rule)}"
        left.plot([sigma], [100 * accepted["cams"]], "*", color=colour, markersize=14, label=star)
        _survival(right, of_rule, colour, rule)
    left.axvline(sigma, color="0.6", linestyle=":", label="as smooth as the CAMs")
    left.axhline(100 * PAPERS_SHARE, color="0.6", linestyle="--", label="L of the paper")
    left.set(title="Noise that Algorithm 1 accepts", xlabel="sigma (share of the side)", ylabel="accepted (%)")
    left.set(xlim=(0, None), ylim=(0, 103))
    right.set(title="Box IoU of the two regions", xlabel="box IoU", ylabel="maps above it (%)", xlim=(0, 1))
    for axis in (left, right):
        axis.legend(fontsize=7, loc="center left", bbox_to_anchor=(1, 0.5))
    save_figure(figure, file)


def _survival(axis: Axes, of_rule: pd.DataFrame, colour: str, rule: Any) -> None:
    """The share of the maps above each box IoU; a map without both regions is above none."""
    for source, style in (("cams", "-"), ("noise", "--")):
        values = of_rule.loc[of_rule["source"] == source, "iou"].dropna().sort_values()
        total = (of_rule["source"] == source).sum()
        above = [100 * (len(values) - position) / total for position in range(1, len(values) + 1)]
        axis.step([0, *values], [100 * len(values) / total, *above], style, where="post", color=colour)
        axis.plot([], [], style, color=colour, label=f"{'CAMs' if source == 'cams' else source}, {_name(rule)}")
    axis.axvline(rule[3], color="0.6", linestyle=":")


def _name(rule: Any) -> str:
    return f"alpha {rule[0]:g} / {rule[1]:g} %, IoU > {rule[3]:g}"
