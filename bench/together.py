"""The stages of a profile side by side, each as soon as those before it have ended.

DVC runs one stage at a time, so a GPU waits while DenseCRF and GrabCut are at work on the processor.
"""

import argparse
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Collection, Mapping, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, ThreadPoolExecutor, wait
from functools import partial
from typing import Any

from bench.errors import UserError
from bench.pipeline import PIPELINE, outputs, overlap, places, read_stages
from bench.progress import say
from bench.settings import load

_printing = threading.Lock()


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the profile and the stages."""
    parser.add_argument("--profile", required=True, help="a profile of params.yaml")
    parser.add_argument("stages", nargs="*", metavar="stage", help="only these; what they need is there already")


def run(options: argparse.Namespace) -> None:
    """Run the stages as `python -m bench <stage>` does. Raises UserError naming an unknown stage or one that failed."""
    load(options.profile)
    pipeline = read_stages(PIPELINE)
    if pipeline is None:
        raise UserError(f"there is no {PIPELINE} - give the command in the project's folder")
    if unknown := [name for name in options.stages if name not in pipeline]:
        raise UserError(f"no such stage: {', '.join(unknown)} - the stages are {', '.join(pipeline)}")
    chosen = options.stages or list(pipeline)
    run_stages(before(pipeline, chosen), partial(_stage, options.profile))


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


def run_stages(needs: Mapping[str, Collection[str]], stage: Callable[[str], int]) -> None:
    """stage(name) -> exit code of every name, once those that it needs have ended with 0, in threads.

    After a failure nothing more is begun, and what runs goes on to its end. Raises UserError naming what failed.
    """
    waiting, done, failed = dict(needs), set[str](), list[str]()
    running: dict[Future[int], str] = {}
    with ThreadPoolExecutor(max(len(needs), 1)) as threads:
        while running or (waiting and not failed):
            if not failed:
                ready = [name for name, needed in waiting.items() if done.issuperset(needed)]
                for name in ready:
                    del waiting[name]
                    running[threads.submit(stage, name)] = name
            if not running:
                raise ValueError(f"stages that wait for each other: {', '.join(waiting)}")
            for ended in wait(running, return_when=FIRST_COMPLETED).done:
                name = running.pop(ended)
                if code := ended.result():
                    failed.append(f"{name} ended with {code}")
                else:
                    done.add(name)
    if failed:
        raise UserError(f"stage {', '.join(failed)} - its lines above say why; what is finished is kept")


def _stage(profile: str, name: str) -> int:
    """Run a stage as a process of its own; each line that it prints is printed with its name."""
    start = time.monotonic()
    command: Sequence[str] = (sys.executable, "-m", "bench", name, "--profile", profile)
    with subprocess.Popen(
        command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, encoding="utf-8", errors="replace"
    ) as process:
        assert process.stdout is not None
        for line in process.stdout:
            _print(name, line.rstrip())
    _print(name, f"ended with {process.returncode} after {time.monotonic() - start:.0f} s")
    return process.returncode


def _print(name: str, line: str) -> None:
    with _printing:
        say(f"{name}: {line}")
