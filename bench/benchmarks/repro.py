"""How long `dvc repro` takes where it has nothing to do."""

import subprocess
import sys

from bench.benchmarks.timing import seconds

ROUNDS = 3
UP_TO_DATE = "Data and pipelines are up to date."


def nothing_to_do(profile: str) -> float | None:
    """Seconds of `dvc repro report@<profile>`, the fastest of three; None where it would run a stage or cannot run."""
    if UP_TO_DATE not in _repro(profile, "--dry"):
        return None
    return min(seconds(lambda: _repro(profile)) for _ in range(ROUNDS))


def _repro(profile: str, *options: str) -> str:
    command = [sys.executable, "-m", "dvc", "repro", *options, f"report@{profile}"]
    return subprocess.run(command, capture_output=True, encoding="utf-8", check=False).stdout
