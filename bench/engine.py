"""Where items run. `inline` runs them one after the other in this process."""

import time
from collections.abc import Sequence
from pathlib import Path

from bench.progress import say
from bench.store import Item, Store

STORE = Path(".bench/runs")


def run_items(items: Sequence[Item], store: Store | None = None) -> list[Path]:
    """Result folders of `items`, in their order; finished ones are looked up, missing ones computed.

    A failing item raises at once and leaves nothing behind; items that finished before it stay in the store.
    """
    store = store or Store(STORE)
    keys = [item.key() for item in items]
    missing = [index for index, key in enumerate(keys) if store.find(key) is None and key not in keys[:index]]
    say(f"{len(items)} items, {len(items) - len(missing)} of them already in the store")
    for position, index in enumerate(missing, 1):
        item, start = items[index], time.monotonic()
        say(f"[{position}/{len(missing)}] {item.name}")
        store.compute(item, keys[index])
        say(f"[{position}/{len(missing)}] {item.name}: done in {time.monotonic() - start:.0f} s")
    return [store.root / key for key in keys]
