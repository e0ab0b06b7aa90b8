"""Intervals and paired tests of the rows' IoUs, all of them views of the per-image counts.

Two sources of chance are kept apart. Over images: the networks are held fixed and the test images are resampled, whole
groups (near-duplicates, or the user's own) at a time, because those do not count as independent. Over seeds: what
another split and another training would give; the test sets of different splits overlap, so that interval is rather
too narrow. The trainings of one split are no independent draws of it: with several splits the interval is that of one
mean a split, with one split that of its trainings, which says nothing of other splits. One run has none. What is no
mean of the runs' own values, like a lead over the best row, has its interval by the jackknife.

The bootstrap is BCa and not percentile, because per-image IoUs are skewed: on simulated IoUs of 62 and 129 images BCa
covered the true mean in 92 to 96 % of the cases and missed it at most twice as often on one side as on the other,
percentile in 91 to 96 % and up to five times as often. The paired test is a sign-flip permutation and not Wilcoxon's:
it tests the very difference of means that the tables show, assumes nothing of ranks or ties, and flips a group as one.
"""

import itertools
import warnings
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
import pandas as pd
from scipy import stats

from bench.errors import UserError
from bench.metrics import per_image_iou
from bench.seeding import seed_for
from bench.seeds import AXES, Seeds
from bench.tables import METRICS

ALPHA = 0.05
LEVEL = 1 - ALPHA
RESAMPLES = 10_000
# Simulated coverage of the 95 % interval: 88 to 94 % with 20 groups, 72 to 90 % with 10.
FEWEST_GROUPS = 20

Interval = tuple[float, float]
Statistic = Callable[[np.ndarray], np.ndarray]
Verdict = Literal["better", "worse", "cannot tell"]


@dataclass(frozen=True)
class Estimate:
    """A value with its 95 % intervals over images and over seeds; None where there is too little to give one."""

    value: float
    images: Interval | None
    seeds: Interval | None

    @property
    def intervals(self) -> list[Interval]:
        """Those that there are."""
        return [interval for interval in (self.images, self.seeds) if interval is not None]


@dataclass(frozen=True)
class Sample:
    """IoUs in percent of some rows, summed by group of images, for the runs that all of these rows have.

    runs: their seeds. ious: float64 (runs, rows, metrics, groups), metrics as in bench.tables.METRICS. images: int64
    (runs, rows, groups), how many images the sums are of.
    """

    runs: Sequence[Seeds]
    ious: np.ndarray
    images: np.ndarray

    @property
    def groups(self) -> int:
        """How many groups there are."""
        return int(self.images.shape[-1])

    @property
    def fewest(self) -> int:
        """How many groups the row and run with the fewest has images of."""
        return int((self.images > 0).sum(axis=-1).min())

    def means(self, weights: np.ndarray) -> np.ndarray:
        """Means over images, each group taken so many times: weights (..., groups) -> (..., runs, rows, metrics).

        NaN where a row has none of the images that were drawn.
        """
        runs, rows, metrics, groups = self.ious.shape
        sums = (weights @ self.ious.reshape(-1, groups).T).reshape(*weights.shape[:-1], runs, rows, metrics)
        images = (weights @ self.images.reshape(-1, groups).T).reshape(*weights.shape[:-1], runs, rows, 1)
        with np.errstate(invalid="ignore"):
            return np.asarray(sums / images)

    def shares(self) -> np.ndarray:
        """What every group adds to each row's mean over images and runs: (rows, metrics, groups)."""
        images = self.images.sum(axis=-1, keepdims=True)[..., None]
        return np.asarray((self.ious / images).mean(axis=0))


@dataclass(frozen=True)
class Comparison:
    """Tumour IoU of row `left` minus that of row `right`, on the same images.

    p: two-sided, None when no run has both rows; p_holm: corrected for the family that was tested together.
    """

    left: str
    right: str
    difference: Estimate | None
    p: float | None
    p_holm: float | None
    verdict: Verdict


def refuse_repeats(per_image: pd.DataFrame, untrained: Collection[str]) -> None:
    """Raise UserError when an image counts twice in one row and run, or one run's counts stand under two names.

    per_image: row, the run's seeds (bench.seeds.AXES), id, category and counts, as the evaluate stage writes them.
    untrained: rows that no training changes, which say nothing of whether two runs are one.
    """
    repeated = per_image[per_image.duplicated(["row", *AXES, "id"])]
    if len(repeated):
        first = repeated.iloc[0]
        raise UserError(f"{first['id']} counts twice in row {first['row']}, {_name(first)} - run evaluate again")
    ordered = per_image[~per_image["row"].isin(untrained)].sort_values(["row", "id"])
    texts = {_name(part.iloc[0]): part.drop(columns=AXES).to_csv(index=False) for _, part in ordered.groupby(AXES)}
    for one, other in itertools.combinations(texts, 2):
        if texts[one] == texts[other]:
            raise UserError(
                f"{one} and {other} have the same counts on every image, so they are one run - list a seed once"
            )


def _name(line: pd.Series) -> str:
    return Seeds(*(line[axis] for axis in AXES)).name


def common_runs(per_image: pd.DataFrame, rows: Sequence[str]) -> list[Seeds]:
    """The runs in which every one of `rows` has results, sorted."""
    found = [set(per_image.loc[per_image["row"] == row, AXES].itertuples(index=False, name=None)) for row in rows]
    return [Seeds(*run) for run in sorted(set.intersection(*found))] if found else []


def gather(per_image: pd.DataFrame, rows: Sequence[str], groups: Mapping[str, str] | None = None) -> Sample:
    """Sum the IoUs of `rows` by group, over the runs that all of them have (at least one).

    groups: image id -> name of its group; an image that it does not name is a group of its own.
    """
    runs = common_runs(per_image, rows)
    part = per_image[per_image["row"].isin(rows)]
    run = pd.MultiIndex.from_tuples(runs).get_indexer(pd.MultiIndex.from_frame(part[AXES]))
    part, run = part[run >= 0], run[run >= 0]
    names = group_names(part["id"], groups)
    ious = per_image_iou(part).assign(miou=lambda table: table.mean(axis=1), images=1)[[*METRICS, "images"]]
    places = pd.MultiIndex.from_product([range(len(runs)), rows, sorted(set(names))])
    sums = ious.groupby([run, part["row"], names]).sum().reindex(places, fill_value=0)
    table = sums.to_numpy(dtype=float).reshape(len(runs), len(rows), -1, len(METRICS) + 1).swapaxes(-1, -2)
    return Sample(runs, table[..., :-1, :], table[..., -1, :].astype(np.int64))


def group_names(ids: pd.Series, groups: Mapping[str, str] | None) -> pd.Series:
    """The group of each image; an image that `groups` does not name is one of its own."""
    return ids.map(lambda image: ("group", groups[image]) if groups and image in groups else ("image", image))


def mean_estimate(values: pd.Series, ids: pd.Series, groups: Mapping[str, str] | None = None) -> Estimate:
    """The mean of one value an image (there must be one), with its interval over images. groups: as for gather."""
    sums = values.groupby(group_names(ids, groups)).agg(["sum", "count"]).to_numpy(dtype=float)
    sample = Sample([Seeds(0, 0)], sums[:, 0][None, None, None], sums[:, 1].astype(np.int64)[None, None])
    (found,) = estimates(sample, lambda means: means[..., 0, :])
    return found


def estimates(sample: Sample, statistic: Statistic) -> list[Estimate]:
    """Values of a statistic of the row means, with intervals.

    statistic: maps means (..., rows, metrics) to values (..., k), whatever the leading axes.
    """
    means = sample.means(np.ones(sample.groups))
    values = statistic(means.mean(axis=0))
    over_images = _over_images(sample, statistic, values)
    over_seeds = _over_seeds(means, sample.runs, statistic)
    return [
        Estimate(float(value), _finite(*images), _finite(*seeds))
        for value, images, seeds in zip(values, over_images, over_seeds, strict=True)
    ]


def _finite(low: float, high: float) -> Interval | None:
    return (float(low), float(high)) if np.isfinite(low) and np.isfinite(high) else None


def _over_images(sample: Sample, statistic: Statistic, values: np.ndarray) -> np.ndarray:
    """Ends of the BCa interval of each value: (k, 2), NaN where there is none."""
    if sample.fewest < FEWEST_GROUPS:
        return np.full((len(values), 2), np.nan)

    def resampled(drawn: np.ndarray, axis: int) -> np.ndarray:
        means = sample.means(_times_drawn(drawn, sample.groups)).mean(axis=-3)
        # BCa counts ties with the estimate, which the order of summation must neither make nor break.
        return np.moveaxis(np.round(statistic(means), 9), -1, 0)

    with warnings.catch_warnings():
        # SciPy warns of a statistic that never varies, which has its interval below, and of one that is not finite.
        warnings.simplefilter("ignore", RuntimeWarning)
        found = stats.bootstrap(
            (np.arange(sample.groups),),
            resampled,
            n_resamples=RESAMPLES,
            vectorized=True,
            confidence_level=LEVEL,
            method="BCa",
            rng=np.random.default_rng(seed_for("bootstrap over images")),
        )
        constant = np.ptp(found.bootstrap_distribution, axis=-1) == 0
    return np.where(constant, values, found.confidence_interval).T


def _times_drawn(drawn: np.ndarray, groups: int) -> np.ndarray:
    """Numbers of groups (..., n) -> how often each was drawn, float (..., groups)."""
    flat = drawn.reshape(-1, drawn.shape[-1])
    places = flat + groups * np.arange(len(flat))[:, None]
    times = np.bincount(places.ravel(), minlength=groups * len(flat))
    return times.reshape(*drawn.shape[:-1], groups).astype(float)


def _over_seeds(means: np.ndarray, runs: Sequence[Seeds], statistic: Statistic) -> np.ndarray:
    """Ends of the t interval of each value of `statistic`: (k, 2), NaN for one run. means: (runs, rows, metrics).

    Its draws are the splits, or the trainings where there is one split. Each counts by its jackknife pseudo-value: of a
    mean that is the draw's own, and a lead over the best row stays one over the row that is best of all, not over
    whichever a single draw put first, by which every draw's lead would be too small.
    """
    splits = np.array([run.split for run in runs])
    several = np.unique(splits)
    draws = np.stack([means[splits == split].mean(axis=0) for split in several]) if len(several) > 1 else means
    count = len(draws)
    if count < 2:
        return np.full((len(statistic(draws[0])), 2), np.nan)
    without = np.stack([statistic(np.delete(draws, one, axis=0).mean(axis=0)) for one in range(count)])
    centre = statistic(draws.mean(axis=0))
    half = stats.t.ppf(1 - ALPHA / 2, count - 1) * stats.sem(count * centre - (count - 1) * without, axis=0)
    return np.stack([centre - half, centre + half], axis=-1)


@dataclass(frozen=True)
class Spread:
    """Standard deviations of a row's tumour IoU in points; None where there are not two to tell one from.

    trainings: between trainings of one split, pooled over the splits. splits: between splits, beyond what their
    trainings make them differ.
    """

    runs: int
    mean: float
    trainings: float | None
    splits: float | None


def spread(per_image: pd.DataFrame, row: str) -> Spread | None:
    """How far the runs of a row lie apart, by what was drawn anew; None for a row without results."""
    runs = common_runs(per_image, [row])
    if not runs:
        return None
    sample = gather(per_image, [row])
    by_run = sample.means(np.ones(sample.groups))[:, 0, METRICS.index("tumor_iou")]
    parted = pd.Series(by_run).groupby([run.split for run in runs])
    freedom = len(runs) - len(parted)
    within = float(((parted.count() - 1) * parted.var().fillna(0)).sum() / freedom) if freedom else None
    between = None
    if len(parted) > 1:
        between = float(np.sqrt(max(0.0, parted.mean().var() - (within or 0.0) * (1 / parted.count()).mean())))
    return Spread(len(runs), float(parted.mean().mean()), None if within is None else float(np.sqrt(within)), between)


def row_estimates(
    per_image: pd.DataFrame, rows: Sequence[str], groups: Mapping[str, str] | None = None
) -> dict[str, dict[str, Estimate]]:
    """The headline IoUs of the rows that have results, by row and metric, each over the runs that it has."""
    found: dict[str, dict[str, Estimate]] = {}
    for together in _by_runs(per_image, [(row,) for row in rows]):
        members = [row for (row,) in together]
        sample = gather(per_image, members, groups)
        values = estimates(sample, lambda means: means.reshape(*means.shape[:-2], -1))
        for position, row in enumerate(members):
            found[row] = dict(zip(METRICS, values[position * len(METRICS) :], strict=False))
    return found


def _by_runs(per_image: pd.DataFrame, several: Sequence[tuple[str, ...]]) -> list[list[tuple[str, ...]]]:
    """Rows, or pairs of them, that have the same runs and can be resampled at once; without those that never ran."""
    together: dict[tuple[Seeds, ...], list[tuple[str, ...]]] = {}
    for rows in several:
        together.setdefault(tuple(common_runs(per_image, rows)), []).append(rows)
    return [members for runs, members in together.items() if runs]


def compare(
    per_image: pd.DataFrame, pairs: Sequence[tuple[str, str]], groups: Mapping[str, str] | None = None
) -> list[Comparison]:
    """Test each pair of rows (left, right) on its common images; the pairs are one family for Holm's correction.

    "better" and "worse" are about `left`: Holm's p is below 0.05, and the interval over seeds, where there is one,
    excludes 0 on the same side. Raises ValueError when two rows were not judged on the same images.
    """
    found: dict[tuple[str, ...], tuple[Estimate, float]] = {}
    for together in _by_runs(per_image, pairs):
        found |= _differences(per_image, together, groups)
    corrected = dict(zip(found, holm([p for _, p in found.values()]), strict=True))
    return [
        Comparison(*pair, *found[pair], float(corrected[pair]), verdict(found[pair][0], float(corrected[pair])))
        if pair in found
        else Comparison(*pair, None, None, None, "cannot tell")
        for pair in pairs
    ]


def _differences(
    per_image: pd.DataFrame, pairs: Sequence[tuple[str, ...]], groups: Mapping[str, str] | None
) -> dict[tuple[str, ...], tuple[Estimate, float]]:
    """Difference and uncorrected p of pairs that have the same runs."""
    rows = list(dict.fromkeys(itertools.chain.from_iterable(pairs)))
    sample = gather(per_image, rows, groups)
    if (sample.images != sample.images[:, :1]).any():
        raise ValueError(f"{', '.join(rows)} were not judged on the same images")
    left, right = np.array([[rows.index(row) for row in pair] for pair in pairs]).T
    differences = estimates(sample, lambda means: means[..., left, 0] - means[..., right, 0])
    shares = sample.shares()[:, 0]
    return dict(zip(pairs, zip(differences, sign_flip(shares[left] - shares[right]), strict=True), strict=True))


def sign_flip(shares: np.ndarray) -> list[float]:
    """Two-sided p of sums of paired differences (k, groups), from random signs of the groups."""
    rng = np.random.default_rng(seed_for("sign flips"))
    signs = rng.choice([-1.0, 1.0], (RESAMPLES - 1, shares.shape[1]))
    flipped, observed = np.abs(signs @ shares.T), np.abs(shares.sum(axis=1))
    # The signs as observed are one of the ways; rounding must not make it more extreme than itself.
    return [float(p) for p in (1 + (flipped >= observed * (1 - 1e-9)).sum(axis=0)) / RESAMPLES]


def holm(p: Sequence[float]) -> np.ndarray:
    """Holm's step-down correction, in the order of `p`."""
    values = np.asarray(p, dtype=float)
    order = np.argsort(values)
    stepped = np.maximum.accumulate(values[order] * np.arange(len(values), 0, -1))
    corrected = np.empty(len(values))
    corrected[order] = np.minimum(stepped, 1.0)
    return corrected


def verdict(difference: Estimate | None, p: float | None) -> Verdict:
    """Whether a difference is one: p, corrected, is that of the images; the seeds may not contradict it."""
    if difference is None or p is None or p >= ALPHA:
        return "cannot tell"
    sign = np.sign(difference.value)
    if difference.seeds is not None and {np.sign(end) for end in difference.seeds} != {sign}:
        return "cannot tell"
    return "better" if sign > 0 else "worse"
