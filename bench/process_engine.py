"""Items side by side on this machine, each in a process of its own that ends with it.

The processes are forked from one that has imported what the items need and has computed nothing yet: imports are paid
once, and no state passes from an item to the next. Ray does the same with GPUs, on clusters and after losses; its start
takes longer than a small stage's work.
"""

import io
import multiprocessing
import signal
import sys
import threading
import time
import traceback
from collections import deque
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from multiprocessing import forkserver
from multiprocessing.connection import Connection, wait
from multiprocessing.context import ForkServerProcess
from multiprocessing.reduction import ForkingPickler

from bench.engine import Work
from bench.errors import UserError
from bench.files import refusals_explained
from bench.pool import end_with_parent
from bench.progress import say
from bench.sources import EDITED, digest_of_all
from bench.store import Item, Store

LINE, FAILED, DONE = "line", "failed", "done"
LOST = (
    "perhaps for want of memory - run again to go on from its last checkpoint, with fewer items at once "
    "(engine.kind: inline)"
)
# How long processes that are told to end may take to clear up behind them.
END_SECONDS = 5.0


@dataclass(frozen=True)
class Running:
    """An item's process, what to call the item, its key, when it began, and whether this stage can do without it."""

    process: ForkServerProcess
    place: str
    key: str
    start: float
    ahead: bool


def run(work: Work, store: Store, slots: int, ahead: Work = ()) -> None:
    """Compute all of `work` into `store`, at most `slots` items at once, in their order.

    An item that raises ends the run with its own error, as does one whose process is lost (UserError); items that
    finished stay in the store, the others end and keep their checkpoints. ahead: further items, which begin first
    because they would be long alone; where one fails, that is its own stage's matter.
    """
    with refusals_explained(store.root):
        store.root.mkdir(parents=True, exist_ok=True)
    waiting = deque((f"[ahead] {item.name}", True, item, key) for item, key in ahead)
    waiting.extend(
        (f"[{number}/{len(work)}] {item.name}", False, item, key) for number, (item, key) in enumerate(work, 1)
    )
    # Forking this process could hang: PyTorch may have started its threads here.
    forking = multiprocessing.get_context("forkserver")
    # The sources are read before all else: what is edited after that is not imported.
    modules = sorted({module for item, _ in (*ahead, *work) for module in item.imported})
    forking.set_forkserver_preload(["bench.sources", "bench.process_engine", *modules])
    sources = digest_of_all()
    running: dict[Connection, Running] = {}
    try:
        while waiting or running:
            while waiting and len(running) < slots:
                place, early, item, key = waiting.popleft()
                item.refuse_changed_inputs(key)
                ours, theirs = forking.Pipe(duplex=False)
                process = forking.Process(target=_compute, args=(theirs, store, item, key, sources), name=item.name)
                # Known before it starts: an interruption may come right after.
                running[ours] = Running(process, place, key, time.monotonic(), early)
                with _server_at_work():
                    process.start()
                theirs.close()
                say(place)
            for ready in wait(running.keys()):
                assert isinstance(ready, Connection)
                if _ended(ready, running[ready], store):
                    del running[ready]
    finally:
        _end(running, store)


@contextmanager
def _server_at_work() -> Iterator[None]:
    """Inside, processes can be forked. Raises UserError where that fails, as where what forks them was lost.

    It and all that it forks do not hear Ctrl-C, which reaches every process of a command: the command ends them.
    """
    try:
        before = signal.signal(signal.SIGINT, signal.SIG_IGN)
        try:
            forkserver.ensure_running()
        finally:
            signal.signal(signal.SIGINT, before)
        yield
    except (EOFError, ConnectionError) as error:
        raise UserError(
            "the process from which items are forked was lost - what it printed above says why; else run again, "
            "or with engine.kind: inline"
        ) from error
    except OSError as error:
        raise UserError(
            f"no process can be started for an item ({error}) - mend that (a shorter TMPDIR, memory, open files), or "
            "run with engine.kind: inline"
        ) from error


def _ended(connection: Connection, running: Running, store: Store) -> bool:
    """Take what an item's process has to say; whether that was its last. Raises what the item raised."""
    try:
        kind, content = connection.recv()
    except (EOFError, OSError):
        running.process.join()
        store.clear(running.key)
        how = _how(running.process.exitcode)
        kind, content = FAILED, UserError(f"{running.place}: its process was lost ({how}), {LOST}")
    if kind == LINE:
        say(f"{running.place}: {content}")
        return False
    running.process.join()
    connection.close()
    if kind == DONE:
        say(f"{running.place}: done in {time.monotonic() - running.start:.0f} s")
        return True
    if not running.ahead:
        raise content
    say(f"{running.place}: failed, and the stage that needs it tries again: {content}")
    return True


def _how(code: int | None) -> str:
    if code is not None and code < 0:
        return f"{signal.strsignal(-code)}"
    return f"exit code {code}"


def _end(running: dict[Connection, Running], store: Store) -> None:
    """End what still runs: asked to, killed where that takes too long; either may happen before it could clear up."""
    until = time.monotonic() + END_SECONDS
    started = [one for one in running.values() if one.process.pid is not None]
    try:
        for one in started:
            one.process.terminate()
        for one in started:
            one.process.join(max(until - time.monotonic(), 0))
    finally:
        # Also after another Ctrl-C: Python would wait for what is left, however long that takes.
        for one in started:
            one.process.kill()
        for one in started:
            one.process.join()
            store.clear(one.key)
        for connection in running:
            connection.close()


def _compute(connection: Connection, store: Store, item: Item, key: str, sources: str) -> None:
    """Compute one item in this process and send what it prints, line by line, and how it ended."""
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    end_with_parent()
    sys.stdout = lines = _Lines(connection)
    # Whoever started this process may have ended.
    with suppress(BrokenPipeError):
        try:
            if digest_of_all() != sources:
                raise UserError(f"the code {EDITED}")
            store.compute(item, key)
            lines.end()
        except BaseException as error:
            lines.send(FAILED, _sendable(error, item))
        else:
            lines.send(DONE, None)


def _sendable(error: BaseException, item: Item) -> BaseException:
    """The error with its traceback as a note; only its text where it cannot be sent, or would end the command."""
    if isinstance(error, KeyboardInterrupt):
        return UserError(f"{item.name}: its process was interrupted - run again to go on from its last checkpoint")
    text = f"{item.name}, in a process of its own:\n{''.join(traceback.format_exception(error))}"
    error.add_note(text)
    if not isinstance(error, Exception):
        return RuntimeError(text)
    try:
        ForkingPickler.loads(ForkingPickler.dumps(error))
    except Exception:  # both run the error's own code
        return RuntimeError(text)
    return error


class _Lines(io.TextIOBase):
    """Standard output of an item's process: whole lines go to the process that started it, and how the item ended."""

    def __init__(self, connection: Connection) -> None:
        # Reentrant: an object that prints when it is deleted may be deleted while a message is sent.
        self._connection, self._begun, self._lock = connection, "", threading.RLock()

    def writable(self) -> bool:
        return True

    def write(self, text: str) -> int:
        with self._lock:
            *lines, self._begun = (self._begun + text).split("\n")
            for line in lines:
                self.send(LINE, line)
        return len(text)

    def send(self, kind: str, content: str | BaseException | None) -> None:
        """One message whole, whatever other threads print."""
        with self._lock:
            self._connection.send((kind, content))

    def end(self) -> None:
        """Send a line that has begun."""
        if self._begun:
            self.write("\n")
