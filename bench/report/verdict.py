"""What the report says first: what of the paper is reproduced, from which ingredients, and what is missing."""

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import pandas as pd

from bench.captions import made_like_the_paper
from bench.schema import BusiData
from bench.settings import Settings
from bench.tables import OVER_IMAGES, OVER_SEEDS

OUTCOMES = {"holds": "hold", "fails": "fail", "cannot tell": "cannot be told"}


@dataclass(frozen=True)
class Claim:
    """A line of claims.csv in short. ours: value and interval, or why there is none."""

    sentence: str
    section: str
    ours: str


@dataclass(frozen=True)
class Verdict:
    """headline: one sentence. notes: what it rests on. claims: by outcome, the sentences about results of ours."""

    headline: str
    notes: Sequence[str]
    claims: Mapping[str, Sequence[Claim]]


def against_paper(paper: float, intervals: Sequence[tuple[float, float]]) -> str:
    """Where the intervals of ours, over images and over seeds, lie beside the paper's number."""
    if intervals and all(high < paper for _, high in intervals):
        return "below the paper"
    if intervals and all(low > paper for low, _ in intervals):
        return "above the paper"
    return "cannot tell"


def conclude(
    settings: Settings,
    segmenter: str,
    rules: Collection[str],
    claims: pd.DataFrame,
    metrics: Mapping[str, Any],
    floor: float | None,
) -> Verdict:
    """The verdict. claims: claims.csv as text, empty without one. floor: tumour IoU of the fixed ellipse in percent.

    segmenter, rules: as for `made_like_the_paper`. metrics: content of metrics.json.
    """
    scores = _scores(metrics, floor)
    if not isinstance(settings.data, BusiData):
        return Verdict(
            "A check of the machinery, never compared with the paper: the images are synthetic phantoms.",
            [*scores, *_leaks(metrics)],
            {},
        )
    # What says something of the paper alone has no value of ours.
    judged = claims[(claims["Ours"] != "") | (claims["Verdict"] == "cannot tell")] if len(claims) else claims
    by_outcome = {outcome: _claims(judged, outcome) for outcome in OUTCOMES} if len(claims) else {}
    counted = _counted({outcome: len(found) for outcome, found in by_outcome.items()})
    headline = f"{counted}; {made_like_the_paper(settings, segmenter, rules)}."
    about_paper = claims.drop(judged.index)["Verdict"].value_counts() if len(claims) else pd.Series(dtype=int)
    notes = [*scores, *_leaks(metrics)]
    if len(about_paper):
        notes.append(
            f"Of {about_paper.sum()} sentences that are about the paper's own numbers, "
            f"{about_paper.get('holds', 0)} agree with its tables and {about_paper.get('fails', 0)} do not."
        )
    return Verdict(headline, notes, by_outcome)


def _claims(judged: pd.DataFrame, outcome: str) -> list[Claim]:
    found = []
    for line in judged[judged["Verdict"] == outcome].to_dict("records"):
        quoted = f", quoted as {line['Quoted']}" if line["Quoted"] else ""
        ours = f"ours {line['Ours']} ({_intervals(line)}){quoted}" if line["Ours"] else ""
        told = [text for text in (ours, line["Reason"]) if text]
        found.append(Claim(line["Sentence"], line["Section"], ": ".join(told)))
    return found


def _intervals(line: Mapping[Any, str]) -> str:
    """Over images and, where there are several runs, over seeds."""
    seeds = line.get(OVER_SEEDS)
    return f"{line[OVER_IMAGES]}{f'; seeds: {seeds}' if seeds else ''}"


def _counted(counts: Mapping[str, int]) -> str:
    """E.g. "9 of 16 claims fail, 7 cannot be told, none holds", the most frequent first."""
    total = sum(counts.values())
    if not total:
        return "No claim of the paper was judged"
    parts: list[str] = []
    for outcome, count in sorted(counts.items(), key=lambda item: -item[1]):
        if not count and outcome != "holds":
            continue
        verb = outcome if count <= 1 and outcome != "cannot tell" else OUTCOMES[outcome]
        what = f" of {total} {'claim' if total == 1 else 'claims'}" if not parts else ""
        parts.append(f"{count or 'none'}{what} {verb}")
    return ", ".join(parts)


def _scores(metrics: Mapping[str, Any], floor: float | None) -> list[str]:
    """The two ends of Table II and the floor below which nothing was learnt."""
    names = {"gt_whole": "masks of all training images (GT-Whole)", "pseudo_mean_teacher": "the paper's method"}
    found = {name: metrics.get("table2", {}).get(row, {}).get("tumor_iou") for row, name in names.items()}
    parts = [f"{name} {value:.1f} %" for name, value in found.items() if value is not None]
    if floor is not None:
        parts.append(f"a fixed ellipse that ignores the image {floor:.1f} %")
    return [f"Tumour IoU on the test images: {', '.join(parts)}."] if parts else []


def _leaks(metrics: Mapping[str, Any]) -> list[str]:
    """How much of the test set is nearly in the training set, for the seed with the most."""
    leaks = metrics.get("leaks", {})
    if not leaks:
        return []
    worst = max(leaks.values(), key=lambda counts: counts["X_percent"])
    up_to = "up to " if len(leaks) > 1 else ""
    found = f"{up_to}{worst['X']} ({worst['X_percent']:.1f} %)"
    return [f"Test images with a near-duplicate among the training images: {found}."]
