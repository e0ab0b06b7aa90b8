"""Items in processes of their own give what they give inline, and a lost or interrupted one loses no checkpoint."""

import json
import multiprocessing
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import threading
import time
from multiprocessing.context import ForkServerProcess
from pathlib import Path

import numpy as np
import psutil
import pytest

from bench import process_engine
from bench.engine import run_items
from bench.errors import UserError
from bench.schema import Engine
from bench.store import CHECKPOINTS, RECORD, Item, Store
from tests.tiny import DATA, PROFILE, params, run, write_params

pytestmark = [pytest.mark.slow, pytest.mark.usefixtures("own_fork_server")]


def engine(kind="processes") -> Engine:
    return Engine(kind=kind, device="cpu", threads=1, gpus_per_item=1.0, checkpoint_seconds=0.0)


def work(function: str, name: str, inputs: dict[str, Path] | None = None, **settings) -> Item:
    return Item(name, f"tests.items.ray_work:{function}", {"name": name, **settings}, inputs or {})


@pytest.fixture(autouse=True)
def two_cores(monkeypatch):
    """Room for two items, and no process of an item is left."""
    monkeypatch.delenv("RAY_ADDRESS", raising=False)
    monkeypatch.setattr(os, "sched_getaffinity", lambda process: {0, 1})
    monkeypatch.setattr("bench.sources.PACKAGES", ("bench", "baselines", "tests"))
    yield
    assert items_alive(os.getpid()) == []


def items_alive(parent: int) -> list[psutil.Process]:
    """The processes that the fork server below `parent` has forked."""
    servers = psutil.Process(parent).children()
    return [child for server in servers for child in server.children(recursive=True) if is_alive(child)]


def is_alive(process: psutil.Process) -> bool:
    try:
        return process.status() != psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return False


def nothing_inline(work, store) -> None:
    assert not work


def content(folder: Path) -> dict[str, bytes]:
    """Every file but the records, which hold times."""
    files = [file for file in folder.rglob("*") if file.is_file() and file.name != RECORD]
    return {file.relative_to(folder).as_posix(): file.read_bytes() for file in files}


def test_stages_have_the_bytes_of_inline(copied, monkeypatch, new_fork_server, capfd):
    """Classifiers in bfloat16, the small SAM beside them and the rows of ground truth, in an empty run store."""
    before = {name: content(copied / DATA / name) for name in ("cams", "segmenter", "predictions/gt")}
    for name in (*(DATA / name for name in before), ".bench"):
        shutil.rmtree(copied / name)
    settings = params()
    settings[PROFILE]["engine"]["kind"] = "processes"
    write_params(copied, settings)
    monkeypatch.setattr("bench.engine._inline", nothing_inline)
    run(copied, "cams", "segmenter", "train_gt")
    assert {name: content(copied / DATA / name) for name in before} == before
    output = capfd.readouterr().out
    assert "[ahead] sam_phantom: done in" in output
    assert "1 items, 1 of them already in the store" in output
    assert "[1/3] gt_mean_teacher, split-0-training-0: done in" in output


def test_items_run_side_by_side_in_the_folder_of_the_command(tmp_path, monkeypatch, capfd):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "input").write_text("seen")
    items = [work("look_around", name, {"input": Path("input")}, threads=1) for name in ("one", "two", "three")]
    folders = run_items(items, engine(), Store(Path("runs")))
    facts = [json.loads((folder / "facts.json").read_text()) for folder in folders]
    assert len({fact["process"] for fact in facts} | {os.getpid()}) == 4
    assert [fact["threads"] for fact in facts] == [1, 1, 1]
    assert [fact["folder"] for fact in facts] == [str(tmp_path)] * 3
    assert [fact["content"] for fact in facts] == [{"input": "seen"}] * 3
    products = [np.load(folder / "product.npy") for folder in folders]
    assert all((product == products[0]).all() for product in products)
    began, ended = ([fact[when] for fact in facts] for when in ("began", "ended"))
    assert max(began[:2]) < min(ended[:2]), "one after the other"
    assert began[2] >= min(ended[:2]), "three at once"
    assert "[2/3] two: a line of two\n" in capfd.readouterr().out


def test_what_a_later_stage_needs_is_computed_beside_and_not_alone(tmp_path):
    store = Store(tmp_path / "runs")
    later, now = (work("look_around", name, threads=1) for name in ("later", "now"))
    assert run_items([now], engine("inline"), store, ahead=[later]) == [store.find(now.key())]
    assert run_items([now], engine(), store, ahead=[later]) == [store.find(now.key())]
    assert store.find(later.key()) is None, "nothing of this stage is missing"
    shutil.rmtree(store.root / now.key())
    assert run_items([now], engine(), store, ahead=[later]) == [store.find(now.key())]
    facts = [json.loads((store.root / item.key() / "facts.json").read_text()) for item in (later, now)]
    assert facts[0]["process"] != facts[1]["process"]


def test_a_failure_of_what_a_later_stage_needs_is_that_stage_s(tmp_path, capfd):
    store, item = Store(tmp_path / "runs"), work("look_around", "now", threads=1)
    failing = work("fail", "later", error="UserError")
    assert run_items([item], engine(), store, ahead=[failing]) == [store.find(item.key())]
    assert "[ahead] later: failed, and the stage that needs it tries again: mend this\n" in capfd.readouterr().out


@pytest.mark.parametrize(
    ("error", "kind", "message"),
    [
        ("UserError", UserError, "mend this"),
        ("FloatingPointError", FloatingPointError, "not finite in epoch 2"),
        ("PeculiarError", RuntimeError, "PeculiarError: this and that"),
    ],
)
def test_an_error_arrives_as_it_was_raised_and_ends_the_others(tmp_path, error, kind, message):
    store = Store(tmp_path / "runs")
    endless = work("wait", "endless", began=str(tmp_path / "began"))
    with pytest.raises(kind, match=message) as raised:
        run_items([work("fail", "failing", error=error), endless], engine(), store)
    assert "in fail\n" in "".join([str(raised.value), *getattr(raised.value, "__notes__", [])])
    assert not (list(store.root.iterdir())), "nothing is left of items without checkpoints"


def lives(store: Store, item: Item) -> str:
    file = store.partial(item.key()) / CHECKPOINTS / "latest"
    return file.read_text() if file.exists() else ""


def test_a_lost_process_is_a_user_error_and_loses_no_checkpoint(tmp_path):
    store = Store(tmp_path / "runs")
    items = [work("die", name, deaths=1, seconds=0) for name in ("lost", "lost too")]
    for _ in items:
        with pytest.raises(UserError, match=r"process was lost \(exit code 1\).*run again to go on"):
            run_items(items, engine(), store)
        if all(lives(store, item) == "x" for item in items):
            break
    folders = run_items(items, engine(), store)
    assert [(folder / "lives").read_text()[0] for folder in folders] == ["x", "x"]


def test_a_lost_process_of_what_a_later_stage_needs_leaves_nothing(tmp_path, capfd):
    store, item = Store(tmp_path / "runs"), work("look_around", "now", threads=1)
    assert run_items([item], engine(), store, ahead=[work("leave", "later")]) == [store.find(item.key())]
    assert "tries again: [ahead] later: its process was lost (exit code 9)" in capfd.readouterr().out
    assert list(store.root.iterdir()) == [store.root / item.key()]


@pytest.mark.parametrize(
    ("signalled", "kind", "message"),
    [(0, RuntimeError, "SystemExit: 3"), (signal.SIGTERM, UserError, "leaving: its process was interrupted")],
)
def test_an_item_does_not_end_the_command(tmp_path, signalled, kind, message):
    items = [work("leave", "leaving", signal=int(signalled)), work("wait", "endless", began=str(tmp_path / "began"))]
    with pytest.raises(kind, match=message):
        run_items(items, engine(), Store(tmp_path / "runs"))


def test_an_interrupt_right_after_a_start_and_another_end_all(tmp_path, monkeypatch):
    """Or Python would wait for an item of hours before it ends."""
    began, started = tmp_path / "began", ForkServerProcess.start

    def start(process):
        started(process)
        wait_until(began.exists)
        raise KeyboardInterrupt

    monkeypatch.setattr(ForkServerProcess, "start", start)
    monkeypatch.setattr(ForkServerProcess, "join", interrupted_once(ForkServerProcess.join))
    store = Store(tmp_path / "runs")
    with pytest.raises(KeyboardInterrupt):
        run_items([work("wait", name, began=str(began)) for name in ("one", "two")], engine(), store)
    assert not list(store.root.iterdir())


def interrupted_once(join):
    calls = []

    def instead(process, timeout=None):
        calls.append(process)
        if len(calls) == 1:
            raise KeyboardInterrupt
        join(process, timeout)

    return instead


@pytest.mark.parametrize("seconds", [process_engine.END_SECONDS, 0], ids=["asked to end", "killed"])
def test_an_interrupt_ends_all(tmp_path, monkeypatch, seconds):
    monkeypatch.setattr(process_engine, "END_SECONDS", seconds)
    store, began = Store(tmp_path / "runs"), [tmp_path / "one", tmp_path / "two"]

    def interrupt() -> None:
        while not all(file.exists() for file in began):
            time.sleep(0.05)
        os.kill(os.getpid(), signal.SIGINT)

    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    try:
        threading.Thread(target=interrupt, daemon=True).start()
        with pytest.raises(KeyboardInterrupt):
            run_items([work("wait", file.name, began=str(file)) for file in began], engine(), store)
    finally:
        signal.signal(signal.SIGINT, before)
    assert not list(store.root.iterdir())


def test_items_end_with_a_command_that_is_killed(tmp_path):
    code = f"""
import os, pathlib
os.sched_getaffinity = lambda process: {{0, 1}}
from bench import sources
sources.PACKAGES = ("bench", "baselines", "tests")
from bench.engine import run_items
from bench.store import Store
from tests.test_process_engine import engine, work
if __name__ == "__main__":
    items = [work("wait", name, began=f"{tmp_path}/{{name}}") for name in ("one", "two")]
    run_items(items, engine(), Store(pathlib.Path({str(tmp_path / "runs")!r})))
"""
    command = subprocess.Popen([sys.executable, "-c", code], cwd=Path(__file__).resolve().parents[1])
    wait_until(lambda: (tmp_path / "one").exists() and (tmp_path / "two").exists())
    items = items_alive(command.pid)
    assert len(items) == 2
    command.kill()
    command.wait()
    wait_until(lambda: not any(map(is_alive, items)))


def wait_until(happened, seconds=60):
    end = time.monotonic() + seconds
    while not happened():
        assert time.monotonic() < end
        time.sleep(0.1)


def test_a_module_that_cannot_be_imported_is_a_user_error(tmp_path, new_fork_server):
    """It ends the process that imports what items need."""
    items = [Item(name, "tests.items.broken_work:run", {"name": name}, {}) for name in ("one", "two")]
    with pytest.raises(UserError, match="items are forked was lost - what it printed"):
        run_items(items, engine(), Store(tmp_path / "runs"))


def test_no_room_to_start_a_process_is_a_user_error(tmp_path, monkeypatch, new_fork_server):
    """The socket's path must not be longer than Linux takes."""
    far = tmp_path / ("far" * 30)
    far.mkdir()
    monkeypatch.setattr(tempfile, "tempdir", str(far))
    monkeypatch.setitem(multiprocessing.current_process()._config, "tempdir", None)
    items = [work("look_around", name, threads=1) for name in ("one", "two")]
    with pytest.raises(UserError, match=r"no process can be started for an item \(AF_UNIX path too long\)"):
        run_items(items, engine(), Store(tmp_path / "runs"))


def test_a_reader_that_went_away_ends_the_items_too(tmp_path, monkeypatch):
    """As with `| head`: whoever says so first is the command."""

    def closed(text: str) -> None:
        if text.startswith("["):
            raise BrokenPipeError

    monkeypatch.setattr(process_engine, "say", closed)
    items = [work("wait", name, began=str(tmp_path / name)) for name in ("one", "two")]
    with pytest.raises(BrokenPipeError):
        run_items(items, engine(), Store(tmp_path / "runs"))


def test_processes_of_other_sources_than_the_command_s_are_refused(tmp_path, monkeypatch):
    monkeypatch.setattr(process_engine, "digest_of_all", lambda: "of sources before an edit")
    items = [work("look_around", name, threads=1) for name in ("one", "two")]
    with pytest.raises(UserError, match="the code was edited since this command began"):
        run_items(items, engine(), Store(tmp_path / "runs"))
