"""How intervals and paired comparisons are printed."""

from collections.abc import Mapping, Sequence

import pandas as pd

from bench.statistics import ALPHA, FEWEST_GROUPS, LEVEL, RESAMPLES, Comparison, Estimate, Interval
from bench.tables import METRICS, interval_text

OVER_IMAGES = f"{LEVEL:.0%} interval".replace("%", " %")
OVER_SEEDS = f"{OVER_IMAGES}, seeds"
PAIRS_NOTE = (
    "p: two-sided sign-flip permutation of the paired differences of images, p (Holm): corrected for all pairs of the "
    f"same table. Verdicts are about the first row: better or worse where p (Holm) is below {ALPHA:.2f} and an "
    "interval over seeds, where there is one, leaves out 0."
)


def interval_note(seeds: int) -> str:
    """Sentences on what the intervals of a table are, for a run of so many seeds."""
    images = (
        f"{OVER_IMAGES}: over {RESAMPLES:,} resamples of the images (bootstrap, BCa), the networks held fixed; "
        f"none below {FEWEST_GROUPS} images."
    )
    if seeds == 1:
        return f"{images} One seed: no interval over seeds, so nothing says what another split or training would give."
    return f"{images} Seeds: t interval over {seeds} seeds, whose test sets overlap."


def interval_cells(estimate: Estimate | None, seeds: int) -> dict[str, str]:
    """The cells that follow an estimate; None: of a row without results."""
    if estimate is None:
        return dict.fromkeys([OVER_IMAGES, *([OVER_SEEDS] if seeds > 1 else [])], "not runnable")
    cells = {OVER_IMAGES: interval_text(estimate.images)}
    return cells | {OVER_SEEDS: interval_text(estimate.seeds)} if seeds > 1 else cells


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


def _ends(interval: Interval) -> dict[str, float]:
    return {"low": round(interval[0], 2), "high": round(interval[1], 2)}


def pairs_frame(families: Mapping[str, Sequence[Comparison]], seeds: int) -> pd.DataFrame:
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
