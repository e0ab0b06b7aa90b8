"""The run store: what makes a key beside the sources, and that finished work is kept and never repeated."""

import errno
import hashlib
import importlib
import os
import re
import subprocess
import sys
import threading
import time
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from bench.engine import run_items
from bench.errors import UserError
from bench.files import read_json
from bench.store import CHECKPOINTS, HeldError, Item, Store, checkpoints_beside
from tests.toy import INLINE, item, names, rewrite, runs


@pytest.mark.parametrize("changes", [{"seed": 1}, {"seed": 0, "device": "cpu"}, {"seed": "0"}, {"seed": 0.5}])
def test_the_key_changes_with_the_settings(tree, changes):
    assert item(tree, seed=0).key() != item(tree, **changes).key()


def test_the_key_does_not_depend_on_the_order_of_settings(tree):
    assert item(tree, seed=0, device="cpu").key() == item(tree, device="cpu", seed=0).key()


def test_the_key_changes_with_the_function(tree):
    same = item(tree)
    assert same.key() != Item(same.name, "toy.work:other", same.settings, same.inputs).key()


def test_the_key_changes_with_the_content_and_the_role_of_inputs(tree):
    one = item(tree)
    before = one.key()
    assert Item(one.name, one.function, one.settings, {"labels": one.inputs["counter"]}).key() != before
    one.inputs["counter"].write_text("other content")
    assert one.key() != before


def test_the_key_does_not_change_with_name_place_or_time(tree):
    one = item(tree)
    moved = tree / "moved"
    moved.write_text("content")
    os.utime(moved, (0, 0))
    assert Item("another name", one.function, one.settings, {"counter": moved}).key() == one.key()


def test_what_stands_aside_reaches_the_function_and_not_the_key(tree, store):
    one = item(tree)
    failing = replace(one, aside={"error": "ValueError"})
    assert failing.key() == one.key()
    with pytest.raises(ValueError):
        run_items([failing], INLINE, store)


def test_a_missing_input_is_a_user_error(tree):
    one = item(tree)
    one.inputs["counter"].unlink()
    with pytest.raises(UserError, match="is missing"):
        one.key()


def test_results_come_in_the_order_of_the_items(tree, store):
    run_items([item(tree, "b")], INLINE, store)
    folders = run_items([item(tree, name) for name in "abc"], INLINE, store)
    assert [(folder / "result").read_text() for folder in folders] == ["a", "b", "c"]


def test_progress_names_each_item_that_is_computed(tree, store, capsys):
    run_items([item(tree, "b")], INLINE, store)
    capsys.readouterr()
    run_items([item(tree, name) for name in "abc"], INLINE, store)
    assert re.fullmatch(
        r"3 items, 1 of them already in the store\n"
        r"\[1/2\] item a\n\[1/2\] item a: done in \d+ s\n\[2/2\] item c\n\[2/2\] item c: done in \d+ s\n",
        capsys.readouterr().out,
    )


def test_inputs_that_change_before_the_item_begins_are_refused(tree, store):
    items = [item(tree, "a"), item(tree, "b")]
    rewrite(tree, "(inputs['counter']).write_text('other content')")
    with pytest.raises(UserError, match="item b: its inputs changed since this command began"):
        run_items(items, INLINE, store)


def test_a_finished_item_is_not_computed_again(tree, store):
    first = run_items([item(tree, "a"), item(tree, "b")], INLINE, store)
    again = run_items([item(tree, "b"), item(tree, "a")], INLINE, store)
    assert again == first[::-1]
    assert runs(tree) == ["a", "b"]


def test_going_back_to_old_settings_computes_nothing(tree, store):
    for seed in (0, 1, 0):
        run_items([item(tree, "a", seed=seed)], INLINE, store)
    assert runs(tree) == ["a", "a"]


@pytest.mark.parametrize("error", [ValueError, KeyboardInterrupt])
def test_what_finished_before_a_failure_is_kept_and_the_failed_item_is_not(tree, store, error):
    items = [item(tree, "a"), item(tree, "b", error=error.__name__), item(tree, "c")]
    with pytest.raises(error):
        run_items(items, INLINE, store)
    assert names(store.root) == [items[0].key()]
    assert store.find(items[1].key()) is None
    with pytest.raises(error):
        run_items(items, INLINE, store)
    assert runs(tree) == ["a", "b", "b"]


def test_an_item_cannot_change_its_own_settings(tree, store):
    (tree / "toy" / "work.py").write_text("def run(settings, inputs, out):\n    settings.clear()\n    inputs.clear()\n")
    one = item(tree)
    assert run_items([one], INLINE, store) == run_items([one], INLINE, store)
    assert (one.settings, list(one.inputs)) == ({"name": "a"}, ["counter"])


def test_equal_items_of_one_call_are_computed_once(tree, store):
    folders = run_items([item(tree, "a"), item(tree, "a")], INLINE, store)
    assert folders[0] == folders[1]
    assert runs(tree) == ["a"]


def test_a_finished_item_says_what_it_is_and_what_it_holds(tree, store):
    rewrite(tree, "(out / 'deep').mkdir()\n(out / 'deep' / 'file').write_text('x')\n(out / 'empty').touch()")
    one = item(tree, seed=3)
    folder = store.compute(one, "k")
    record = read_json(folder / "item.json")
    assert {name: record[name] for name in ("name", "function", "settings", "resumed")} == {
        "name": "item a",
        "function": "toy.work:run",
        "settings": {"name": "a", "seed": 3},
        "resumed": False,
    }
    assert record["files"] == {
        "deep/file": hashlib.sha256(b"x").hexdigest(),
        "empty": hashlib.sha256(b"").hexdigest(),
    }
    assert 0 <= record["seconds"] < 60
    assert timedelta(0) <= datetime.now(UTC) - datetime.fromisoformat(record["finished"]) < timedelta(minutes=1)
    assert names(store.root) == ["k"]


def test_an_item_of_a_store_made_before_items_had_records_is_served(tree, store):
    one = item(tree)
    (store.root / one.key()).mkdir(parents=True)
    assert run_items([one], INLINE, store) == [store.root / one.key()]
    assert runs(tree) == []


def test_looking_an_item_up_marks_it_as_used(store):
    (store.root / "k").mkdir(parents=True)
    os.utime(store.root / "k", (0, 0))
    assert store.find("k") == store.root / "k"
    assert time.time() - (store.root / "k").stat().st_mtime < 60


RESUMING = """
kept = checkpoints_beside(out) / "latest"
kept.parent.mkdir(exist_ok=True)
seen = kept.read_text() if kept.exists() else ""
kept.write_text(seen + "x")
assert list(out.iterdir()) == []
(out / "result").write_text(seen)
if len(seen) < settings["failures"]:
    raise {"ValueError": ValueError, "KeyboardInterrupt": KeyboardInterrupt}[settings["error"]]
"""


@pytest.mark.parametrize("error", [ValueError, KeyboardInterrupt])
def test_a_failed_item_keeps_its_checkpoints_alone_and_the_next_attempt_goes_on_from_them(tree, store, error):
    rewrite(tree, RESUMING)
    one = item(tree, failures=2, error=error.__name__)
    for attempt in (1, 2):
        with pytest.raises(error):
            store.compute(one, "k")
        assert store.find("k") is None
        assert names(store.root) == [".k.partial"]
        assert names(store.partial("k")) == ["checkpoints", "item.json"]
        assert read_json(store.partial("k") / "item.json")["name"] == "item a"
        assert (store.partial("k") / "checkpoints" / "latest").read_text() == "x" * attempt
    folder = store.compute(one, "k")
    assert (folder / "result").read_text() == "xx"
    assert read_json(folder / "item.json")["resumed"]
    assert names(store.root) == ["k"]


def test_what_a_killed_attempt_left_in_the_folder_is_gone_in_the_next(tree, store):
    rewrite(tree, RESUMING)
    (store.partial("k") / "out" / "half").mkdir(parents=True)
    assert names(store.compute(item(tree, failures=0), "k")) == ["item.json", "result"]


def test_the_pace_of_checkpoints_reaches_the_item_and_is_not_part_of_its_key(tree, tmp_path):
    rewrite(tree, "(out / 'pace').write_text(str(CHECKPOINT_SECONDS.get()))")
    slow, fast = Store(tmp_path / "slow", checkpoint_seconds=30.0), Store(tmp_path / "fast")
    folders = [run_items([item(tree)], INLINE, store)[0] for store in (slow, fast)]
    assert [(folder / "pace").read_text() for folder in folders] == ["30.0", "0.0"]
    assert folders[0].name == folders[1].name


def test_outside_a_store_there_is_no_place_for_checkpoints(tmp_path, store):
    assert checkpoints_beside(tmp_path / "out") is None
    assert checkpoints_beside(store.partial("k") / "out") == store.partial("k") / "checkpoints"


def test_a_full_disk_is_a_user_error_that_names_the_item_and_leaves_nothing(tree, store):
    rewrite(tree, f"(out / 'big').touch()\nraise OSError({errno.ENOSPC}, 'No space left on device')")
    with pytest.raises(UserError, match=r"cannot write .*runs/k: No space left on device"):
        store.compute(item(tree), "k")
    assert names(store.root) == []


def test_a_store_that_cannot_be_made_is_a_user_error(tree, tmp_path):
    (tmp_path / "runs").touch()
    with pytest.raises(UserError, match=r"cannot write .*runs/k"):
        Store(tmp_path / "runs").compute(item(tree), "k")


class Attempt(threading.Thread):
    """Computes an item beside the test, as another process would."""

    def __init__(self, store: Store, one: Item) -> None:
        super().__init__(daemon=True)
        self.store, self.one, self.error = store, one, None
        self.start()

    def run(self) -> None:
        try:
            self.store.compute(self.one, "k")
        except ValueError as error:
            self.error = error


WAITING = """
import toy.gate
toy.gate.begun.set()
assert toy.gate.go.wait(30)
with inputs["counter"].parent.joinpath("counter").open("a") as file:
    file.write(settings["name"] + "\\n")
if toy.gate.failures:
    raise ValueError(toy.gate.failures.pop())
"""


@pytest.mark.parametrize("failures", [0, 1])
def test_two_that_want_one_item_take_turns(tree, store, capsys, failures):
    rewrite(tree, WAITING)
    (tree / "toy" / "gate.py").write_text(
        "import threading\nbegun, go, failures = threading.Event(), threading.Event(), []\n"
    )
    gate = importlib.import_module("toy.gate")
    gate.failures.extend(["planted"] * failures)
    first = Attempt(store, item(tree))
    assert gate.begun.wait(30)
    second = Attempt(store, item(tree))
    deadline = time.monotonic() + 30
    output = ""
    while "waiting for it" not in output and time.monotonic() < deadline:
        output += capsys.readouterr().out
        time.sleep(0.01)
    gate.go.set()
    for attempt in (first, second):
        attempt.join(30)
        assert not attempt.is_alive()
    assert output == "another process computes this item; waiting for it\n"
    assert (first.error is not None, second.error) == (bool(failures), None)
    # The second finds what the first has finished, and computes what the first has not.
    assert runs(tree) == ["a"] * (1 + failures)
    assert names(store.root) == ["k"]


HOLDING = """
import sys, time
from pathlib import Path
from bench.store import Store
with Store(Path(sys.argv[1])).lock("k"):
    print("held", flush=True)
    time.sleep(60)
"""


def test_a_lock_is_held_until_its_process_ends_in_whatever_way(store):
    command = [sys.executable, "-c", HOLDING, str(store.root)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, cwd=Path(__file__).resolve().parents[1]) as other:
        assert other.stdout.readline() == b"held\n"
        with pytest.raises(HeldError), store.lock("k", wait=False):
            pass
        other.kill()
    with store.lock("k", wait=False):
        assert names(store.root) == [".k.lock"]
    assert names(store.root) == []


def test_a_killed_attempt_is_cleared_but_for_its_checkpoints_and_not_while_it_is_alive(tree, store):
    for folder in ("out", CHECKPOINTS):
        (store.partial("k") / folder).mkdir(parents=True)
    (store.root / ".k.lock").touch()
    with store.lock("k"):
        store.clear("k")
        assert names(store.partial("k")) == [CHECKPOINTS, "out"]
    store.clear("k")
    assert (names(store.root), names(store.partial("k"))) == ([".k.partial"], [CHECKPOINTS])
    (store.partial("k") / CHECKPOINTS).rmdir()
    store.clear("k")
    assert names(store.root) == []
