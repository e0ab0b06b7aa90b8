"""Two ways to the same result, timed in one process."""

import time
from collections.abc import Callable
from dataclasses import dataclass


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
