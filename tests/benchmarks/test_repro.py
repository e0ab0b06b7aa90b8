"""`dvc repro` is timed where it has nothing to do, and runs nothing for it."""

import subprocess
import sys
from pathlib import Path

import pytest

from bench.benchmarks import repro

PIPELINE = """
stages:
  report:
    foreach: [phantom]
    do:
      cmd: echo ran >> runs && cp data report
      deps: [data]
      outs: [report]
"""


@pytest.fixture(autouse=True)
def pipeline(tmp_path, monkeypatch):
    """A repository of one stage that has run, in the current folder."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("DVC_NO_ANALYTICS", "1")
    monkeypatch.setenv("DVC_SITE_CACHE_DIR", str(tmp_path / "site-cache"))
    Path("data").write_text("1")
    Path("dvc.yaml").write_text(PIPELINE)
    for command in (("init", "--no-scm"), ("repro",)):
        subprocess.run([sys.executable, "-m", "dvc", *command], check=True, capture_output=True)


def test_it_is_timed_where_it_has_nothing_to_do():
    assert repro.nothing_to_do("phantom") > 0


def test_it_runs_nothing_where_something_changed():
    Path("data").write_text("2")
    assert repro.nothing_to_do("phantom") is None
    assert Path("runs").read_text() == "ran\n"


def test_without_a_pipeline_there_is_nothing_to_time():
    Path("dvc.yaml").unlink()
    assert repro.nothing_to_do("phantom") is None
