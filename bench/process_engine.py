"""Items side by side on this machine, each in a process of its own that ends with it.

The processes are forked from one that has imported what the items need and has computed nothing yet: imports are paid
once, and no state passes from an item to the next. Ray does the same with GPUs, on clusters and after losses; its start
takes longer than that of a small stage's work.
"""

import io
import multiprocessing
import pickle
import signal
import sys
import time
import traceback
from collections import deque
from multiprocessing.connection import Connection, wait
from multiprocessing.context import ForkServerProcess

from bench.engine import Work
from bench.errors import UserError
from bench.files import refusals_explained
from bench.pool import end_with_parent
from bench.progress import say
from bench.sources import EDITED, digest_of_all
from bench.store import Item, Store

LINE, FAILED, DONE = "line", "failed", "done"


def run(work: Work, store: Store, slots: int) -> None:
    """Compute all of `work` into `store`, at most `slots` items at once, in their order.

    An item that raises ends the run with its own error, as does one whose process is lost (UserError); items that
    finished stay in the store, the others end at once and keep their checkpoints.
    """
    with refusals_explained(store.root):
        store.root.mkdir(parents=True, exist_ok=True)
    # Forking this process could hang: PyTorch may have started its threads here.
    forked = multiprocessing.get_context("forkserver")
    forked.set_forkserver_preload(sorted({name for item, _ in work for name in modules(item)}))
    sources = digest_of_all()
    waiting = deque((f"[{number}/{len(work)}] {item.name}", item, key) for number, (item, key) in enumerate(work, 1))
    running: dict[Connection, tuple[str, float, ForkServerProcess]] = {}
    try:
        while waiting or running:
            while waiting and len(running) < slots:
                place, item, key = waiting.popleft()
                ours, theirs = forked.Pipe(duplex=False)
                item.refuse_changed_inputs(key)
                process = forked.Process(target=_compute, args=(theirs, store, item, key, sources), name=item.name)
                process.start()
                theirs.close()
                say(place)
                running[ours] = place, time.monotonic(), process
            for ready in wait(running.keys()):
                assert isinstance(ready, Connection)
                if _ended(ready, *running[ready]):
                    del running[ready]
    finally:
        for _, _, process in running.values():
            process.kill()
        for connection, (_, _, process) in running.items():
            process.join()
            connection.close()


def modules(item: Item) -> tuple[str, ...]:
    """What is imported to run an item."""
    return item.function.split(":")[0], *item.modules


def _ended(connection: Connection, place: str, start: float, process: ForkServerProcess) -> bool:
    """Take what an item's process has to say; whether that was its last. Raises what the item raised."""
    try:
        kind, content = connection.recv()
    except EOFError:
        process.join()
        raise UserError(
            f"{place}: its process was lost ({_how(process.exitcode)}), perhaps for want of memory - run again to go on"
            " from its last checkpoint, with fewer items at once (engine.kind: inline)"
        ) from None
    if kind == LINE:
        say(f"{place}: {content}")
        return False
    process.join()
    connection.close()
    if kind == FAILED:
        say(f"{place}: failed")
        raise content
    say(f"{place}: done in {time.monotonic() - start:.0f} s")
    return True


def _how(code: int | None) -> str:
    if code is not None and code < 0:
        return f"{signal.strsignal(-code)}"
    return f"exit code {code}"


def _compute(connection: Connection, store: Store, item: Item, key: str, sources: str) -> None:
    """Compute one item in this process and send what it prints, line by line, and how it ended."""
    # Ctrl-C reaches every process of the command; the one that was given it ends the others.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    end_with_parent()
    sys.stdout = _Lines(connection)
    try:
        if digest_of_all() != sources:
            raise UserError(f"the code {EDITED}")
        store.compute(item, key)
    except BaseException as error:
        _send_error(connection, item, error)
    else:
        connection.send((DONE, None))


def _send_error(connection: Connection, item: Item, error: BaseException) -> None:
    """Send an error with its traceback as a note; its text where it cannot be sent itself."""
    text = f"{item.name}, in a process of its own:\n{''.join(traceback.format_exception(error))}"
    error.add_note(text)
    try:
        pickle.loads(pickle.dumps(error))  # noqa: S301
    except Exception:  # both run the error's own code
        error = RuntimeError(text)
    connection.send((FAILED, error))


class _Lines(io.TextIOBase):
    """Standard output of an item's process: whole lines go to the process that started it."""

    def __init__(self, connection: Connection) -> None:
        self._connection, self._begun = connection, ""

    def writable(self) -> bool:
        return True

    def write(self, text: str) -> int:
        *lines, self._begun = (self._begun + text).split("\n")
        for line in lines:
            self._connection.send((LINE, line))
        return len(text)
