"""Two ways to the same result, timed in one process, and the epochs of a training, timed from outside."""

import contextlib
import io
import time
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from typing import TypeVar
from unittest import mock

from bench.training import loop

# Trains a network for a number of epochs.
Training = Callable[[int], object]
Around = Callable[[int], contextlib.AbstractContextManager[object]]
T = TypeVar("T")


@dataclass(frozen=True)
class Comparison:
    """Seconds of a plain way and of the project's way through the same work."""

    work: str
    plain: str
    plain_seconds: float
    ours: str
    our_seconds: float


def seconds(action: Callable[[], object]) -> float:
    """Wall-clock time of one call."""
    start = time.perf_counter()
    action()
    return time.perf_counter() - start


def epochs(train: Training, count: int, around: Around = lambda epoch: contextlib.nullcontext()) -> list[float]:
    """Seconds of each epoch of the first network that `train` trains in `count`; around(epoch) is entered before it."""
    taken: list[float] = []

    def timed(numbers: Iterable[T], _what: str) -> Iterator[T]:
        first = not taken
        for epoch, number in enumerate(numbers):
            with around(epoch) if first else contextlib.nullcontext():
                start = time.perf_counter()
                yield number
                # The losses' means have been waited for: the epoch's work is done.
                if first:
                    taken.append(time.perf_counter() - start)

    with contextlib.redirect_stdout(io.StringIO()), mock.patch.object(loop, "track", timed):
        train(count)
    return taken
