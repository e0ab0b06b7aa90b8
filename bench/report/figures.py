"""How figures are drawn as PNG: grids of images, training curves, scores by row, heat maps."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import cv2
import matplotlib
import numpy as np
import pandas as pd

matplotlib.use("Agg")
from matplotlib import pyplot as plt
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.patches import Rectangle

from bench.files import replacing_file

# A panel's place in a grid, the line above it for its title, and the space around both, in inches.
PLACE_WIDTH, PLACE_HEIGHT, TITLE_HEIGHT, MARGIN = 2.6, 2.35, 0.22, 0.04
BROAD, NARROW, TRUTH, PREDICTED = "#3b8eea", "#e0463a", "#35b263", "#f2b134"


@dataclass(frozen=True)
class Panel:
    """One picture: image uint8 (H, W, 3), outlines by colour, holes included, boxes by colour, and a CAM over it."""

    image: np.ndarray
    title: str = ""
    outlines: Sequence[tuple[str, np.ndarray]] = ()
    boxes: Sequence[tuple[str, tuple[float, float, float, float]]] = ()
    cam: np.ndarray | None = None


def quantile_picks(values: pd.Series, quantiles: Sequence[float]) -> list[int]:
    """Positions of the values nearest to the quantiles of `values`, each position once; NaNs never."""
    ranked = values.dropna().sort_values(kind="stable")
    if ranked.empty:
        return []
    places = [round(quantile * (len(ranked) - 1)) for quantile in quantiles]
    return [list(values.index).index(ranked.index[place]) for place in dict.fromkeys(places)]


def save_grid(rows: Sequence[Sequence[Panel]], file: Path) -> None:
    """Draw rows of panels into one PNG."""
    width, height = PLACE_WIDTH * max(len(row) for row in rows), PLACE_HEIGHT * len(rows)
    figure = plt.figure(figsize=(width, height))
    size = ((PLACE_WIDTH - 2 * MARGIN) / width, (PLACE_HEIGHT - TITLE_HEIGHT - 2 * MARGIN) / height)
    # matplotlib's constrained layout takes longer for a hundred panels than drawing them.
    for line, row in enumerate(rows, 1):
        for position, panel in enumerate(row):
            left, bottom = PLACE_WIDTH * position + MARGIN, height - PLACE_HEIGHT * line + MARGIN
            _draw(figure.add_axes((left / width, bottom / height, *size)), panel)
    save_figure(figure, file)


def _draw(axis: Axes, panel: Panel) -> None:
    axis.set_axis_off()
    axis.imshow(panel.image)
    if panel.cam is not None:
        axis.imshow(panel.cam, cmap="inferno", alpha=0.55, vmin=0, vmax=1)
    for colour, mask in panel.outlines:
        contours, _ = cv2.findContours(mask.astype(np.uint8), cv2.RETR_CCOMP, cv2.CHAIN_APPROX_NONE)
        for contour in contours:
            closed = np.concatenate([contour[:, 0], contour[:1, 0]])
            axis.plot(closed[:, 0], closed[:, 1], color=colour, linewidth=1.4)
    for colour, (x_min, y_min, x_max, y_max) in panel.boxes:
        size = (x_max - x_min + 1, y_max - y_min + 1)
        axis.add_patch(Rectangle((x_min - 0.5, y_min - 0.5), *size, fill=False, color=colour, linewidth=1.6))
    axis.set_title(panel.title, fontsize=8, y=1.0)  # else its place is looked for


def save_curves(panels: dict[str, dict[str, pd.DataFrame]], file: Path) -> None:
    """Total training loss by epoch: one panel a group of networks, one line a network."""
    figure, axes = plt.subplots(1, len(panels), figsize=(6.5 * len(panels), 3.6), squeeze=False, layout="constrained")
    for axis, (title, histories) in zip(axes[0], panels.items(), strict=True):
        # Twelve rows are more than the ten colours of the usual cycle.
        axis.set_prop_cycle(color=[plt.colormaps["tab20"](index) for index in range(20)])
        for name, history in histories.items():
            axis.plot(history["epoch"], history["total"], label=name)
        axis.set(title=title, xlabel="epoch", ylabel="training loss")
        axis.legend(fontsize=7, loc="center left", bbox_to_anchor=(1, 0.5))
    save_figure(figure, file)


@dataclass(frozen=True)
class Score:
    """One row of a figure of scores, in percent: every image, the mean, its interval and the paper's number."""

    label: str
    images: np.ndarray
    mean: float
    interval: tuple[float, float] | None
    paper: float | None


def save_scores(scores: Sequence[Score], floor: float | None, title: str, file: Path) -> None:
    """Draw one line a row: a dot an image, the mean with its interval, the paper's number; `floor` as a line."""
    figure, axis = plt.subplots(figsize=(8, 1.2 + 0.42 * len(scores)), layout="constrained")
    for place, score in enumerate(scores):
        # Dots that would lie on each other are spread by rule, so that the same scores give the same picture.
        spread = 0.3 * np.sin(np.arange(len(score.images)) * 2.4)
        axis.scatter(score.images, place + spread, s=5, color=BROAD, alpha=0.35, linewidths=0)
        if score.interval is not None:
            axis.plot(score.interval, (place, place), color="black", linewidth=2)
        axis.plot(score.mean, place, "o", color="black", markersize=5)
        if score.paper is not None:
            axis.plot(score.paper, place, "D", color=NARROW, markersize=6, markerfacecolor="none", markeredgewidth=1.5)
    if floor is not None:
        axis.axvline(floor, color="grey", linestyle=":", linewidth=1.2)
    axis.set_yticks(range(len(scores)), [score.label for score in scores], fontsize=8)
    axis.set(xlim=(-2, 102), ylim=(len(scores) - 0.5, -0.5), xlabel=title)
    save_figure(figure, file)


def save_heat_maps(grids: Sequence[Sequence[tuple[str, pd.DataFrame]]], file: Path) -> None:
    """Draw rows of heat maps, one row a measure with colours of its own. A grid's index and columns are its axes."""
    columns = max(len(row) for row in grids)
    figure, axes = plt.subplots(
        len(grids), columns, figsize=(2.7 * columns + 0.6, 2.6 * len(grids)), squeeze=False, layout="constrained"
    )
    for row, line in zip(grids, axes, strict=True):
        values = np.concatenate([grid.to_numpy(dtype=float).ravel() for _, grid in row])
        low, high = (np.nanmin(values), np.nanmax(values)) if np.isfinite(values).any() else (0.0, 1.0)
        for position, axis in enumerate(line):
            if position >= len(row):
                axis.set_axis_off()
                continue
            title, grid = row[position]
            shown = axis.imshow(grid.to_numpy(dtype=float), cmap="viridis", vmin=low, vmax=high, aspect="auto")
            axis.set_xticks(range(grid.shape[1]), [f"{value:g}" for value in grid.columns], fontsize=7)
            axis.set_yticks(range(grid.shape[0]), [f"{value:g}" for value in grid.index], fontsize=7)
            axis.set_xlabel(str(grid.columns.name), fontsize=7)
            axis.set_ylabel(str(grid.index.name), fontsize=7)
            axis.set_title(title, fontsize=8)
            for (y, x), value in np.ndenumerate(grid.to_numpy(dtype=float)):
                if np.isnan(value):
                    continue
                dark = value < low + 0.6 * (high - low)
                axis.text(x, y, f"{value:.3g}", ha="center", va="center", fontsize=6, color="w" if dark else "k")
        figure.colorbar(shown, ax=list(line[: len(row)]), shrink=0.8)
    save_figure(figure, file)


def save_figure(figure: Figure, file: Path) -> None:
    """Write a figure as PNG, the same bytes for the same figure, and close it."""
    with replacing_file(file) as temporary:
        figure.savefig(temporary, dpi=110, format="png", metadata={"Software": None})
    plt.close(figure)
