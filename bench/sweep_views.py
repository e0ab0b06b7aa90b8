"""How a sweep is shown in Markdown: |L| and its quality, cell by cell."""

from collections.abc import Sequence
from typing import Any

import pandas as pd

from bench.schema import Select
from bench.seeds import AXES, Seeds
from bench.sweep import PAPER, Axes

CELL = ["alpha1", "alpha2", "iou_threshold"]


def text(profile: str, table: pd.DataFrame, axes: Axes, options: Select, segmenters: Sequence[str]) -> str:
    """Markdown: the paper's and the profile's cell in full, |L| and its box IoU in all, and what is impossible."""
    own = (options.alpha1, options.alpha2, options.iou_threshold)
    parts = [
        f"# Algorithm 1 over a grid, {profile}",
        "L is made by the paper's rule, box IoU above the threshold, without a fallback. Box IoU: of the region at "
        "alpha1 and the box around the true lesions, in percent, 0 without a region. Without ROI: one of the two "
        "regions is missing. Mask IoU: of the pseudo-mask and the truth. "
        f"Ranked: L made of the {100 * options.top_fraction:g} % most stable images instead. "
        "The truth is used to judge; no stage reads this sweep.",
        _masks_note(table, segmenters),
    ]
    if axes.impossible():
        listed = ", ".join(f"{alpha1:g}/{alpha2:g}" for alpha1, alpha2 in axes.impossible())
        parts.append(f"Impossible, because alpha2 must be smaller than alpha1: {listed}.")
    for _, part in table.groupby(AXES):
        parts += [
            f"## {Seeds(*(part[axis].iloc[0] for axis in AXES)).name}",
            _settings(part, {"paper": PAPER, "profile": own}),
        ]
        parts += ["Images in L and, in brackets, box IoU in L, by alpha1, alpha2 and IoU threshold:", _grid(part, axes)]
    return "\n\n".join(parts) + "\n"


def _masks_note(table: pd.DataFrame, segmenters: Sequence[str]) -> str:
    made = table.loc[table["mask_iou_V"].notna(), "alpha1"].unique()
    missing = [f"{alpha1:g}" for alpha1 in table["alpha1"].unique() if alpha1 not in made]
    note = f"Pseudo-masks by {' and '.join(segmenters)}. " if len(made) else ""
    return f"{note}No pseudo-masks at alpha1 {', '.join(missing)}: `--masks` makes them." if missing else note.strip()


def _settings(table: pd.DataFrame, cells: dict[str, tuple[float, float, float]]) -> str:
    """The named cells as lines."""
    lines = []
    for name, cell in cells.items():
        (row,) = table[table[CELL].eq(list(cell)).all(axis=1)].to_dict("records")
        lines.append(
            {
                "Setting": f"{name}: {cell[0]:g} / {cell[1]:g} / {cell[2]:g}",
                "images in L": f"{row['selected']} ({row['share']:.1f} %)",
                "benign, malignant": f"{row['benign']}, {row['malignant']}",
                "without ROI": row["without_roi"],
                "box IoU in L, V": f"{_shown(row['box_iou_L'])}, {_shown(row['box_iou_V'])}",
                "mask IoU in L, U": f"{_shown(row['mask_iou_L'])}, {_shown(row['mask_iou_U'])}",
                "ranked: images in L": row["ranked"],
                "ranked: box IoU in L": _shown(row["ranked_box_iou_L"]),
                "ranked: mask IoU in L": _shown(row["ranked_mask_iou_L"]),
            }
        )
    return pd.DataFrame(lines).to_markdown(index=False, disable_numparse=True)


def _grid(table: pd.DataFrame, axes: Axes) -> str:
    lines = []
    for (alpha1, alpha2), part in table.groupby(["alpha1", "alpha2"], sort=False):
        cells = part.set_index("iou_threshold")
        line = {"alpha1": f"{alpha1:g}", "alpha2": f"{alpha2:g}", "box IoU in V": _shown(part["box_iou_V"].iloc[0])}
        for threshold in axes.iou_threshold:
            cell = cells.loc[threshold]
            line[f"{threshold:g}"] = f"{cell['selected']} ({_shown(cell['box_iou_L'])})"
        lines.append(line | {"ranked": f"{part['ranked'].iloc[0]} ({_shown(part['ranked_box_iou_L'].iloc[0])})"})
    return pd.DataFrame(lines).to_markdown(index=False, disable_numparse=True)


def _shown(value: Any) -> str:
    """A number of a table, or a dash where it is not known."""
    return "-" if pd.isna(value) else f"{value:.1f}"
