"""The controls as a table: rows on other selections than L against the rows they control, and masks without a network.

Apart from Tables I to III, because nothing here is a result of a weakly supervised method.
"""

from collections.abc import Mapping, Sequence

import pandas as pd

from bench.controls import WHAT
from bench.methods import FILLED_BOX, FLOOR, WHOLE_IMAGE
from bench.paths import ORACLE_BOX
from bench.rows import Row
from bench.schema import SeedAxes
from bench.statistics import ALPHA, Comparison, Estimate
from bench.tables import METRICS
from bench.uncertainty import interval_cells

# What bounds the prompts, and what it is; {segmenter} takes the place of the paper's.
BOUNDS = {
    ORACLE_BOX: "ceiling: the box around the truth as prompt to {segmenter}",
    FILLED_BOX: "ceiling: the box around the truth, filled",
    FLOOR: "floor: a fixed central ellipse, blind to the image",
    WHOLE_IMAGE: "floor: the whole image",
}
NOTE = (
    "On another selection than L a row is trained as on L, with the same pseudo-masks, settings and initial weights. "
    "Verdicts say whether a control is better or worse than the row it controls: two-sided sign-flip permutation of "
    f"the images' paired differences, p (Holm) corrected for all controls and below {ALPHA:.2f}, and an interval over "
    "seeds, where there is one, leaves out 0. oracle_subset, oracle_box and filled_box use pixel labels, which a "
    "weakly supervised method does not have."
)


def controls_frame(
    rows: Sequence[Row],
    found: Mapping[str, Mapping[str, Estimate]],
    pairs: Sequence[Comparison],
    segmenter: str,
    seeds: SeedAxes,
) -> pd.DataFrame:
    """For printing: the controlled rows, every control row of `rows`, the controls without one, and the bounds.

    found: estimates of all these by row and metric. pairs: of the control rows against the rows they control, in order.
    """
    lines = []
    for name in dict.fromkeys(row.method for row in rows):
        lines.append(_line(name, "L as it was selected", found.get(name), None, "not runnable", seeds))
    for row, pair in zip(rows, pairs, strict=True):
        lines.append(_line(row.id, WHAT[row.control], found.get(row.id), pair, "not runnable", seeds))
    for control in untrained(rows):
        lines.append(_line(control, WHAT[control], None, None, "not trained", seeds))
    for name, what in BOUNDS.items():
        lines.append(_line(name, what.format(segmenter=segmenter), found.get(name), None, "not judged", seeds))
    return pd.DataFrame(lines)


def untrained(rows: Sequence[Row]) -> list[str]:
    """The controls on which no row is trained."""
    return [control for control in WHAT if control not in {row.control for row in rows}]


def gap(rows: Sequence[Row]) -> str:
    """A sentence on the controls without a row, "" when there are none."""
    missing = untrained(rows)
    return f" Not trained, by the settings (controls): {', '.join(missing)}." if missing else ""


def _line(
    name: str,
    what: str,
    found: Mapping[str, Estimate] | None,
    pair: Comparison | None,
    missing: str,
    seeds: SeedAxes,
) -> dict[str, str]:
    titles = {"tumor_iou": "Tumor IoU", "background_iou": "Background IoU", "miou": "mIoU"}
    line = {"Row": name, "What": what}
    for metric in METRICS:
        line[titles[metric]] = f"{found[metric].value:.2f}" if found else missing
        if metric == METRICS[0]:
            cells = interval_cells(found[metric] if found else None, seeds)
            line |= cells if found else dict.fromkeys(cells, missing)
    difference = pair.difference if pair else None
    against = interval_cells(difference, seeds)
    line |= {"Against": pair.right if pair else "", "Difference": f"{difference.value:+.2f}" if difference else ""}
    line |= {f"Difference, {title}": text if difference else "" for title, text in against.items()}
    line["p (Holm)"] = "" if pair is None or pair.p_holm is None else f"{pair.p_holm:.4f}"
    return line | {"Verdict": pair.verdict if pair else ""}
