"""Arithmetic as data."""

import numpy as np
import pytest

from bench.errors import UserError
from bench.expressions import evaluate, names

NUMBERS = {"one": [1.0], "two": [2.0], "several": [3.0, 1.0, 4.0], "others": [10.0, 20.0, 30.0]}


def value(expression: object) -> list[float]:
    return evaluate(expression, lambda name: np.array(NUMBERS[name])).tolist()


@pytest.mark.parametrize(
    ("expression", "expected"),
    [
        (5, [5.0]),
        ("one", [1.0]),
        ({"minus": ["one", "two"]}, [-1.0]),
        ({"times": [0.5, "others"]}, [5.0, 10.0, 15.0]),
        ({"percent": ["one", "two"]}, [50.0]),
        ({"mean": ["several", "others"]}, [6.5, 10.5, 17.0]),
        ({"sum": ["several", "others", 1]}, [14.0, 22.0, 35.0]),
        ({"max": ["several", "two"]}, [4.0]),
        ({"second": ["several", "two"]}, [3.0]),
        ({"minus": [{"max": ["several"]}, {"times": ["two", "two"]}]}, [0.0]),
    ],
)
def test_operators(expression, expected):
    assert value(expression) == expected


def test_leading_axes_are_kept():
    resampled = np.arange(12.0).reshape(2, 2, 3)
    assert evaluate({"max": ["x", 4]}, lambda _: resampled).shape == (2, 2, 1)


@pytest.mark.parametrize(
    "wrong",
    [True, None, {}, [1], {"minus": ["one"]}, {"max": []}, {"max": "one"}, {"eval": ["one"]}, {"sum": [1], "max": [1]}],
)
def test_what_is_no_expression_is_refused(wrong):
    with pytest.raises(UserError, match="is no number, no name and no minus, times, percent, mean"):
        value(wrong)


def test_names_come_in_their_order():
    assert list(names({"minus": ["b", {"max": ["a", 3, "c"]}]})) == ["b", "a", "c"]
    assert list(names(0)) == []
