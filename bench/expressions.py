"""Arithmetic over named numbers, written as data: no code of a claim is ever run.

An expression is a number, a name, or a block with one operator and the list of its terms, such as
`{minus: [gt_whole.tumor_iou, gt_subset.tumor_iou]}`. A name may stand for several numbers.
"""

from collections.abc import Callable, Iterator, Sequence
from typing import Any

import numpy as np

from bench.errors import UserError

# What a name stands for: float (..., k), k numbers along the last axis.
Lookup = Callable[[str], np.ndarray]


def _percent(part: np.ndarray, whole: np.ndarray) -> np.ndarray:
    with np.errstate(divide="ignore", invalid="ignore"):
        return np.asarray(100.0 * part / whole)


def _ordered(terms: Sequence[np.ndarray]) -> np.ndarray:
    leading = np.broadcast_shapes(*(term.shape[:-1] for term in terms))
    spread = [np.broadcast_to(term, (*leading, term.shape[-1])) for term in terms]
    return np.sort(np.concatenate(spread, axis=-1), axis=-1)


# Operators of two terms, of any number of terms taken one with another, and of all numbers of all terms together.
PAIRWISE: dict[str, Callable[[np.ndarray, np.ndarray], np.ndarray]] = {
    "minus": np.subtract,
    "times": np.multiply,
    "percent": _percent,
}
OPERATORS: dict[str, Callable[[Sequence[np.ndarray]], np.ndarray]] = {
    "mean": lambda terms: np.asarray(sum(terms) / len(terms)),
    "sum": lambda terms: np.asarray(sum(terms)),
    "max": lambda terms: _ordered(terms)[..., -1:],
    "second": lambda terms: _ordered(terms)[..., -2:-1],
}


def evaluate(expression: Any, lookup: Lookup) -> np.ndarray:
    """The expression's numbers, float (..., k). Raises UserError for what is no expression."""
    match expression:
        case bool():
            pass
        case int() | float():
            return np.array([float(expression)])
        case str():
            return lookup(expression)
        case dict() if len(expression) == 1:
            ((operator, terms),) = expression.items()
            if isinstance(terms, list) and operator in OPERATORS and terms:
                return OPERATORS[operator]([evaluate(term, lookup) for term in terms])
            if isinstance(terms, list) and operator in PAIRWISE and len(terms) == 2:
                return PAIRWISE[operator](*(evaluate(term, lookup) for term in terms))
    raise UserError(f"{expression!r} is no number, no name and no {', '.join([*PAIRWISE, *OPERATORS])} of terms")


def names(expression: Any) -> Iterator[str]:
    """The names in an expression, in their order."""
    if isinstance(expression, str):
        yield expression
    elif isinstance(expression, dict):
        for terms in expression.values():
            for term in terms:
                yield from names(term)
