"""The split into N and K."""

import pandas as pd
import pytest

from bench.data.categories import CATEGORIES
from bench.data.splits import ENTIRE, paper_split
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
