"""How long each stage took and how much memory it needed, kept beside the run store: a diary, never a result."""

import os
import resource
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from datetime import UTC, datetime
from pathlib import Path

import pandas as pd

DIARY = Path(".bench/timings.csv")
COLUMNS = ("profile", "stage", "ended", "seconds", "peak_mib")
LOOK_SECONDS = 1.0
PROC = Path("/proc")


@contextmanager
def recorded(profile: str, stage: str, diary: Path = DIARY) -> Iterator[None]:
    """Add a line to `diary`, if it can be written, when the block ends without an error: seconds, and peak MiB.

    The peak is of the process with all that it started, looked at every second (memory that they share counts once), or
    of any one of them, whichever is larger. What runs on the cluster that RAY_ADDRESS names is not in it.
    """
    start, end = time.monotonic(), threading.Event()
    looked: list[int] = []
    watch = threading.Thread(target=_look, args=(looked, end), daemon=True)
    watch.start()
    try:
        yield
    finally:
        end.set()
        watch.join()
    seconds = time.monotonic() - start
    # Linux counts in KiB.
    single = max(resource.getrusage(who).ru_maxrss for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN))
    peak = max([single, *looked]) / 1024
    line = pd.DataFrame([(profile, stage, f"{datetime.now(UTC):%Y-%m-%dT%H:%M:%SZ}", round(seconds, 1), round(peak))])
    # What the stage has made is there: no reason to call it failed.
    with suppress(OSError):
        diary.parent.mkdir(parents=True, exist_ok=True)
        line.to_csv(diary, mode="a", index=False, header=False)


def _look(looked: list[int], end: threading.Event) -> None:
    while not end.wait(LOOK_SECONDS):
        looked.append(memory(os.getpid()))


def memory(process: int) -> int:
    """KiB of a process and all its descendants, what several share counted once; 0 where the system does not say."""
    total = 0
    with suppress(OSError):  # it ended meanwhile, or belongs to another user
        lines = (PROC / str(process) / "smaps_rollup").read_text(encoding="utf-8").splitlines()
        total += sum(int(line.split()[1]) for line in lines if line.startswith("Pss:"))
    with suppress(OSError):
        for thread in (PROC / str(process) / "task").iterdir():
            with suppress(OSError):
                children = (thread / "children").read_text(encoding="utf-8").split()
                total += sum(memory(int(child)) for child in children)
    return total


def latest(profile: str, diary: Path = DIARY) -> pd.DataFrame:
    """Each stage's latest line, in the order in which they ended (columns stage, ended, seconds, peak_mib).

    A line that a full disk cut short counts for nothing, nor does the one that was joined to it.
    """
    if not (diary.is_file() and diary.stat().st_size):
        return pd.DataFrame(columns=list(COLUMNS[1:]))
    lines = pd.read_csv(diary, names=list(COLUMNS), index_col=False, on_bad_lines="skip").dropna()
    return lines[lines["profile"] == profile].drop(columns="profile").drop_duplicates("stage", keep="last")
