"""The split into N and K."""

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from bench.data.categories import CATEGORIES
from bench.data.splits import ENTIRE, TEST, group_numbers, grouped_split, leaks, paper_split
from bench.data.splits import test_count as due
from bench.errors import UserError


def split(seed: int = 0, **sizes: int) -> pd.DataFrame:
    sizes = ENTIRE | sizes
    pairs = [
        (f"{category} ({number})", category) for category in CATEGORIES for number in range(1, sizes[category] + 1)
    ]
    return paper_split(*zip(*pairs, strict=True), seed)


def held_out(table: pd.DataFrame, category: str | None = None) -> set[str]:
    part = table if category is None else table[table["category"] == category]
    return set(part.loc[part["set"] == "K", "id"])


@pytest.mark.parametrize("seed", [0, 1, 7])
def test_busi_is_split_as_in_table_1(seed):
    found = split(seed).groupby(["set", "category"]).size().to_dict()
    assert found == {
        ("N", "benign"): 357,
        ("N", "malignant"): 161,
        ("N", "normal"): 106,
        ("K", "benign"): 80,
        ("K", "malignant"): 49,
        ("K", "normal"): 27,
    }


def test_other_sizes_keep_the_proportions_of_each_class():
    table = split(benign=219, malignant=105, normal=96)
    assert {category: len(held_out(table, category)) for category in CATEGORIES} == {
        "benign": 40,
        "malignant": 24,
        "normal": 19,
    }


def test_every_image_is_in_one_set_and_in_the_order_given():
    table = split()
    assert table.columns.tolist() == ["id", "category", "set"]
    assert len(table) == table["id"].nunique() == 780
    assert table["id"].iloc[[0, 437, 779]].tolist() == ["benign (1)", "malignant (1)", "normal (133)"]
    assert set(table["set"]) == {"N", "K"}


def test_the_same_seed_gives_the_same_split():
    assert split(3).equals(split(3))


def test_seeds_give_different_splits():
    drawn = [held_out(split(seed)) for seed in range(4)]
    assert all(one != other for index, one in enumerate(drawn) for other in drawn[:index])


def test_the_test_set_is_drawn_and_not_the_first_or_last_images():
    positions = [int(image_id.split("(")[1][:-1]) for image_id in held_out(split(), "benign")]
    assert min(positions) < 60
    assert max(positions) > 377
    assert 150 < sum(positions) / len(positions) < 290


@pytest.mark.parametrize("changed", CATEGORIES)
def test_a_class_does_not_move_when_another_changes(changed):
    before, after = split(), split(**{changed: 100})
    for category in CATEGORIES:
        assert (held_out(before, category) == held_out(after, category)) == (category != changed)


@pytest.mark.parametrize("size", [0, 1, 2])
def test_a_class_too_small_to_split_is_refused(size):
    with pytest.raises(UserError, match=f"^{size} images of class malignant"):
        split(malignant=size)


def grouped(categories: list[str], groups: list[int], seed: int = 0) -> pd.DataFrame:
    return grouped_split([f"image {number}" for number in range(len(groups))], categories, groups, seed)


def busi_like(seed: int = 0) -> tuple[list[str], list[int]]:
    """BUSI's class counts; a third of the images in pairs and triples, a few of them across classes."""
    categories = [category for category in CATEGORIES for _ in range(ENTIRE[category])]
    draw = np.random.default_rng(seed)
    groups = np.arange(len(categories))
    for size in [2] * 100 + [3] * 20:
        start = draw.integers(0, len(categories) - size)
        groups[start : start + size] = groups[start]
    for benign in (3, 40):
        groups[benign] = groups[ENTIRE["benign"] + benign]
    return categories, groups.tolist()


def sides(table: pd.DataFrame, groups: list[int]) -> pd.Series:
    """How many sets each group has images in."""
    return table["set"].groupby(np.asarray(groups)).nunique()


@pytest.mark.parametrize("seed", range(5))
def test_a_group_is_on_one_side_and_busi_keeps_the_counts_of_table_1(seed):
    categories, groups = busi_like(seed)
    assert len(set(groups)) < len(groups) - 100
    table = grouped(categories, groups, seed)
    assert (sides(table, groups) == 1).all()
    assert table[table["set"] == "K"]["category"].value_counts().to_dict() == TEST


@given(
    st.lists(st.tuples(st.sampled_from(CATEGORIES), st.integers(0, 60)), min_size=90, max_size=200), st.integers(0, 9)
)
@settings(max_examples=20, deadline=None)
def test_whatever_the_groups_none_is_torn_and_the_counts_are_near(members, seed):
    categories, groups = (list(column) for column in zip(*members, strict=True))
    # Enough images of every class, each a group of its own.
    categories += [category for category in CATEGORIES for _ in range(20)]
    groups += list(range(100, 160))
    table = grouped(categories, groups, seed)
    assert (sides(table, groups) == 1).all()
    for category in CATEGORIES:
        assert len(held_out(table, category)) == due(category, categories.count(category))


def test_counts_that_groups_do_not_allow_are_missed_by_as_little_as_possible():
    # Of 31 normal images 6 are due; groups of 4 and 5 leave 4, 5 or 8.
    categories = ["benign"] * 20 + ["malignant"] * 20 + ["normal"] * 31
    groups = [*range(40), *(100 + number // 4 for number in range(16)), *(200 + number // 5 for number in range(15))]
    assert due("normal", 31) == 6
    for seed in range(8):
        assert len(held_out(grouped(categories, groups, seed), "normal")) in (4, 5)


def test_a_group_too_large_for_k_goes_there_when_that_is_nearer():
    categories = ["benign"] * 20 + ["malignant"] * 20 + ["normal"] * 24
    groups = [*range(40), *(100 + number // 6 for number in range(24))]
    assert due("normal", 24) == 5
    assert len(held_out(grouped(categories, groups), "normal")) == 6


def test_a_group_across_classes_stays_whole():
    categories = ["benign"] * 30 + ["malignant"] * 30 + ["normal"] * 30
    groups = [number % 30 if number < 60 else number for number in range(90)]
    table = grouped(categories, groups)
    benign = {name.split()[1] for name in held_out(table, "benign")}
    malignant = {str(int(name.split()[1]) - 30) for name in held_out(table, "malignant")}
    assert benign == malignant
    assert (due("benign", 30), len(benign), due("malignant", 30)) == (5, 5, 7)


def test_the_grouped_split_depends_on_the_seed_and_not_on_the_numbers_of_groups():
    categories, groups = busi_like()
    first = grouped(categories, groups)
    assert first.equals(grouped(categories, groups))
    assert first.equals(grouped(categories, [7000 - group for group in groups]))
    assert not first.equals(grouped(categories, groups, 1))


def test_large_groups_come_into_the_test_set_too():
    categories, groups = busi_like()
    sizes = pd.Series(groups).map(pd.Series(groups).value_counts())
    shares = [(grouped(categories, groups, seed)["set"] == "K").groupby(sizes >= 2).mean() for seed in range(5)]
    alone, together = pd.concat(shares, axis=1).mean(axis=1)
    assert together > 0.8 * alone


def test_a_class_in_one_group_cannot_be_split():
    with pytest.raises(UserError, match=r"^30 images of class normal cannot be split .* by whole groups"):
        grouped(["benign"] * 20 + ["malignant"] * 20 + ["normal"] * 30, [*range(40), *[99] * 30])


def test_a_missing_class_cannot_be_split():
    with pytest.raises(UserError, match=r"^0 images of class normal"):
        grouped(["benign"] * 20 + ["malignant"] * 20, list(range(40)))


def test_groups_by_name_and_images_that_are_not_listed():
    table = pd.DataFrame({"id": ["c", "a"], "group": ["P7", "P7"]})
    numbers = group_numbers(table, list("abcd"), "own.csv")
    assert numbers[0] == numbers[2]
    assert len(set(numbers)) == 3


@pytest.mark.parametrize(
    ("columns", "message"),
    [
        ({"id": ["a"], "patient": [1]}, "own.csv needs the columns id and group, but has id, patient"),
        ({"id": ["a", "a"], "group": [1, 2]}, "own.csv lists twice a"),
        ({"id": ["a", "z"], "group": [1, 2]}, "own.csv names images that the data set lacks: z"),
        ({"id": ["a", "b"], "group": [1, None]}, "own.csv gives no group to b"),
    ],
)
def test_a_wrong_table_of_groups_is_refused(columns, message):
    with pytest.raises(UserError) as caught:
        group_numbers(pd.DataFrame(columns), list("ab"), "own.csv")
    assert str(caught.value) == message


def test_leaks_are_counted_over_tumours_and_over_all():
    rows = [
        ("b1", "benign", "N", 0),
        ("b2", "benign", "K", 0),
        ("m1", "malignant", "K", 1),
        ("m2", "malignant", "K", 1),  # its group lies wholly in K
        ("n1", "normal", "N", 2),
        ("n2", "normal", "K", 2),
    ]
    table = pd.DataFrame(rows, columns=["id", "category", "set", "group"])
    assert leaks(table[["id", "category", "set"]], table[["id", "group"]].sample(frac=1, random_state=0)) == {
        "X": 1,
        "X_percent": 33.33,
        "K": 2,
        "K_percent": 50.0,
    }


def test_the_grouped_split_leaks_nothing():
    categories, groups = busi_like()
    table = grouped(categories, groups)
    by_id = pd.DataFrame({"id": table["id"], "group": groups})
    assert leaks(table, by_id)["K"] == 0
    assert leaks(paper_split(table["id"], categories, 0), by_id)["X"] > 10
