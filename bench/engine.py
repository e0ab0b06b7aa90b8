"""Where items run. `inline` runs them one after the other in this process."""

import time
from collections.abc import Sequence
from pathlib import Path
from typing import Literal

from bench.progress import say
from bench.store import Item, Store

STORE = Path(".bench/runs")


def run_items(items: Sequence[Item], kind: Literal["inline"], store: Store | None = None) -> list[Path]:
    """Result folders of `items`, in their order; finished ones are looked up, missing ones computed by engine `kind`.

    A failing item raises at once and leaves its checkpoints alone; items that finished before it stay in the store.
    """
    store = store or Store(STORE)
    keys = [item.key() for item in items]
    missing = [index for index, key in enumerate(keys) if store.find(key) is None and key not in keys[:index]]
    say(f"{len(items)} items, {len(items) - len(missing)} of them already in the store")
    ENGINES[kind]([(items[index], keys[index]) for index in missing], store)
    return [store.root / key for key in keys]


def _inline(work: Sequence[tuple[Item, str]], store: Store) -> None:
    for position, (item, key) in enumerate(work, 1):
        start, place = time.monotonic(), f"[{position}/{len(work)}] {item.name}"
        say(place)
        store.compute(item, key)
        say(f"{place}: done in {time.monotonic() - start:.0f} s")


ENGINES = {"inline": _inline}
