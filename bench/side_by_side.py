"""The stages of a profile side by side, each as soon as those before it have ended.

DVC runs one stage at a time, so a GPU waits while DenseCRF and GrabCut are at work on the processor.
"""

import argparse
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, ThreadPoolExecutor, wait
from contextlib import contextmanager
from typing import Any

from bench.errors import UserError
from bench.pipeline import PIPELINE, outputs, overlap, places, read_stages
from bench.progress import say
from bench.settings import Settings, load

# Stages that train networks. They take turns: each counts the whole GPU, or all cores, as its own.
TRAINING = frozenset({"cams", "segmenter", "train_gt", "train_weak", "oracle", "controls"})
TABLES, DIAGNOSTIC = {"train_gt", "train_weak"}, {"oracle", "controls"}


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the profile and the stages."""
    parser.add_argument("--profile", required=True, help="a profile of params.yaml")
    parser.add_argument("stages", nargs="*", metavar="stage", help="only these; what they need is there already")


def run(options: argparse.Namespace) -> None:
    """Run the stages as `python -m bench <stage>` does. Raises UserError naming an unknown stage or one that failed."""
    settings, pipeline = load(options.profile), read_stages(PIPELINE)
    if pipeline is None:
        raise UserError(f"there is no {PIPELINE} - give the command in the project's folder")
    if unknown := [name for name in options.stages if name not in pipeline]:
        raise UserError(f"no such stage: {', '.join(unknown)} - the stages are {', '.join(pipeline)}")
    needs = diagnostics_last(before(pipeline, options.stages or list(pipeline)))
    processes = Processes(options.profile)
    with _interruptible():
        run_stages(needs, taking_turns(settings), processes.run, processes.stop)


def before(pipeline: Mapping[str, Any], chosen: Collection[str]) -> dict[str, set[str]]:
    """For each chosen stage of a dvc.yaml, those of the chosen whose outputs it reads."""
    return {
        name: {
            other
            for other in chosen
            if any(overlap(dep, out) for dep in places(pipeline[name], "deps") for out in outputs(pipeline[other]))
        }
        for name in chosen
    }


def diagnostics_last(needs: Mapping[str, set[str]]) -> dict[str, set[str]]:
    """The same, but what trains the diagnostics' rows waits for what trains those of the tables."""
    return {name: needed | (TABLES & needs.keys() if name in DIAGNOSTIC else set()) for name, needed in needs.items()}


def taking_turns(settings: Settings) -> frozenset[str]:
    """The stages of which one runs at a time; prompting is one of them where Segment Anything does it."""
    return TRAINING | {"pseudo"} if settings.pseudo.segmenter == "sam" else TRAINING


def run_stages(
    needs: Mapping[str, Collection[str]],
    turns: frozenset[str],
    stage: Callable[[str], int],
    stop: Callable[[], None] = lambda: None,
) -> None:
    """stage(name) -> exit code of every name, once those that it needs have ended with 0, in threads.

    Of `turns` only one runs at a time, in the order of `needs`. After a failure nothing more is begun, and what runs
    goes on to its end; an interruption calls `stop` first. Raises UserError naming what failed.
    """
    waiting, done, failed = dict(needs), set[str](), list[str]()
    running: dict[Future[int], str] = {}
    with ThreadPoolExecutor(max(len(needs), 1)) as threads:
        try:
            while running or (waiting and not failed):
                for name in [] if failed else [name for name, needed in waiting.items() if done.issuperset(needed)]:
                    if name not in turns or turns.isdisjoint(running.values()):
                        del waiting[name]
                        running[threads.submit(stage, name)] = name
                if not running:
                    raise ValueError(f"stages that wait for each other: {', '.join(waiting)}")
                for ended in wait(running, return_when=FIRST_COMPLETED).done:
                    name = running.pop(ended)
                    if code := ended.result():
                        failed.append(f"{name} ended {_how(code)}")
                    else:
                        done.add(name)
        except BaseException:
            _stop_all(stop, running)
            raise
    if failed:
        raise UserError(f"stage {', '.join(failed)} - its lines above say why; what is finished is kept")


def _stop_all(stop: Callable[[], None], running: Collection[Future[int]]) -> None:
    """Wait for what runs to stop; a further Ctrl-C asks it again."""
    while True:
        stop()
        try:
            wait(running)
        except KeyboardInterrupt:
            continue
        return


@contextmanager
def _interruptible() -> Iterator[None]:
    """Inside, SIGTERM and SIGHUP interrupt as Ctrl-C does, and Ctrl-C does so even where it was ignored.

    What is ignored here the stages would ignore as well, and a command in a script's background ignores SIGINT.
    """

    def interrupt(number: int, _frame: object) -> None:
        signal.signal(number, signal.SIG_IGN)
        raise KeyboardInterrupt

    previous = {signal.SIGINT: signal.signal(signal.SIGINT, signal.default_int_handler)}
    for number in (signal.SIGTERM, signal.SIGHUP):
        if signal.getsignal(number) != signal.SIG_IGN:
            previous[number] = signal.signal(number, interrupt)
    try:
        yield
    finally:
        for number, handler in previous.items():
            signal.signal(number, handler)


class Processes:
    """Stages of one profile as processes of their own."""

    def __init__(self, profile: str) -> None:
        self.profile = profile
        self.running: set[subprocess.Popen[str]] = set()
        self.stopped = False
        self.starting, self.printing = threading.Lock(), threading.Lock()

    def run(self, name: str) -> int:
        """Run a stage and give its exit code, 130 after `stop`; each line that it prints is printed with its name."""
        start = time.monotonic()
        command: Sequence[str] = (sys.executable, "-m", "bench", name, "--profile", self.profile)
        with self.starting:
            if self.stopped:
                return 130
            # In a group of its own, so that Ctrl-C reaches it once, through `stop`.
            process = subprocess.Popen(
                command,
                stdout=subprocess.PIPE,
                stderr=subprocess.STDOUT,
                encoding="utf-8",
                errors="replace",
                process_group=0,
            )
            self.running.add(process)
        with process:
            assert process.stdout is not None
            for line in process.stdout:
                self._say(name, line.rstrip())
        with self.starting:
            self.running.discard(process)
        self._say(name, f"ended {_how(process.returncode)} after {time.monotonic() - start:.0f} s")
        return process.returncode

    def stop(self) -> None:
        """Interrupt what runs, as Ctrl-C does, and start nothing more; what is finished is kept."""
        with self.starting:
            self.stopped = True
            for process in self.running:
                process.send_signal(signal.SIGINT)

    def _say(self, name: str, line: str) -> None:
        with self.printing:
            say(f"{name}: {line}")


def _how(code: int) -> str:
    return f"by signal {-code} ({signal.strsignal(-code)})" if code < 0 else f"with {code}"
