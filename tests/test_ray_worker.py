"""The parts of a Ray worker that need no Ray running: files on their way, versions, checkpoints sent home."""

import importlib
import importlib.util
import os
import threading
import time

import numpy as np
import pytest

from bench.errors import UserError
from bench.files import digest
from bench.store import PACKAGES, HeldError, Item

pytestmark = pytest.mark.skipif(importlib.util.find_spec("ray") is None, reason="Ray is not installed ('.[cluster]')")


@pytest.fixture(scope="module")
def worker():
    return importlib.import_module("bench.ray_worker")


def fill(folder):
    (folder / "deep" / "empty folder").mkdir(parents=True)
    (folder / "image.png").write_bytes(bytes(range(256)))
    (folder / "deep" / "empty").touch()
    return folder


def names(folder):
    return sorted(file.relative_to(folder).as_posix() for file in folder.rglob("*"))


def test_a_folder_arrives_as_it_was(worker, tmp_path):
    source = fill(tmp_path / "source")
    worker.unpack(worker.pack(source), tmp_path / "target")
    assert names(tmp_path / "target") == names(source) == ["deep", "deep/empty", "deep/empty folder", "image.png"]
    assert digest(tmp_path / "target") == digest(source)


@pytest.mark.parametrize("content", [b"content", b""])
def test_a_file_arrives_as_it_was(worker, tmp_path, content):
    (tmp_path / "source").write_bytes(content)
    worker.unpack(worker.pack(tmp_path / "source"), tmp_path / "target")
    assert (tmp_path / "target").read_bytes() == content


def test_files_arrive_whose_folders_were_not_sent(worker, tmp_path):
    worker.unpack({"a/b/file": np.frombuffer(b"1", np.uint8)}, tmp_path / "target")
    assert (tmp_path / "target/a/b/file").read_bytes() == b"1"


def test_files_are_mapped_and_outlive_their_folder(worker, tmp_path):
    source = fill(tmp_path / "source")
    packed = worker.pack(source)
    (source / "image.png").unlink()
    assert type(packed["image.png"]) is np.ndarray  # a subclass would be pickled, through memory
    assert packed["image.png"].tobytes() == bytes(range(256))


def test_other_libraries_on_a_node_are_named_in_one_line(worker):
    versions = worker.package_versions()
    assert set(versions) == set(PACKAGES)
    worker.check_versions(versions)
    with pytest.raises(UserError) as caught:
        worker.check_versions({**versions, "torch": "1.0", "numpy": "2.0"})
    text = str(caught.value)
    assert f"torch {versions['torch']} (1.0 needed)" in text
    assert f"numpy {versions['numpy']} (2.0 needed)" in text
    assert "timm" not in text
    assert "\n" not in text


def test_a_library_that_a_node_lacks_is_named(worker, monkeypatch):
    versions = worker.package_versions()
    monkeypatch.setattr(worker, "PACKAGES", (*PACKAGES, "no-such-library"))
    with pytest.raises(UserError, match=r"no-such-library missing \(1\.0 needed\)"):
        worker.check_versions({**versions, "no-such-library": "1.0"})


def array(text):
    return np.frombuffer(text, np.uint8)


def test_the_home_keeps_what_it_is_sent_and_gives_it_back(worker, store):
    home = worker.Home(store)
    assert home.take("k")
    assert home.unfinished("k") == {}
    home.keep("k", {"item.json": array(b"{}"), "checkpoints/a.pt": array(b"1"), "checkpoints/b.pt": array(b"1")})
    home.keep("k", {"item.json": array(b"{}"), "checkpoints/a.pt": array(b"2")})
    (store.partial("k") / "out").mkdir()
    (store.partial("k") / "out" / "half").touch()
    assert {name: content.tobytes() for name, content in home.unfinished("k").items()} == {
        "item.json": b"{}",
        "checkpoints/a.pt": b"2",
    }


@pytest.mark.parametrize(("taken", "finished"), [(True, True), (False, False)])
def test_what_comes_after_the_item_has_ended_is_not_kept(worker, store, taken, finished):
    home = worker.Home(store)
    assert not taken or home.take("k")
    if finished:
        (store.root / "k").mkdir(parents=True)
    home.keep("k", {"checkpoints/a.pt": array(b"1")})
    assert not store.partial("k").exists()


def test_an_input_that_is_missing_at_home_is_a_user_error(worker, store, tmp_path):
    with pytest.raises(UserError, match=r"no such\.npy is missing"):
        worker.Home(store).digest(tmp_path / "no such.npy")


class Remote:
    """A home whose methods are called in this process."""

    def __init__(self, home):
        self.home = home

    def __getattr__(self, name):
        method = getattr(self.home, name)
        return type("Method", (), {"remote": staticmethod(method)})


@pytest.fixture
def without_ray(worker, monkeypatch):
    """Calls of the home give their result at once, and what is put is the reference."""
    monkeypatch.setattr(worker.ray, "get", lambda value: value)
    monkeypatch.setattr(worker.ray, "put", lambda value: value)


def test_new_checkpoints_are_sent_home_while_the_item_computes(worker, store, tmp_path, without_ray, monkeypatch):
    monkeypatch.setattr(worker, "PAUSE_SECONDS", 0.01)
    home, partial, kept = worker.Home(store), tmp_path / ".k.partial", store.partial("k")
    assert home.take("k")
    (partial / "out").mkdir(parents=True)
    (partial / "out" / "half").touch()
    (partial / "item.json").write_text("{}")
    before = threading.active_count()

    def arrived() -> tuple[list[str], str]:
        """What is at home, files that are still being written included, and the checkpoint's content."""
        file = kept / "checkpoints/a.pt"
        return names(kept), file.read_text() if file.is_file() else ""

    with worker._pushed(Remote(home), "k", partial):
        time.sleep(0.1)
        assert not kept.exists()  # nothing is sent before there is a checkpoint
        (partial / "checkpoints").mkdir()
        (partial / "checkpoints" / ".a.pt.tmp").write_text("half")
        for state in ("1", "2"):
            (partial / "checkpoints" / "new").write_text(state)
            (partial / "checkpoints" / "new").rename(partial / "checkpoints" / "a.pt")
            expected = (["checkpoints", "checkpoints/a.pt", "item.json"], state)
            deadline = time.monotonic() + 20
            while arrived() != expected and time.monotonic() < deadline:
                time.sleep(0.01)
            assert arrived() == expected
    assert threading.active_count() == before


def test_a_checkpoint_that_the_home_cannot_take_does_not_end_the_sending(
    worker, store, tmp_path, without_ray, monkeypatch, capsys
):
    monkeypatch.setattr(worker, "PAUSE_SECONDS", 0.01)
    monkeypatch.setattr(worker, "REFUSED_SECONDS", 0.01)
    home, refusals = worker.Home(store), iter([UserError("cannot write: no space")])
    assert home.take("k")
    keep = home.keep

    def refuse_first(key, files):
        if error := next(refusals, None):
            raise worker.RayTaskError("keep", "traceback", error).as_instanceof_cause()
        keep(key, files)

    home.keep = refuse_first
    partial, kept = tmp_path / ".k.partial", store.partial("k") / "checkpoints" / "a.pt"
    with worker._pushed(Remote(home), "k", partial):
        (partial / "checkpoints").mkdir(parents=True)
        (partial / "checkpoints" / "a.pt").write_text("1")
        deadline = time.monotonic() + 20
        while not kept.exists() and time.monotonic() < deadline:
            time.sleep(0.01)
    assert kept.read_text() == "1"
    assert capsys.readouterr().out.startswith("a checkpoint could not be kept: cannot write: no space")


def test_the_home_holds_an_item_that_is_computed_elsewhere(worker, store):
    home, other = worker.Home(store), worker.Home(store)
    assert [home.take("k"), home.take("k")] == [True, True]
    with pytest.raises(HeldError), store.lock("k", wait=False):
        pass
    assert not other.take("k")
    home.free("k")
    home.free("k")
    assert other.take("k")


def test_an_item_that_another_process_has_is_given_back_at_once(worker, store, tmp_path, without_ray, monkeypatch):
    """On the node of the home, which may hold it for a node that was lost."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("BUSBENCH_WEIGHTS", "")
    monkeypatch.setattr(worker.Job, "is_here", lambda job: True)
    home, other = worker.Home(store), worker.Home(store)
    job = worker.Job(Remote(home), tmp_path, "node", store, (0, 0), worker.package_versions(), tmp_path)
    item = Item("one", "tests.items.ray_work:die", {"deaths": 0}, {})
    assert other.take("k")
    assert worker.run_item(job, item, "k") is None
    other.free("k")
    assert home.take("k")
    _, result = worker.run_item(job, item, "k")
    assert result is None
    assert store.find("k")


def test_an_input_is_brought_once(worker, store, tmp_path, without_ray):
    source, cache = fill(tmp_path / "source"), tmp_path / "cache"
    cache.mkdir()
    home = Remote(worker.Home(store))
    place = worker._brought(home, source, cache)
    assert place.parent == cache
    assert digest(place) == digest(source)
    (source / "image.png").unlink()
    assert worker._brought(home, source, cache) == place
    assert digest(place) != digest(source)


def test_an_input_that_changes_while_it_is_in_use_is_a_user_error(worker, store, tmp_path, without_ray):
    source, cache = fill(tmp_path / "source"), tmp_path / "cache"
    cache.mkdir()
    home = Remote(worker.Home(store))
    home.digest.remote(source)
    (source / "image.png").write_bytes(b"other")
    with pytest.raises(UserError, match=r"source changed while it was in use - run again"):
        worker._brought(home, source, cache)
    assert names(cache) == []


def test_what_lay_unused_in_the_cache_for_a_week_goes(worker, tmp_path, monkeypatch):
    monkeypatch.setattr(worker.tempfile, "tempdir", str(tmp_path))
    cache = worker._cache()
    assert cache.parent == tmp_path
    assert cache.stat().st_mode & 0o777 == 0o700
    for name, days in (("old file", 8), ("old", 8), ("new", 6)):
        fill(cache / name) if name != "old file" else (cache / name).touch()
        os.utime(cache / name, (0, time.time() - days * 24 * 3600))
    assert sorted(place.name for place in worker._cache().iterdir()) == ["new"]
