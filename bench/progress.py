"""Progress of long work: a bar on a terminal, a few plain lines elsewhere."""

import sys
import time
from collections.abc import Iterable, Iterator, Sized
from typing import TypeVar

from rich.console import Console
from rich.progress import track as rich_track

PLAIN_SECONDS = 20.0
T = TypeVar("T")


def say(text: str) -> None:
    """Print one line at once, so that logs show it while the work goes on."""
    print(text, flush=True)


def track(items: Iterable[T], what: str, total: int | None = None) -> Iterator[T]:
    """Yield `items` while showing how far the loop is.

    `what` names the work; `total` is needed when `items` has no length. On a terminal this is rich's bar;
    otherwise at most one line per PLAIN_SECONDS, and none for work that ends sooner.
    """
    total = len(items) if total is None and isinstance(items, Sized) else total
    if sys.stdout.isatty():
        yield from rich_track(items, what, total=total, console=Console())
        return
    start = shown = time.monotonic()
    for done, item in enumerate(items, 1):
        yield item
        now = time.monotonic()
        if now - shown >= PLAIN_SECONDS:
            shown = now
            say(f"{what}: {done}{f'/{total}' if total else ''} ({now - start:.0f} s)")
