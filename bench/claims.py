"""The paper's sentences against its own tables and against ours; the sentences are data, in claims.yaml.

A claim that `left` exceeds `right` (op ">") quotes a number, `by`, and says nothing new at another, `null_value`. It

    holds         where the 95 % interval of our excess lies above null_value and reaches `by`
    fails         where it ends below `by`
    cannot tell   where it holds both `by` and null_value, or where a row is missing

so that for a claim of order alone (both 0) the interval excludes 0 or it does not. With several seeds the interval over
seeds must say the same as that over images. A claim that `left` equals `right` (op "=") is about the paper's numbers.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any, Literal

import numpy as np
import pandas as pd
import yaml

from bench.data.categories import CATEGORIES
from bench.errors import UserError
from bench.expressions import evaluate, names
from bench.rows import Row
from bench.schema import Strict
from bench.statistics import Estimate, common_runs, estimates, gather
from bench.tables import METRICS, OVER_IMAGES, OVER_SEEDS, PAPER_TABLE1, interval_text

CLAIMS = Path(__file__).with_suffix(".yaml")
# A difference of two printed numbers may be off by 0.1, and the number that is quoted for it by 0.05.
ROUNDING = 0.15
# The pseudo-masks of L and of U, judged like rows.
SELECTED, UNSELECTED = "selected", "unselected"

NOTE = (
    "Ours: what the sentence compares, in points (share_of_supervised: in percent). Holds: the whole interval lies "
    "above no effect, and its upper end reaches the number that is quoted. Fails: its upper end is below that number. "
    "Cannot tell: it contains both, or a row is missing. Every interval by itself, not corrected for their number, as "
    "those of pairs are. The paper's tables: whether the sentence follows from the numbers printed there."
)

Verdict = Literal["holds", "fails", "cannot tell", "not comparable"]


class Claim(Strict):
    """One sentence of the paper. left and right: expressions (bench/expressions.py)."""

    id: str
    section: str
    sentence: str
    left: Any
    op: Literal[">", "="]
    right: Any
    by: float = 0.0
    null_value: float = 0.0


@dataclass(frozen=True)
class Finding:
    """What became of a claim: in the paper's numbers (None where it prints none), and in ours.

    ours: None where the claim is about the paper alone or could not be computed; reason then says why.
    """

    claim: Claim
    paper_says: str
    paper_holds: bool | None
    ours: Estimate | None
    verdict: Verdict
    reason: str


@dataclass(frozen=True)
class Vocabulary:
    """The rows that names in claims stand for.

    baselines: Table III's rows but the last. ablation: Table II's.
    """

    ablation: Sequence[Row]
    baselines: Sequence[Row]

    def members(self, name: str) -> list[str]:
        """Ids of the rows behind the name of a row or of several."""
        if name == "baselines":
            return [row.id for row in self.baselines]
        if name == "rows":
            # A method with two rows of ours has one in the paper.
            printed = {row.method: row.id for row in reversed([*self.ablation, *self.baselines])}
            return list(reversed(printed.values()))
        if name in (SELECTED, UNSELECTED, *(row.id for row in (*self.ablation, *self.baselines))):
            return [name]
        raise UserError(f"{name!r} is no row")

    def paper(self, name: str) -> np.ndarray:
        """The paper's numbers, float (k,), NaN where it prints none."""
        place, what = _parted(name)
        if place.startswith("table1."):
            counts = PAPER_TABLE1[place.removeprefix("table1.")]
            return np.array(counts[:-1] if what == "classes" else counts[-1:], dtype=float)
        printed = {row.id: row.paper for row in (*self.ablation, *self.baselines)}
        position = METRICS.index(what)
        found = [printed.get(member) for member in self.members(place)]
        return np.array([np.nan if scores is None else scores[position] for scores in found])

    def labels(self, name: str) -> Sequence[str]:
        """What each number behind a name is called."""
        place, what = _parted(name)
        if place.startswith("table1."):
            return CATEGORIES if what == "classes" else (what,)
        return self.members(place)

    def rows(self, claim: Claim) -> list[str]:
        """Every row that a claim names."""
        places = [_parted(name)[0] for name in (*names(claim.left), *names(claim.right))]
        return list(dict.fromkeys(member for place in places for member in self.members(place)))


def _parted(name: str) -> tuple[str, str]:
    """What is measured, and in which measure; UserError for another name than claims.yaml explains."""
    place, _, what = name.rpartition(".")
    known = ("classes", "total") if place.removeprefix("table1.") in PAPER_TABLE1 else METRICS
    if what not in known:
        raise UserError(f"{name!r} is neither <row>.<metric> nor table1.<set>.classes or .total")
    return place, what


def load_claims(file: Path = CLAIMS) -> list[Claim]:
    """The claims as data."""
    return [Claim.model_validate(entry) for entry in yaml.safe_load(file.read_text(encoding="utf-8"))]


def judge_claims(
    claims: Sequence[Claim],
    per_image: pd.DataFrame,
    vocabulary: Vocabulary,
    not_comparable: str | None = None,
    groups: Mapping[str, str] | None = None,
) -> list[Finding]:
    """Judge every claim. not_comparable: why no number of ours may be compared with the paper, if none may.

    per_image: counts of the rows, and of the pseudo-masks as rows SELECTED and UNSELECTED. groups: as for gather.
    """
    return [_judge(claim, per_image, vocabulary, not_comparable, groups) for claim in claims]


def _judge(
    claim: Claim,
    per_image: pd.DataFrame,
    vocabulary: Vocabulary,
    not_comparable: str | None,
    groups: Mapping[str, str] | None,
) -> Finding:
    says, holds = _in_the_paper(claim, vocabulary)
    found = partial(Finding, claim, says, holds)
    if not_comparable:
        return found(None, "not comparable", not_comparable)
    if claim.op == "=":
        return found(None, "holds" if holds else "fails", "about the paper's own numbers")
    rows = vocabulary.rows(claim)
    missing = [row for row in rows if not common_runs(per_image, [row])]
    if missing or not common_runs(per_image, rows):
        return found(None, "cannot tell", f"row missing: {', '.join(missing) or 'no run has them all'}")
    (ours,) = estimates(gather(per_image, rows, groups), partial(_excess, claim, vocabulary, rows))
    return found(ours, *_verdict(claim, ours))


def _excess(claim: Claim, vocabulary: Vocabulary, rows: Sequence[str], means: np.ndarray) -> np.ndarray:
    """left - right for the row means (..., rows, metrics): (..., 1)."""

    def lookup(name: str) -> np.ndarray:
        place, what = _parted(name)
        positions = [rows.index(member) for member in vocabulary.members(place)]
        return means[..., positions, METRICS.index(what)]

    return np.asarray(evaluate(claim.left, lookup) - evaluate(claim.right, lookup))


def _in_the_paper(claim: Claim, vocabulary: Vocabulary) -> tuple[str, bool | None]:
    """What the paper's own numbers give, and whether that is what the sentence says."""
    left, right = np.broadcast_arrays(evaluate(claim.left, vocabulary.paper), evaluate(claim.right, vocabulary.paper))
    excess = left - right
    if np.isnan(excess).any():
        return "", None
    if claim.op == "=":
        by = claim.by + 1e-9
        labelled = zip(vocabulary.labels(claim.left), left, right, strict=True)
        says = [f"{label}: {one:g} against {other:g}" for label, one, other in labelled if abs(one - other) > by]
        return "; ".join(says) or f"equal within {claim.by:g}", not says
    right_size = abs(excess[0] - claim.by) <= ROUNDING if claim.by else excess[0] > 0
    return f"{excess[0]:.1f}", bool(right_size)


def _verdict(claim: Claim, ours: Estimate) -> tuple[Verdict, str]:
    if ours.images is None:
        return "cannot tell", "too few images" if np.isfinite(ours.value) else "not defined"
    verdicts = {_by_interval(claim, *interval) for interval in ours.intervals}
    if len(verdicts) > 1:
        return "cannot tell", "images and seeds disagree"
    verdict = verdicts.pop()
    return verdict, f"the interval includes {claim.null_value:g}" if verdict == "cannot tell" else ""


def _by_interval(claim: Claim, low: float, high: float) -> Verdict:
    if high < claim.by:
        return "fails"
    return "holds" if low > claim.null_value else "cannot tell"


def claims_frame(findings: Sequence[Finding]) -> pd.DataFrame:
    """The findings for printing."""
    several = any(finding.ours is not None and finding.ours.seeds is not None for finding in findings)
    return pd.DataFrame([_line(finding, several) for finding in findings])


def _line(finding: Finding, several_seeds: bool) -> dict[str, str]:
    claim, ours = finding.claim, finding.ours
    in_paper = {None: "no number", True: "holds", False: "fails"}[finding.paper_holds]
    line = {
        "Claim": claim.id,
        "Section": claim.section,
        "Sentence": claim.sentence,
        "Quoted": f"{claim.by:.1f}" if claim.op == ">" and claim.by else "",
        "The paper's tables": f"{in_paper} ({finding.paper_says})" if finding.paper_says else in_paper,
        "Ours": "" if ours is None else f"{ours.value:.1f}",
        OVER_IMAGES: "" if ours is None else interval_text(ours.images),
    }
    if several_seeds:
        line[OVER_SEEDS] = "" if ours is None else interval_text(ours.seeds)
    return {**line, "Verdict": finding.verdict, "Reason": finding.reason}
