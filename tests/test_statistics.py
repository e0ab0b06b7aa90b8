"""Intervals and paired tests on counts whose truth is known."""

import numpy as np
import pandas as pd
import pytest
from scipy import stats

from bench.errors import UserError
from bench.seeds import Seeds
from bench.statistics import (
    FEWEST_GROUPS,
    Estimate,
    Interval,
    Sample,
    Spread,
    compare,
    estimates,
    gather,
    holm,
    refuse_repeats,
    row_estimates,
    sign_flip,
    spread,
    verdict,
)
from tests.counts import counts_of

SPLITS = [Seeds(split, 0) for split in range(3)]

RNG_SEED = 7


def skewed(rng: np.random.Generator, *shape: int) -> np.ndarray:
    """IoUs as segmentations have them: most good, a fifth of the lesions missed."""
    return np.where(rng.random(shape) < 0.2, 0.0, 100 * rng.beta(5, 2, shape))


def of(per_image: pd.DataFrame, row: str = "a", **options: dict[str, str]) -> Estimate:
    return row_estimates(per_image, [row], **options)[row]["tumor_iou"]


def width(estimate: Estimate) -> float:
    assert estimate.images is not None
    low, high = estimate.images
    return high - low


def test_the_interval_covers_the_truth_as_often_as_it_says():
    truth = 0.8 * 100 * 5 / 7
    simulated = skewed(np.random.default_rng(RNG_SEED), 200, 100)  # data sets, images
    sample = Sample(SPLITS[:1], simulated[None, :, None, :], np.ones((1, 200, 100), np.int64))
    found = estimates(sample, lambda means: means[..., 0])
    covered = [low <= truth <= high for low, high in (one.images for one in found)]
    assert 0.91 <= np.mean(covered) <= 0.98


def test_the_interval_is_that_of_the_mean_in_the_table():
    ious = skewed(np.random.default_rng(RNG_SEED), 129)
    found = of(counts_of("a", ious))
    assert found.value == pytest.approx(ious.mean(), abs=0.01)
    usual = stats.ttest_1samp(ious, 0).confidence_interval()
    assert found.images == pytest.approx((usual.low, usual.high), abs=1.0)
    assert found.seeds is None


def test_the_interval_leans_to_where_the_tail_is():
    ious = np.sort(skewed(np.random.default_rng(RNG_SEED), 60)) ** 3 / 1e4
    expected = stats.bootstrap((ious,), np.mean, method="BCa", rng=RNG_SEED).confidence_interval
    found = of(counts_of("a", ious))
    assert found.images == pytest.approx((expected.low, expected.high), abs=0.5)
    tail = np.array([*np.full(55, 10.0), *np.full(5, 90.0)])
    leaning = of(counts_of("a", tail))
    assert leaning.images[1] - leaning.value > 1.2 * (leaning.value - leaning.images[0])


def test_shares_of_groups_add_up_to_the_mean_over_seeds():
    both = pd.concat([counts_of("a", [10.0, 20.0, 60.0], seed=0), counts_of("a", [50.0], seed=1)])
    assert gather(both, ["a"]).shares()[0, 0].sum() == pytest.approx((30 + 50) / 2)


def test_all_three_scores_have_intervals_of_their_own():
    found = row_estimates(counts_of("a", np.linspace(20, 80, 40), background=90.0), ["a"])["a"]
    assert {name: round(one.value, 1) for name, one in found.items()} == {
        "tumor_iou": 50.0,
        "background_iou": 90.0,
        "miou": 70.0,
    }
    assert width(found["miou"]) == pytest.approx(width(found["tumor_iou"]) / 2, abs=0.01)


def test_duplicates_sharpen_an_interval_unless_they_are_one_group():
    ious = skewed(np.random.default_rng(RNG_SEED), 60)
    once = counts_of("a", ious)
    copies = once.assign(id=[f"copy of {image}" for image in once["id"]])
    twice = pd.concat([once, copies])
    groups = {image: name.removeprefix("copy of ") for name in twice["id"] for image in (name,)}
    assert of(twice, groups=groups) == of(once)
    assert width(of(twice, groups=groups)) > 1.3 * width(of(twice))


def test_an_image_without_a_group_is_a_group_of_its_own():
    per_image = counts_of("a", skewed(np.random.default_rng(RNG_SEED), 30))
    partly = gather(per_image, ["a"], {"image 0": "image 2", "image 1": "image 2"})
    assert partly.groups == 29  # a group's name is no image's name
    assert sorted(partly.images.ravel()) == [1] * 28 + [2]


def test_a_row_has_the_same_interval_whatever_stands_beside_it():
    rng = np.random.default_rng(RNG_SEED)
    per_image = pd.concat([counts_of(row, skewed(rng, 50)) for row in "abc"])
    assert row_estimates(per_image, ["c", "a"])["a"] == row_estimates(per_image, ["a"])["a"]
    assert of(per_image.iloc[::-1]) == of(per_image)


@pytest.mark.parametrize(("images", "given"), [(1, False), (FEWEST_GROUPS - 1, False), (FEWEST_GROUPS, True)])
def test_too_few_images_give_no_interval(images, given):
    found = of(counts_of("a", np.linspace(10, 90, images)))
    assert (found.images is not None) == given
    assert np.isfinite(found.value)


def test_images_that_all_score_alike_have_an_interval_without_width():
    assert of(counts_of("a", np.full(30, 40.0))).images == (40.0, 40.0)


def over_seeds(values: np.ndarray, runs: list[Seeds]) -> Interval | None:
    """The interval over seeds of one row whose runs have these means."""
    sample = Sample(runs, values[:, None, None, None], np.ones((len(values), 1, 1), np.int64))
    (found,) = estimates(sample, lambda means: means[..., 0, :])
    return found.seeds


def test_the_interval_over_seeds_is_students():
    assert over_seeds(np.array([10.0, 12.0, 17.0]), SPLITS) == pytest.approx((13 - 8.957, 13 + 8.957), abs=0.001)
    assert over_seeds(np.array([11.0]), SPLITS[:1]) is None


def test_a_lead_over_the_best_lies_within_its_interval_over_seeds():
    """Whichever of two baselines a split happens to favour, the lead is one over the better of both."""
    means = np.array([[60.0, 50, 64], [60, 64, 50], [61, 50, 65]])
    sample = Sample(SPLITS, means[:, :, None, None], np.ones((3, 3, 1), np.int64))
    (found,) = estimates(sample, lambda means: means[..., 0, :] - means[..., 1:, :].max(axis=-2))
    assert found.value == pytest.approx(60.333 - 59.667, abs=0.001)
    assert found.seeds is not None and found.seeds[0] < found.value < found.seeds[1]


def test_a_run_without_the_images_of_a_row_leaves_no_interval():
    assert over_seeds(np.array([10.0, np.nan, 17.0]), SPLITS) is None


def test_with_several_splits_the_interval_is_of_one_mean_a_split():
    runs = [Seeds(split, training) for split in range(3) for training in range(2)]
    assert over_seeds(np.array([9.0, 11.0, 12.0, 12.0, 10.0, 24.0]), runs) == over_seeds(
        np.array([10.0, 12.0, 17.0]), SPLITS
    )


def test_with_one_split_the_interval_is_of_its_trainings():
    trainings = [Seeds(7, training) for training in range(3)]
    values = np.array([10.0, 12.0, 17.0])
    assert over_seeds(values, trainings) == over_seeds(values, SPLITS)


def test_the_spread_of_trainings_and_of_splits_is_told_apart():
    draws = np.random.default_rng(3)
    parts = []
    for split, level in enumerate(draws.normal(50, 6, 60)):
        for training, value in enumerate(draws.normal(level, 2, 4)):
            parts.append(counts_of("a", [value - 5, value + 5], seed=split, training=training))
    found = spread(pd.concat(parts), "a")
    assert found.runs == 240
    assert found.trainings == pytest.approx(2, abs=0.25)
    assert found.splits == pytest.approx(6, abs=1.2)


def test_a_single_run_has_no_spread():
    assert spread(counts_of("a", [10.0, 30.0]), "a") == Spread(1, pytest.approx(20.0, abs=0.01), None, None)
    assert spread(counts_of("a", [10.0]), "b") is None


def test_seeds_count_alike_and_images_are_resampled_through_all_of_them():
    ids = [f"x{number}" for number in range(40)]
    rng = np.random.default_rng(RNG_SEED)
    first, second = skewed(rng, 40), skewed(rng, 30)
    both = pd.concat([counts_of("a", first, seed=0, ids=ids), counts_of("a", second, seed=1, ids=ids[10:])])
    found = of(both)
    assert found.value == pytest.approx((first.mean() + second.mean()) / 2, abs=0.01)
    assert found.images is not None
    assert found.seeds == pytest.approx(over_seeds(np.array([first.mean(), second.mean()]), SPLITS[:2]), abs=0.02)
    assert width(found) < width(of(both[both["split_seed"] == 1]))


def test_a_row_is_judged_by_the_seeds_in_which_it_ran():
    ious = skewed(np.random.default_rng(RNG_SEED), 3, 30)
    per_image = pd.concat(
        [counts_of("a", ious[0], seed=0), counts_of("a", ious[1], seed=1), counts_of("b", ious[2], seed=1)]
    )
    found = row_estimates(per_image, ["a", "b", "gone"])
    assert list(found) == ["a", "b"]
    assert found["a"]["tumor_iou"].seeds is not None
    assert found["b"]["tumor_iou"].seeds is None


def test_an_image_that_counts_twice_is_refused():
    per_image = counts_of("a", [10.0, 20.0])
    refuse_repeats(per_image, ["floor"])
    with pytest.raises(UserError, match="image 1 counts twice in row a, split-0-training-0"):
        refuse_repeats(pd.concat([per_image, per_image.iloc[1:]]), [])


def test_one_run_under_two_seeds_is_refused():
    per_image = pd.concat([counts_of("a", [10.0, 20.0]), counts_of("b", [30.0, 40.0])])
    copied = per_image.assign(split_seed=5).iloc[::-1]
    with pytest.raises(UserError, match="split-0-training-0 and split-5-training-0 have the same counts"):
        refuse_repeats(pd.concat([per_image, copied]), [])
    copied["tp"] += [1, 0, 0, 0]
    refuse_repeats(pd.concat([per_image, copied]), [])


def test_rows_that_no_training_changes_do_not_make_runs_one():
    floors = [counts_of("floor", [10.0, 20.0], training=training) for training in range(3)]
    refuse_repeats(pd.concat([counts_of("a", [30.0, 40.0]), *floors]), ["floor"])


def test_holms_correction_of_a_hand_made_example():
    assert holm([0.01, 0.04, 0.03, 0.005]) == pytest.approx([0.03, 0.06, 0.06, 0.02])
    assert holm([0.6, 0.7]) == pytest.approx([1.0, 1.0])
    assert holm([]).size == 0


def test_sign_flips_agree_with_all_signs():
    shares = np.random.default_rng(RNG_SEED).normal(0.4, 1, (3, 12))
    exact = [
        stats.permutation_test((one,), np.sum, permutation_type="samples", n_resamples=np.inf).pvalue for one in shares
    ]
    assert sign_flip(shares) == pytest.approx(exact, abs=0.015)


def test_equal_rows_have_a_p_of_1():
    assert sign_flip(np.zeros((1, 30))) == [1.0]


def test_sign_flips_reject_a_true_null_hypothesis_as_rarely_as_they_say():
    p = sign_flip(np.random.default_rng(RNG_SEED).normal(0, 1, (1000, 40)))
    assert 0.03 <= np.mean(np.array(p) < 0.05) <= 0.07


def paired(shift: float, images: int = 60, rows: str = "ab") -> pd.DataFrame:
    """Rows whose tumour IoU falls by `shift` from one to the next, on images of very different difficulty."""
    rng = np.random.default_rng(RNG_SEED)
    difficulty = rng.uniform(20, 70, images)
    ious = [difficulty - shift * position + rng.normal(0, 4, images) for position in range(len(rows))]
    return pd.concat([counts_of(row, one) for row, one in zip(rows, ious, strict=True)])


def test_pairing_finds_a_difference_that_the_rows_own_intervals_hide():
    per_image = paired(3.0)
    single = row_estimates(per_image, ["a", "b"])
    assert single["a"]["tumor_iou"].images[0] < single["b"]["tumor_iou"].images[1]
    better, worse = compare(per_image, [("a", "b"), ("b", "a")])
    assert (better.verdict, worse.verdict) == ("better", "worse")
    assert better.difference.value == pytest.approx(-worse.difference.value)
    assert better.difference.images[0] > 0


def test_no_difference_cannot_be_told():
    (found,) = compare(paired(0.0), [("a", "b")])
    assert found.verdict == "cannot tell"
    assert found.difference.images[0] < 0 < found.difference.images[1]


def test_a_larger_family_asks_for_more():
    per_image = paired(0.0, rows="abcdefg")
    per_image.loc[per_image["row"] == "b", "tp"] -= 1500
    alone = compare(per_image, [("a", "b")])[0]
    others = [(one, other) for one in "acdefg" for other in "acdefg" if one < other]
    among = compare(per_image, [("a", "b"), *others])[0]
    assert alone.p == among.p == alone.p_holm
    assert among.p_holm > alone.p_holm
    assert (alone.verdict, among.verdict) == ("better", "cannot tell")


def test_a_pair_with_a_missing_row_is_named_and_enlarges_no_family():
    found = compare(paired(3.0), [("a", "gone"), ("a", "b")])
    assert (found[0].left, found[0].right, found[0].difference, found[0].verdict) == ("a", "gone", None, "cannot tell")
    assert found[1].p_holm == found[1].p


def test_duplicates_in_one_group_add_nothing_to_a_test():
    once = paired(1.0, images=25)
    copies = once.assign(id=[f"copy of {image}" for image in once["id"]])
    groups = {image: image.removeprefix("copy of ") for image in [*once["id"], *copies["id"]]}
    twice = pd.concat([once, copies])
    assert compare(twice, [("a", "b")], groups) == compare(once, [("a", "b")])
    assert compare(twice, [("a", "b")])[0].p < compare(once, [("a", "b")])[0].p


def test_rows_of_different_images_are_not_compared():
    per_image = pd.concat([counts_of("a", [10.0, 20.0]), counts_of("b", [10.0, 20.0], ids=["image 0", "image 9"])])
    with pytest.raises(ValueError, match="a, b were not judged on the same images"):
        compare(per_image, [("a", "b")])


@pytest.mark.parametrize(
    ("value", "p", "seeds", "expected"),
    [
        (3.0, 0.01, None, "better"),
        (-3.0, 0.01, None, "worse"),
        (3.0, 0.05, None, "cannot tell"),
        (3.0, 0.01, (1.0, 5.0), "better"),
        (-3.0, 0.01, (-5.0, -1.0), "worse"),
        (3.0, 0.01, (-1.0, 7.0), "cannot tell"),
    ],
)
def test_the_images_decide_and_the_seeds_may_not_contradict(value, p, seeds, expected):
    assert verdict(Estimate(value, (value - 1, value + 1), seeds), p) == expected


def test_what_was_not_tested_cannot_be_told():
    assert verdict(None, None) == "cannot tell"
