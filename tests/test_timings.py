"""The diary of stages: one line a stage that ended, the latest one counts."""

import os
import resource
import signal
import subprocess
import sys
import time
from types import SimpleNamespace

import pytest

from bench import timings
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


@pytest.mark.parametrize("torn", ["a,spl", "a,", "a,split,2026-11-27T23:57:01Z,0."])
def test_a_line_that_was_cut_short_spoils_no_other(tmp_path, torn):
    diary = tmp_path / "timings.csv"
    for stage in ("cams", "crf", "split"):
        with recorded("a", stage, diary):
            pass
        if stage == "cams":
            with diary.open("a") as stream:
                stream.write(torn)
    assert list(latest("a", diary)["stage"]) == ["cams", "split"]
    diary.write_text("")
    assert latest("a", diary).empty


def test_a_diary_that_cannot_be_written_fails_no_stage(tmp_path):
    (tmp_path / "file").touch()
    with recorded("a", "split", tmp_path / "file" / "timings.csv"):
        pass


@pytest.fixture
def two_processes():
    """The number of a process that holds 100 MiB, and whose child holds as much."""
    code = "import subprocess, sys, time; held = b'x' * (100 << 20)\n"
    child = f"{code}print(flush=True); time.sleep(60)"
    parent = f"{code}subprocess.run([sys.executable, '-c', {child!r}])"
    started = subprocess.Popen([sys.executable, "-c", parent], stdout=subprocess.PIPE, start_new_session=True)
    assert started.stdout
    started.stdout.readline()
    yield started.pid
    os.killpg(started.pid, signal.SIGKILL)
    started.communicate()


def test_the_peak_is_that_of_a_process_and_all_that_it_started(two_processes, tmp_path, monkeypatch):
    monkeypatch.setattr(timings, "os", SimpleNamespace(getpid=lambda: two_processes))
    monkeypatch.setattr(resource, "getrusage", lambda _: SimpleNamespace(ru_maxrss=0))
    with recorded("a", "cams", tmp_path / "timings.csv"):
        time.sleep(2 * LOOK_SECONDS)
    (peak,) = latest("a", tmp_path / "timings.csv")["peak_mib"]
    assert 200 < peak < 300


def test_a_process_that_is_gone_has_no_memory():
    gone = subprocess.Popen([sys.executable, "-c", ""])
    gone.wait()
    assert memory(gone.pid) == 0


def test_a_stage_that_failed_leaves_no_line(tmp_path):
    with pytest.raises(ValueError, match="no"), recorded("a", "split", tmp_path / "timings.csv"):
        raise ValueError("no")
    assert not len(latest("a", tmp_path / "timings.csv"))
