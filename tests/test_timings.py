"""The diary of stages: one line a stage that ended, the latest one counts."""

import os
import resource
import signal
import subprocess
import sys
import time
from types import SimpleNamespace

import pytest

from bench.timings import LOOK_SECONDS, latest, memory, recorded


def test_the_latest_line_of_each_stage_counts(tmp_path):
    diary = tmp_path / "deep" / "timings.csv"
    for profile, stage in [("a", "split"), ("b", "split"), ("a", "cams"), ("a", "split")]:
        with recorded(profile, stage, diary):
            pass
    found = latest("a", diary)
    assert list(found["stage"]) == ["cams", "split"]
    assert (found["seconds"] < 1).all()
    assert (found["peak_mib"] > 1).all()


def test_the_peak_is_that_of_all_processes_together(tmp_path, monkeypatch):
    """Two of 100 MiB each, of which the one is the other's child."""
    # This process's own peak may be of any test before this one.
    monkeypatch.setattr(resource, "getrusage", lambda who: SimpleNamespace(ru_maxrss=0))
    code = "import subprocess, sys, time; held = b'x' * (100 << 20)\n"
    child = f"{code}print(flush=True); time.sleep(60)"
    parent = f"{code}subprocess.run([sys.executable, '-c', {child!r}])"
    diary = tmp_path / "timings.csv"
    alone = memory(os.getpid()) / 1024
    with recorded("a", "cams", diary):
        started = subprocess.Popen([sys.executable, "-c", parent], stdout=subprocess.PIPE, start_new_session=True)
        assert started.stdout
        started.stdout.readline()
        time.sleep(2 * LOOK_SECONDS)
        os.killpg(started.pid, signal.SIGKILL)
        started.communicate()
    (peak,) = latest("a", diary)["peak_mib"]
    assert alone + 190 < peak < alone + 400


def test_a_stage_that_failed_leaves_no_line(tmp_path):
    with pytest.raises(ValueError, match="no"), recorded("a", "split", tmp_path / "timings.csv"):
        raise ValueError("no")
    assert not len(latest("a", tmp_path / "timings.csv"))
