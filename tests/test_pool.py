"""Results come in order, tasks are taken as they are needed, errors arrive as they were raised."""

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from bench.errors import UserError
from bench.files import digest
from bench.pool import AHEAD, in_order


def half(number: int) -> int:
    if number % 2:
        raise ValueError(f"{number} is odd")
    return number // 2


def stay(folder: Path) -> None:
    """Leave the process's number in `folder` and go on for longer than any test."""
    (folder / str(os.getpid())).touch()
    time.sleep(600)


def end_at_once(_: int) -> None:
    os._exit(1)


@pytest.mark.parametrize("processes", [1, 2])
def test_results_are_in_the_order_of_the_tasks(processes):
    assert list(in_order(half, ((2 * number,) for number in range(20)), processes)) == list(range(20))


def test_processes_with_other_sources_than_their_parents_are_refused(tmp_path, monkeypatch):
    file = tmp_path / "some"
    file.touch()
    assert list(in_order(digest, [(file,)], 2)) == [digest(file)]
    monkeypatch.setattr("bench.pool.source_digest", lambda _module: "of sources before an edit")
    with pytest.raises(UserError, match=r"bench\.files or what it needs was edited since this command began"):
        list(in_order(digest, [(file,)], 2))


@pytest.mark.parametrize(("processes", "most"), [(1, 1), (2, 2 * AHEAD + 1)])
def test_tasks_are_taken_as_they_are_needed(processes, most):
    taken = []

    def tasks():
        for number in range(0, 100, 2):
            taken.append(number)
            yield (number,)

    results = in_order(half, tasks(), processes)
    next(results)
    assert len(taken) == most
    results.close()


@pytest.mark.parametrize("processes", [1, 2])
def test_an_error_arrives_as_it_was_raised(processes):
    with pytest.raises(ValueError, match="3 is odd"):
        list(in_order(half, [(2,), (3,), (4,)], processes))


def test_a_process_that_dies_is_a_user_error():
    with pytest.raises(UserError, match=r"died.*engine\.threads"):
        list(in_order(end_at_once, [(1,), (2,)], 2))


def test_processes_end_with_a_parent_that_is_killed(tmp_path):
    code = (
        "from pathlib import Path; from bench.pool import in_order; from tests.test_pool import stay\n"
        f"if __name__ == '__main__': list(in_order(stay, [(Path({str(tmp_path)!r}),)] * 2, 2))"
    )
    parent = subprocess.Popen([sys.executable, "-c", code], cwd=Path(__file__).resolve().parents[1])
    wait_until(lambda: len(list(tmp_path.iterdir())) == 2)
    parent.send_signal(signal.SIGKILL)
    parent.wait()
    wait_until(lambda: not any(Path("/proc", file.name).exists() for file in tmp_path.iterdir()))


def wait_until(happened, seconds=60):
    end = time.monotonic() + seconds
    while not happened():
        assert time.monotonic() < end
        time.sleep(0.1)
