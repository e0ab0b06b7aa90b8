"""Work on many images spread over processes, results in order. Imports neither torch nor pandas."""

import os
import signal
import threading
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from functools import cache
from itertools import starmap
from multiprocessing import get_context, parent_process
from typing import Any, TypeVar

import cv2

from bench.errors import UserError
from bench.sources import EDITED, source_digest, source_file

R = TypeVar("R")
# Tasks given out for each process, the one at work included: enough to keep it busy, few enough for the memory.
AHEAD = 2


def in_order(work: Callable[..., R], tasks: Iterable[tuple[Any, ...]], processes: int) -> Iterator[R]:
    """work(*task) of every task, in their order; the same for any number of processes.

    Tasks are taken as they are needed, a few a process ahead. One process is this one; with more of them work, tasks
    and results must be picklable. Raises what `work` raises, and UserError when a process dies.
    """
    if processes == 1:
        yield from starmap(work, tasks)
        return
    # Forking a process in which torch has started its threads can hang.
    pool = ProcessPoolExecutor(processes, get_context("spawn"), initializer=_begin)
    waiting: deque[Future[R]] = deque()
    module = getattr(work, "func", work).__module__
    sources = source_digest(module) if source_file(module) else ""
    try:
        for task in tasks:
            waiting.append(pool.submit(_of_the_same_sources, module, sources, work, *task))
            if len(waiting) > AHEAD * processes:
                yield waiting.popleft().result()
        while waiting:
            yield waiting.popleft().result()
    except BrokenProcessPool as error:
        raise UserError(
            "a process at work died, perhaps for want of memory - free some and run again, or with fewer cores: by "
            "`taskset`, or for an item by engine.threads, which trains every network anew"
        ) from error
    finally:
        pool.shutdown(cancel_futures=True)


def _of_the_same_sources(module: str, sources: str, work: Callable[..., R], *task: Any) -> R:
    """work(*task), where this process has imported what its parent has."""
    if sources and _digest(module) != sources:
        raise UserError(f"{module} or what it needs {EDITED}")
    return work(*task)


_digest = cache(source_digest)


def _begin() -> None:
    # Ctrl-C reaches every process of a command; the one that was given it ends these.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    cv2.setNumThreads(1)
    end_with_parent()


def end_with_parent() -> None:
    """Let this process of multiprocessing end when its parent does: a killed parent tells its processes nothing."""
    threading.Thread(target=_await_parent, daemon=True).start()


def _await_parent() -> None:
    parent = parent_process()
    assert parent is not None
    parent.join()
    os._exit(1)
