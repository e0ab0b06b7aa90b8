"""Items on Ray give what they give inline, wherever they run and whatever is lost on the way."""

import contextlib
import importlib.util
import io
import json
import os
import re
import shutil
import signal
import tempfile
import threading
import time
from pathlib import Path

import numpy as np
import pytest

from bench import sources
from bench.cli import STAGES, main
from bench.engine import run_items
from bench.errors import UserError
from bench.schema import Engine
from bench.store import CHECKPOINTS, RECORD, Item, Store
from bench.store_commands import collect
from tests.tiny import DATA, PROFILE, REPORTS, params, write_params

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(importlib.util.find_spec("ray") is None, reason="Ray is not installed ('.[cluster]')"),
]
# Long enough to be met in the middle, also on a fast machine.
EPOCHS = 120


def engine(kind="ray", threads=1, checkpoint_seconds=0.0) -> Engine:
    return Engine(kind=kind, device="cpu", threads=threads, gpus_per_item=1.0, checkpoint_seconds=checkpoint_seconds)


def profile(kind: str, threads: int = 1) -> dict:
    """One method and a gt_whole that takes a while."""
    content = params()
    settings = content[PROFILE]
    settings["cams"] = {"amr": settings["cams"]["amr"]}
    settings["oracle"] = []
    settings["controls"]["rows"] = []
    settings["train"]["rows"] = {
        "gt_whole": {"optimisation": {"epochs": EPOCHS}},
        "gt_mean_teacher": {},
        "pseudo_mean_teacher": {},
    }
    settings["engine"] = engine(kind, threads, checkpoint_seconds=1.0).model_dump()
    return content


def run(folder: Path, *stages: str) -> None:
    with contextlib.chdir(folder):
        for stage in stages:
            errors = io.StringIO()
            with contextlib.redirect_stderr(errors):
                code = main([stage, "--profile", PROFILE])
            assert code == 0, f"{stage}: {errors.getvalue()}"


@pytest.fixture(scope="module")
def inline(tmp_path_factory) -> Path:
    """A folder in which all stages ran inline; tests must leave it as it is."""
    folder = tmp_path_factory.mktemp("inline")
    write_params(folder, profile("inline"))
    run(folder, *(stage for stage in STAGES if stage != "report"))
    return folder


@pytest.fixture
def copied(inline, tmp_path) -> Path:
    """The same folder without what was trained and what came of it."""
    folder = shutil.copytree(inline, tmp_path / "copied")
    for name in ("cams", "predictions/gt", "predictions/weak", "evaluation"):
        shutil.rmtree(folder / DATA / name)
    shutil.rmtree(folder / REPORTS)
    shutil.rmtree(folder / ".bench")
    return folder


def content(folder: Path) -> dict[str, bytes]:
    """Every file but the records, which hold times."""
    files = [file for file in folder.rglob("*") if file.is_file() and file.name != RECORD]
    return {file.relative_to(folder).as_posix(): file.read_bytes() for file in files}


@pytest.fixture(autouse=True)
def nothing_is_left(monkeypatch, tmp_path):
    """No process, no temporary folder, nothing in the home folder; this machine has two cores.

    A node of the cluster, which was there before, keeps idle workers.
    """
    import psutil

    monkeypatch.delenv("RAY_ADDRESS", raising=False)
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setattr(os, "sched_getaffinity", lambda process: {0, 1})
    monkeypatch.setattr(sources, "PACKAGES", (*sources.PACKAGES, "tests"))
    # Not below tmp_path, whose name is too long for Ray's sockets.
    temporary = Path(tempfile.mkdtemp(dir="/tmp"))
    monkeypatch.setattr(tempfile, "tempdir", str(temporary))
    before = psutil.Process().children(recursive=True)
    yield
    of_nodes = [child for process in before if process.is_running() for child in process.children(recursive=True)]
    left = set(psutil.Process().children(recursive=True)) - {*before, *of_nodes}
    _, alive = psutil.wait_procs(left, timeout=30)
    names = sorted(path.name for path in temporary.glob("ray-*"))
    shutil.rmtree(temporary)
    assert alive == []
    assert names == []
    assert not (tmp_path / ".ray").exists()


def test_a_local_instance_gives_the_folders_that_inline_gives(inline, copied, capfd):
    """With as many threads as processes in DenseCRF, and two trainings side by side."""
    shutil.copytree(inline / DATA / "cams", copied / DATA / "cams")
    shutil.rmtree(copied / DATA / "crf")
    write_params(copied, profile("ray", threads=2))
    run(copied, "crf")
    write_params(copied, profile("ray"))
    run(copied, "train_gt")
    for name in ("crf", "predictions/gt"):
        assert content(copied / DATA / name) == content(inline / DATA / name)
    mine, theirs = (content(folder / ".bench/runs") for folder in (copied, inline))
    trained = {name for name in mine if name.endswith("net.safetensors") or name.endswith("probabilities.npy")}
    assert len(trained) >= 2
    assert trained <= set(theirs)
    assert all(mine[name] == theirs[name] for name in trained)
    output = capfd.readouterr().out
    assert "[1/2] gt_mean_teacher, split-0-training-0: done in" in output
    assert "[2/2] gt_whole, split-0-training-0: done in" in output


def test_an_item_runs_in_the_folder_of_the_command(tmp_path, monkeypatch):
    """Where it finds and leaves what it shares with others, image embeddings for one."""
    monkeypatch.chdir(tmp_path)
    (folder,) = run_items([work("look_around", "here", threads=1)], engine(), Store(tmp_path / "runs"))
    assert json.loads((folder / "facts.json").read_text())["folder"] == str(tmp_path)


def work(function: str, name: str, inputs: dict[str, Path] | None = None, **settings) -> Item:
    return Item(name, f"tests.items.ray_work:{function}", {"name": name, **settings}, inputs or {})


@pytest.fixture
def interruptible():
    """A shell starts what runs in its background with interrupts ignored."""
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    yield
    signal.signal(signal.SIGINT, before)


def test_an_interrupt_ends_all_and_keeps_what_is_finished(tmp_path, interruptible):
    """A lost process is no failure: its item is computed again, from its checkpoint."""
    store, began = Store(tmp_path / "runs"), tmp_path / "began"
    lost, endless = work("die", "lost", deaths=1, seconds=0), work("wait", "endless", began=str(began))

    def interrupt() -> None:
        while not (began.exists() and store.find(lost.key())):
            time.sleep(0.05)
        os.kill(os.getpid(), signal.SIGINT)

    threading.Thread(target=interrupt, daemon=True).start()
    with pytest.raises(KeyboardInterrupt):
        run_items([lost, endless], engine(), store)
    folder = store.find(lost.key())
    assert folder
    assert (folder / "lives").read_text() == "x"
    assert store.find(endless.key()) is None


def add_node(cluster):
    """A node with room for one item and, as on a machine of its own, with its own session folder, cache and logs.

    In a session folder that nodes share, a node that unpacks the code first removes what another's workers import from.
    """
    temporary = tempfile.mkdtemp(dir=Path(cluster.head_node.temp_dir).parent)
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("TMPDIR", temporary)
        return cluster.add_node(num_cpus=1, temp_dir=temporary, include_log_monitor=True)


@pytest.fixture(scope="module")
def cluster():
    """The head, which computes nothing and is the home, and a node with room for one item."""
    with pytest.MonkeyPatch.context() as patch, tempfile.TemporaryDirectory(dir="/tmp") as temporary:
        for name, value in (("RAY_AUTH_MODE", "disabled"), ("RAY_USAGE_STATS_ENABLED", "0"), ("TMPDIR", temporary)):
            patch.setenv(name, value)
        from ray.cluster_utils import Cluster

        cluster = Cluster(initialize_head=True, head_node_args={"num_cpus": 0})
        add_node(cluster)
        yield cluster
        cluster.shutdown()


@pytest.fixture
def on_cluster(cluster, nothing_is_left, monkeypatch):
    """The cluster; nodes that a test adds go with it."""
    monkeypatch.setenv("RAY_ADDRESS", cluster.address)
    before = set(cluster.worker_nodes)
    yield cluster
    for node in cluster.worker_nodes - before:
        cluster.remove_node(node)


def test_a_node_without_the_data_is_given_it(on_cluster, tmp_path, capfd):
    """Once for both items, which run one after the other in one process that stays warm."""
    (tmp_path / "images").mkdir()
    (tmp_path / "images" / "a.png").write_bytes(b"pixels")
    (tmp_path / "table.csv").write_text("id\n")
    inputs = {"images": tmp_path / "images", "table": tmp_path / "table.csv"}
    items = [work("look_around", name, inputs, threads=1) for name in ("first", "second")]
    away, here = Store(tmp_path / "away"), Store(tmp_path / "here")
    folders = run_items(items, engine(), away)
    first, second = (json.loads((folder / "facts.json").read_text()) for folder in folders)
    assert first["content"] == second["content"] == {"table": "id\n"}
    assert first["names"]["images"] == ["a.png"]
    assert first["inputs"] == second["inputs"]
    for path in (*first["inputs"].values(), first["code"], first["folder"]):
        assert not Path(path).is_relative_to(tmp_path)
        assert not Path(path).is_relative_to(Path(__file__).parents[1])
    assert first["process"] == second["process"] != os.getpid()
    assert (first["warm"], second["warm"]) == (False, True)
    assert first["threads"] == 1
    output = capfd.readouterr().out
    assert "[1/2] first: done in" in output
    assert any(line.startswith("(first pid=") and line.endswith("a line of first") for line in output.splitlines())

    (inline,) = run_items(items[:1], engine("inline"), here)
    assert np.load(inline / "product.npy").tobytes() == np.load(folders[0] / "product.npy").tobytes()
    assert sorted(path.name for path in away.root.iterdir()) == sorted(item.key() for item in items)


@pytest.mark.parametrize(
    ("error", "kind", "message"),
    [
        ("UserError", UserError, r"^mend this \(on node .+\)$"),
        ("FloatingPointError", FloatingPointError, "^the loss is not finite in epoch 2$"),
        ("PeculiarError", Exception, "this and that"),
    ],
)
def test_an_error_arrives_as_it_was_raised_and_is_not_tried_again(on_cluster, tmp_path, capfd, error, kind, message):
    store = Store(tmp_path / "runs")
    items = [
        work("die", "fine", deaths=0, seconds=0),
        work("fail", "bad", error=error),
        work("wait", "next", began=str(tmp_path / "began")),
    ]
    with pytest.raises(kind) as caught:
        run_items(items, engine(), store)
    assert re.search(message, str(caught.value))
    (note,) = caught.value.__notes__
    assert note.startswith("bad, on a Ray worker:\n")
    assert "ray_work.py" in note
    assert "\x1b" not in note
    assert [store.find(item.key()) is not None for item in items] == [True, False, False]
    assert "[2/3] bad: failed" in capfd.readouterr().out


def test_a_lost_process_loses_no_checkpoint(on_cluster, tmp_path, capfd):
    """Its item is computed again from what came home by then, which is not taken for a leftover meanwhile."""
    store, item = Store(tmp_path / "runs"), work("die", "unlucky", deaths=1, seconds=5)
    checkpoint = store.partial(item.key()) / CHECKPOINTS / "latest"

    def collect_leftovers() -> None:
        while not checkpoint.exists():
            time.sleep(0.05)
        collect(store, unused_days=None, dry_run=False)

    thread = threading.Thread(target=collect_leftovers, daemon=True)
    thread.start()
    (folder,) = run_items([item], engine(), store)
    thread.join(timeout=10)
    assert re.search(r"^0 bytes \(0 bytes\) freed$", capfd.readouterr().out, re.MULTILINE)
    assert (folder / "lives").read_text() == "x"
    assert [path.name for path in store.root.iterdir()] == [item.key()]


@pytest.mark.parametrize(("here", "finishes"), [(False, False), (False, True), (True, False)])
def test_an_item_that_another_process_has_takes_no_room(on_cluster, tmp_path, monkeypatch, capfd, here, finishes):
    """Of two items another process has the first until the second is finished, and there is room for one."""
    if here:
        monkeypatch.delenv("RAY_ADDRESS")
    store, locked = Store(tmp_path / "runs"), threading.Event()
    held, other = (work("die", name, deaths=0, seconds=0) for name in ("held", "other"))

    def hold() -> None:
        with store.lock(held.key()):
            locked.set()
            deadline = time.monotonic() + 60
            while not store.find(other.key()) and time.monotonic() < deadline:
                time.sleep(0.05)
            if finishes:
                (store.root / held.key()).mkdir()

    thread = threading.Thread(target=hold, daemon=True)
    thread.start()
    assert locked.wait(10)
    folders = run_items([held, other], engine(threads=2 if here else 1), store)
    thread.join(timeout=10)
    assert [bool(list(folder.iterdir())) for folder in folders] == [not finishes, True]
    assert sorted(store.root.iterdir()) == sorted(folders)
    said = capfd.readouterr().out
    assert said.count("[1/2] held: another process computes this item; waiting for it") == 1
    assert said.index("[2/2] other: done in") < said.index("[1/2] held: done in")


def test_a_failure_ends_the_wait_for_what_another_process_has(on_cluster, tmp_path):
    store = Store(tmp_path / "runs")
    held, bad = work("die", "held", deaths=0, seconds=0), work("fail", "bad", error="UserError")
    with store.lock(held.key()), pytest.raises(UserError, match="mend this"):
        run_items([held, bad], engine(), store)
    assert list(store.root.iterdir()) == []


def test_an_item_that_loses_every_process_is_a_user_error(cluster):
    from ray.exceptions import NodeDiedError, WorkerCrashedError

    from bench.ray_engine import RETRIES, _explained

    for error in (WorkerCrashedError(), NodeDiedError("gone\nfor ever")):
        explained = _explained(error, work("die", "doomed"))
        assert isinstance(explained, UserError)
        assert str(explained).startswith(f"doomed: its process was lost {RETRIES + 1} times")
        assert "\n" not in str(explained)


def processes(node) -> list[str]:
    """What a node's workers are called: "ray::" and the name of the item that they compute."""
    import psutil

    (raylet,) = node.all_processes["raylet"]
    titles = []
    for process in psutil.Process(raylet.process.pid).children():
        with contextlib.suppress(psutil.NoSuchProcess):
            titles += process.cmdline()[:1]
    return titles


def progress_at_home(store: Path, name: str) -> dict | None:
    """How far an unfinished item's checkpoint in the store is."""
    with contextlib.suppress(FileNotFoundError):  # replaced or finished between looking and reading
        for record in store.glob(f".*.partial/{RECORD}"):
            for progress in (record.parent / "checkpoints").glob("*.json"):
                if json.loads(record.read_text())["name"] == name:
                    return json.loads(progress.read_text())
    return None


def test_a_node_that_is_lost_in_the_middle_of_an_item_changes_no_bit(on_cluster, inline, copied, capfd):
    """All is trained on the cluster; of its three nodes that which trains gt_whole goes in the middle of it."""
    add_node(on_cluster)
    write_params(copied, profile("ray"))
    item, met = "gt_whole, split-0-training-0", {}

    def remove() -> None:
        nodes, progress = [], None
        while not (nodes and progress):
            time.sleep(0.05)
            progress = progress_at_home(copied / ".bench/runs", item)
            nodes = [node for node in on_cluster.worker_nodes if f"ray::{item}" in processes(node)]
        met.update(progress)
        on_cluster.remove_node(nodes[0], allow_graceful=False)

    thread = threading.Thread(target=remove, daemon=True)
    thread.start()
    run(copied, "cams", "train_gt", "train_weak", "evaluate", "tables")
    thread.join(timeout=10)
    assert 1 <= met["epoch"] < EPOCHS
    goes_on = re.findall(
        r"^\(gt_whole, split-0-training-0 pid=.*going on after epoch (\d+)$", capfd.readouterr().out, re.MULTILINE
    )
    assert [met["epoch"] <= int(epoch) < EPOCHS for epoch in goes_on] == [True]
    assert (copied / REPORTS / "metrics.json").read_bytes() == (inline / REPORTS / "metrics.json").read_bytes()
    assert content(copied / DATA) == content(inline / DATA)


@pytest.mark.parametrize("address", ["ray://127.0.0.1:10001", "127.0.0.1:9", "[::1]:9", "somewhere"])
def test_an_address_without_a_cluster_is_a_user_error(tmp_path, monkeypatch, address):
    monkeypatch.setenv("RAY_ADDRESS", address)
    with pytest.raises(UserError, match=re.escape(address)) as caught:
        run_items([work("die", "any", deaths=0)], engine("auto"), Store(tmp_path / "runs"))
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("alive", "share", "said"),
    [
        (True, 0.5, ""),
        (False, 0.5, "no node has the 8 cores that an item takes (engine.threads), the largest has 4"),
        (True, 2.0, "no node has the 2 GPUs that an item takes (engine.gpus_per_item), the largest has 1"),
    ],
)
def test_an_item_that_fits_no_node_is_named(alive, share, said):
    from bench.ray_engine import too_large

    nodes = [
        {"Alive": True, "Resources": {"CPU": 4.0, "GPU": 1.0}},
        {"Alive": True, "Resources": {}},
        {"Alive": alive, "Resources": {"CPU": 8.0}},
    ]
    engine = Engine(kind="ray", device="auto", threads=8, gpus_per_item=share, checkpoint_seconds=0.0)
    work = [(Item(name, "m:f", {"device": device}, {}), name) for name, device in (("gpu", "cuda"), ("crf", "cpu"))]
    assert too_large(work, engine, nodes) == said
    assert too_large(work[1:], engine, nodes[2:]) == ("" if alive else said.replace("has 4", "has 0"))


def test_a_gpu_that_this_machine_lacks_is_not_waited_for(tmp_path, monkeypatch):
    monkeypatch.setattr("bench.ray_engine.too_large", lambda *_: "no node has the 2 GPUs")
    with pytest.raises(UserError, match="no node has the 2 GPUs, and this machine gets no other"):
        run_items([work("die", "any", deaths=0)], engine("ray"), Store(tmp_path / "runs"))
