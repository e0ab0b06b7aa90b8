"""Fixtures that several test files share."""

import os
import shutil
import sys
from collections.abc import Iterator
from multiprocessing import forkserver
from pathlib import Path

import pytest

from bench import sources
from bench.cli import STAGES
from bench.data import busi
from bench.sources import imports
from bench.store import Store
from tests.tiny import params, run, write_params
from tests.toy import TREE

# Two processes whose threads wait for each other's cores compute at a tenth of the speed, so each has its own core.
if worker := os.environ.get("PYTEST_XDIST_WORKER"):
    cores = sorted(os.sched_getaffinity(0))
    os.sched_setaffinity(0, {cores[int(worker.removeprefix("gw")) % len(cores)]})


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_auto_num_workers() -> int:
    """Cores that this process may use; pytest-xdist itself counts all that the machine has."""
    return len(os.sched_getaffinity(0))


@pytest.fixture(scope="session")
def busi_raw(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The verified BUSI data set as the download stage leaves it."""
    source = os.environ.get("BUSI_ZIP")
    if not source:
        pytest.skip("BUSI_ZIP does not name the BUSI archive")
    folder = tmp_path_factory.mktemp("busi")
    busi.obtain(folder / "raw", folder / "downloads", source)
    return folder / "raw"


@pytest.fixture(scope="session")
def finished(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder in which all stages ran; tests must leave it as it is."""
    folder = tmp_path_factory.mktemp("finished")
    write_params(folder, params())
    run(folder, *STAGES)
    return folder


@pytest.fixture
def copied(finished: Path, tmp_path: Path) -> Path:
    """The finished folder, to be changed."""
    return shutil.copytree(finished, tmp_path / "copied")


def fork_server_apart() -> Iterator[None]:
    """What is forked inside comes from a process that nothing before prepared, and nothing after uses."""
    forkserver._forkserver._stop()  # type: ignore[attr-defined]
    yield
    forkserver._forkserver._stop()  # type: ignore[attr-defined]


own_fork_server = pytest.fixture(fork_server_apart, scope="module")
new_fork_server = pytest.fixture(fork_server_apart)


@pytest.fixture
def tree(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """A project of its own, the package `toy`, in the place of bench and baselines."""
    root = tmp_path / "project"
    for name, text in TREE.items():
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_text(text)
    monkeypatch.setattr(sources, "ROOT", root)
    monkeypatch.setattr(sources, "PACKAGES", ("toy",))
    monkeypatch.syspath_prepend(root)
    imports.cache_clear()
    yield root
    imports.cache_clear()
    for name in [name for name in sys.modules if name.split(".")[0] == "toy"]:
        del sys.modules[name]


@pytest.fixture
def store(tmp_path: Path) -> Store:
    return Store(tmp_path / "runs")
