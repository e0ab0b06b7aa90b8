"""How intervals and paired comparisons are printed."""

from collections.abc import Mapping, Sequence

import pandas as pd

from bench.rows import Row
from bench.schema import SeedAxes
from bench.statistics import ALPHA, FEWEST_GROUPS, RESAMPLES, Comparison, Estimate, Interval, Spread
from bench.tables import METRICS, OVER_IMAGES, OVER_SEEDS, interval_text

SPREAD_NOTE = (
    "Standard deviations in points of the tumour IoU: between trainings of one split, pooled over the splits; between "
    "splits, after the variation between trainings is taken out. None: it takes two trainings, or two splits."
)
PAIRS_NOTE = (
    "p: two-sided sign-flip permutation of the paired differences of images, near-duplicates or split.groups as "
    "one, p (Holm): corrected for all pairs of the same table. Verdicts are about the first row: better or worse where "
    f"p (Holm) is below {ALPHA:.2f} and an interval over seeds, where there is one, leaves out 0."
)


def interval_note(seeds: SeedAxes, gaps: bool) -> str:
    """Sentences on what the intervals of a table are. gaps: some of its rows lack runs."""
    images = (
        f"{OVER_IMAGES}: over {RESAMPLES:,} resamples of the images (bootstrap, BCa), near-duplicates or "
        f"split.groups as one, the networks held fixed; none below {FEWEST_GROUPS} such groups."
    )
    splits, trainings = len(seeds.split), len(seeds.training)
    fewer = " Rows that lack runs: over the splits that they have, or the trainings of a single one." if gaps else ""
    if splits > 1:
        each = f" of {trainings} trainings each" if trainings > 1 else ""
        return f"{images} Seeds: t interval over {splits} splits{each}, whose test sets overlap.{fewer}"
    if trainings > 1:
        return f"{images} Seeds: t interval over {trainings} trainings of one split; others may differ more.{fewer}"
    return f"{images} One seed: no interval over seeds, so nothing says what another split or training would give."


def interval_cells(estimate: Estimate | None, seeds: SeedAxes) -> dict[str, str]:
    """The cells that follow an estimate; None: of a row without results."""
    if estimate is None:
        return dict.fromkeys([OVER_IMAGES, *([OVER_SEEDS] if len(seeds.runs) > 1 else [])], "not runnable")
    cells = {OVER_IMAGES: interval_text(estimate.images)}
    return cells | {OVER_SEEDS: interval_text(estimate.seeds)} if len(seeds.runs) > 1 else cells


def interval_scalars(rows: Mapping[str, Mapping[str, Estimate]]) -> dict[str, dict[str, dict[str, dict[str, float]]]]:
    """Intervals as metrics.json keeps them: images or seeds -> row -> metric -> low and high, where there are any."""
    return {
        source: {
            row: {metric: _ends(interval) for metric in METRICS if (interval := getattr(of_row[metric], source))}
            for row, of_row in rows.items()
            if any(getattr(of_row[metric], source) for metric in METRICS)
        }
        for source in ("images", "seeds")
    }


def spread_frame(rows: Sequence[Row], spreads: Mapping[str, Spread | None], seeds: SeedAxes) -> pd.DataFrame:
    """How far runs lie apart, for printing: rows without results are named, and what one run cannot tell."""
    lines = []
    for row in rows:
        found = spreads[row.id]
        lines.append(
            {
                "Row": row.id,
                "Method": row.label,
                "Runs": f"{found.runs if found else 0} of {len(seeds.runs)}",
                "Tumor IoU": "not runnable" if found is None else f"{found.mean:.2f}",
                "SD of trainings": _deviation(found.trainings if found else None),
                "SD of splits": _deviation(found.splits if found else None),
            }
        )
    return pd.DataFrame(lines)


def _deviation(value: float | None) -> str:
    return "none" if value is None else f"{value:.2f}"


def _ends(interval: Interval) -> dict[str, float]:
    return {"low": round(interval[0], 2), "high": round(interval[1], 2)}


def pairs_frame(families: Mapping[str, Sequence[Comparison]], seeds: SeedAxes) -> pd.DataFrame:
    """Comparisons for printing, by the table whose family they are."""
    lines = []
    for table, comparisons in families.items():
        for pair in comparisons:
            lines.append(
                {
                    "Table": table,
                    "Row": pair.left,
                    "Against": pair.right,
                    "Difference": "row missing" if pair.difference is None else f"{pair.difference.value:+.2f}",
                    **interval_cells(pair.difference, seeds),
                    "p": "" if pair.p is None else f"{pair.p:.4f}",
                    "p (Holm)": "" if pair.p_holm is None else f"{pair.p_holm:.4f}",
                    "Verdict": pair.verdict,
                }
            )
    return pd.DataFrame(lines)
