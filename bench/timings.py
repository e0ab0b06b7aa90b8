"""How long each stage took and how much memory it needed, kept beside the run store: a diary, never a result."""

import resource
import time
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path

import pandas as pd

DIARY = Path(".bench/timings.csv")
COLUMNS = ("profile", "stage", "ended", "seconds", "peak_mib")


@contextmanager
def recorded(profile: str, stage: str, diary: Path = DIARY) -> Iterator[None]:
    """Add a line to `diary` when the block ends without an error: seconds, and the process's peak memory in MiB.

    The peak is the larger of the process's own and that of its largest child.
    """
    start = time.monotonic()
    yield
    seconds = time.monotonic() - start
    # Linux counts in KiB.
    peak = max(resource.getrusage(who).ru_maxrss for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN)) / 1024
    line = pd.DataFrame([(profile, stage, f"{datetime.now(UTC):%Y-%m-%dT%H:%M:%SZ}", round(seconds, 1), round(peak))])
    diary.parent.mkdir(parents=True, exist_ok=True)
    line.to_csv(diary, mode="a", index=False, header=False)


def latest(profile: str, diary: Path = DIARY) -> pd.DataFrame:
    """Each stage's latest line, in the order in which they ended (columns stage, ended, seconds, peak_mib)."""
    if not diary.is_file():
        return pd.DataFrame(columns=list(COLUMNS[1:]))
    lines = pd.read_csv(diary, names=list(COLUMNS))
    return lines[lines["profile"] == profile].drop(columns="profile").drop_duplicates("stage", keep="last")
