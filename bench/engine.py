"""Where items run: inline, one after the other in this process, or side by side, in processes or on Ray."""

import importlib.util
import os
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Literal

from bench.errors import UserError
from bench.progress import say
from bench.schema import Engine
from bench.store import Item, Store

STORE = Path(".bench/runs")
# Read by Ray when it is imported: it reports to nobody, shows every line of a worker, plainly, and takes our code also
# in a job that was submitted with code of its own.
RAY_SETTINGS = {
    "RAY_USAGE_STATS_ENABLED": "0",
    "RAY_DEDUP_LOGS": "0",
    "RAY_COLOR_PREFIX": "0",
    "RAY_OVERRIDE_JOB_RUNTIME_ENV": "1",
}
# A local instance ends with this process, so it needs no token, which Ray would leave in the home folder.
RAY_LOCAL_SETTINGS = {"RAY_AUTH_MODE": "disabled"}
Work = Sequence[tuple[Item, str]]


def run_items(
    items: Sequence[Item], engine: Engine, store: Store | None = None, ahead: Sequence[Item] = ()
) -> list[Path]:
    """Result folders of `items`, in their order; finished ones are looked up, missing ones computed.

    ahead: items of a later stage that can be computed already. Where `items` run in processes, they are computed into
    the store beside them: later they would have the machine to themselves and not fill it.
    A failing item raises its own error at once and leaves its checkpoints alone; items that finished before it stay in
    the store. Raises UserError where `engine` asks for Ray and Ray cannot be had, or only for what is finished, and
    where the process of an item is lost.
    """
    store = store or Store(STORE, engine.checkpoint_seconds)
    keyed = [(item, item.key()) for item in items]
    work = _missing(keyed, store)
    say(f"{len(items)} items, {len(items) - len(work)} of them already in the store")
    if work and engine.kind == "finished":
        raise UserError(f"{work[0][0].name} is not finished - run the stage without --finished first")
    early = _missing([(item, item.key()) for item in ahead], store) if work else []
    if choose(engine, [item for item, _ in [*early, *work]]) == "processes":
        _processes(work, store, engine, early)
    elif choose(engine, [item for item, _ in work]) == "ray":
        _ray(work, store, engine)
    else:
        _inline(work, store)
    return [store.root / key for _, key in keyed]


def _missing(keyed: Work, store: Store) -> list[tuple[Item, str]]:
    """Those that are not in the store, the first of each key."""
    found: dict[str, Item] = {}
    for item, key in keyed:
        if store.find(key) is None:
            found.setdefault(key, item)
    return [(item, key) for key, item in found.items()]


def unfinished(items: Sequence[Item], engine: Engine) -> list[bool]:
    """Which of `items` are neither finished nor going to be computed, by an engine that takes only what is finished."""
    store = Store(STORE, engine.checkpoint_seconds)
    return [engine.kind == "finished" and store.find(item.key()) is None for item in items]


def choose(engine: Engine, missing: Sequence[Item]) -> Literal["inline", "processes", "ray"]:
    """The kind of engine that computes `missing`.

    "auto" takes Ray where it is installed and can help: on a cluster, and on this machine when several items are
    missing and there is room for more than one. "processes" differs on this machine's processor, where it takes
    processes instead, as "auto" does without Ray; GPUs are Ray's to hand out.
    Raises UserError when Ray is asked for and is not installed.
    """
    if engine.kind == "ray" and not _installed():
        raise UserError("engine.kind is ray, but Ray is not installed - pip install '.[cluster]', or set it to auto")
    if not missing or engine.kind == "inline":
        return "inline"
    if engine.kind == "ray" or on_cluster(engine):
        return "ray"
    if len(missing) == 1 or slots_here(engine, missing[0]) <= 1:
        return "inline"
    if _installed() and (engine.kind == "auto" or on_gpu(missing[0])):
        return "ray"
    return "inline" if on_gpu(missing[0]) else "processes"


def _installed() -> bool:
    return importlib.util.find_spec("ray") is not None


def on_cluster(engine: Engine) -> bool:
    """Whether items run on the Ray cluster that RAY_ADDRESS names."""
    return engine.kind != "inline" and bool(os.environ.get("RAY_ADDRESS")) and _installed()


def on_gpu(item: Item) -> bool:
    """Whether the item computes on a GPU."""
    return item.settings.get("device") == "cuda"


def slots_here(engine: Engine, item: Item) -> int:
    """How many items like `item` this machine has room for: by processor cores, or by GPUs and a core each."""
    cores = len(os.sched_getaffinity(0))
    if not on_gpu(item):
        return cores // engine.threads
    import torch

    share = engine.gpus_per_item
    gpus = torch.cuda.device_count()
    return min(cores, gpus * int(1 / share) if share <= 1 else gpus // int(share))


def _inline(work: Work, store: Store) -> None:
    for position, (item, key) in enumerate(work, 1):
        start, place = time.monotonic(), f"[{position}/{len(work)}] {item.name}"
        say(place)
        item.refuse_changed_inputs(key)
        store.compute(item, key)
        say(f"{place}: done in {time.monotonic() - start:.0f} s")


def _processes(work: Work, store: Store, engine: Engine, ahead: Work) -> None:
    from bench.process_engine import run

    run(work, store, slots_here(engine, work[0][0]), ahead)


def _ray(work: Work, store: Store, engine: Engine) -> None:
    local = {} if os.environ.get("RAY_ADDRESS") else RAY_LOCAL_SETTINGS
    for name, value in {**RAY_SETTINGS, **local}.items():
        os.environ.setdefault(name, value)
    from bench.ray_engine import run

    run(work, store, engine)
