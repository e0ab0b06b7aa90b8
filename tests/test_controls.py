"""Selections in the place of L: their sizes, what they take, and that nothing but their seed decides them."""

import numpy as np
import pandas as pd
import pytest

from bench.controls import inverted, oracle_subset, random_subset


def selection(ious: list[float], selected: int, categories: str = "") -> pd.DataFrame:
    """A table of the select stage's: the first `selected` images are L."""
    count = len(ious)
    return pd.DataFrame(
        {
            "id": [f"image {number}" for number in range(count)],
            "category": [{"b": "benign", "m": "malignant"}[kind] for kind in categories or "b" * count],
            "iou": ious,
            "selected": np.arange(count) < selected,
            "reason": "invented",
        }
    )


def taken(table: pd.DataFrame) -> list[str]:
    return list(table.loc[table["selected"], "id"])


MIXED = selection([0.5] * 40, 12, "bbbm" * 10)


def test_a_random_subset_has_as_many_of_each_class_as_l():
    table = random_subset(MIXED, 0)
    assert list(table.columns) == ["id", "category", "selected", "reason"]
    assert list(table["id"]) == list(MIXED["id"])
    counts = [part[part["selected"]].groupby("category").size().to_dict() for part in (table, MIXED)]
    assert counts[0] == counts[1] == {"benign": 9, "malignant": 3}
    assert set(table.loc[table["selected"], "reason"]) == {"drawn"}
    assert set(table.loc[~table["selected"], "reason"]) == {"not drawn"}


def test_a_random_subset_is_of_its_seed_and_of_nothing_else():
    assert random_subset(MIXED, 3).equals(random_subset(MIXED, 3))
    assert taken(random_subset(MIXED, 3)) != taken(random_subset(MIXED, 4))
    shuffled = MIXED.sample(frac=1, random_state=1).reset_index(drop=True)
    assert sorted(taken(random_subset(shuffled, 3))) == sorted(taken(random_subset(MIXED, 3)))


def test_a_random_subset_can_take_any_image():
    drawn = {image for seed in range(60) for image in taken(random_subset(MIXED, seed))}
    assert drawn == set(MIXED["id"])


def test_the_inverted_selection_takes_the_least_stable():
    table = selection([0.9, 0.8, 0.1, 0.5, 0.3, 0.2], 3)
    assert taken(inverted(table)) == ["image 2", "image 4", "image 5"]


def test_the_inverted_selection_takes_images_without_regions_only_where_others_lack():
    table = selection([np.nan, 0.8, 0.1, np.nan], 2)
    assert taken(inverted(table)) == ["image 1", "image 2"]
    assert len(taken(inverted(table.assign(selected=[True, True, True, False])))) == 3


def test_the_oracle_takes_the_best_masks():
    table = selection([0.5] * 5, 2)
    assert taken(oracle_subset(table, pd.Series([10.0, 80.0, 0.0, 55.0, 50.0]))) == ["image 1", "image 3"]


@pytest.mark.parametrize("make", [inverted, lambda table: oracle_subset(table, table["iou"])])
def test_ties_do_not_depend_on_the_order_of_the_images(make):
    shuffled = MIXED.sample(frac=1, random_state=2).reset_index(drop=True)
    assert sorted(taken(make(shuffled))) == sorted(taken(make(MIXED)))


@pytest.mark.parametrize("selected", [0, 6])
def test_an_empty_and_a_full_l_are_kept(selected):
    table = selection([0.1, 0.2, 0.3, np.nan, 0.4, 0.5], selected)
    for made in (random_subset(table, 0), inverted(table), oracle_subset(table, table["iou"].fillna(0))):
        assert made["selected"].sum() == selected
