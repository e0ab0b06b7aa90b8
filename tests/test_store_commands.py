"""`python -m bench store`: what it shows, what it calls damaged, and what it removes and never removes."""

import os
import shutil
import time
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from bench import store_commands
from bench.cli import main
from bench.files import write_json
from bench.store import Item, Store

DAY = 86400


def work(settings: dict[str, Any], inputs: dict[str, Path], out: Path) -> None:
    """Two files; fails after a checkpoint where it is told to."""
    (out / "result").write_text(settings["text"])
    (out / "deep").mkdir()
    (out / "deep" / "more").write_text("more")
    if settings["fails"]:
        (out.parent / "checkpoints").mkdir()
        (out.parent / "checkpoints" / "AMR.pt").write_bytes(b"x" * 1000)
        progress = {"what": "AMR, spotlight", "epoch": 3, "epochs": 15}
        write_json(out.parent / "checkpoints" / "AMR.json", progress)
        raise ZeroDivisionError


@pytest.fixture
def store(tmp_path, monkeypatch) -> Store:
    """The store of an otherwise empty project."""
    monkeypatch.chdir(tmp_path)
    return Store(Path(".bench/runs"))


def made(store: Store, key: str, text: str = "text", fails: bool = False) -> None:
    item = Item(f"item {key[0]}", "tests.test_store_commands:work", {"text": text, "fails": fails}, {})
    if fails:
        with pytest.raises(ZeroDivisionError):
            store.compute(item, key)
    else:
        store.compute(item, key)


def aged(path: Path, days: float) -> None:
    os.utime(path, (0, time.time() - days * DAY))


def names(store: Store) -> list[str]:
    return sorted(path.name for path in store.root.iterdir())


def ran(capsys: pytest.CaptureFixture[str], *arguments: str, code: int = 0) -> str:
    capsys.readouterr()
    assert main(["store", *arguments]) == code
    output = capsys.readouterr()
    assert output.err == "" if code == 0 else output.err.startswith("error: ") and output.err.count("\n") == 1
    return output.out + output.err


def lines(output: str) -> list[list[str]]:
    """The table's rows, by columns."""
    return [[cell.strip() for cell in line.split("  ") if cell.strip()] for line in output.splitlines()]


def test_an_empty_store_is_no_mistake(store, capsys):
    assert "items: 0" in ran(capsys, "ls")
    assert ran(capsys, "verify") == "no item is damaged\n"
    assert ran(capsys, "gc", "--unused-days", "0") == "0 bytes (0 bytes) freed\n"
    assert not store.root.exists()


def test_ls_shows_finished_and_unfinished_items_the_latest_first(store, capsys):
    made(store, "a" * 64, "x" * 5000)
    made(store, "b" * 64, fails=True)
    aged(store.partial("b" * 64), days=2)
    (store.root / ("c" * 64)).mkdir()
    aged(store.root / ("c" * 64), days=0.5)
    table = lines(ran(capsys, "ls"))
    assert table[0] == ["item", "key", "age", "size", "seconds", "state"]
    assert [row[:2] for row in table[2:5]] == [["item a", "a" * 12], ["?", "c" * 12], ["item b", "b" * 12]]
    assert [row[-1] for row in table[2:5]] == ["finished", "finished", "unfinished: AMR, spotlight, epoch 3 of 15"]
    assert [row[2] for row in table[2:5]][1:] == ["12 h", "2 d"]
    assert table[2][3].endswith(" kB")
    assert table[5][0].startswith("items: 3, ")


def test_ls_marks_no_item_as_used(store, capsys):
    made(store, "a" * 64)
    aged(store.root / ("a" * 64), days=9)
    ran(capsys, "ls")
    ran(capsys, "verify")
    assert time.time() - (store.root / ("a" * 64)).stat().st_mtime > 8 * DAY


def test_ls_says_what_is_being_computed_and_what_was_resumed(store, capsys):
    made(store, "a" * 64, fails=True)
    with store.lock("a" * 64):
        assert "being computed: AMR, spotlight, epoch 3 of 15" in ran(capsys, "ls")
    made(store, "a" * 64)
    assert lines(ran(capsys, "ls"))[2][-2].endswith("+")
    assert names(store) == ["a" * 64]


def test_an_item_that_is_removed_before_it_is_looked_at_is_left_out(store, capsys, monkeypatch):
    made(store, "a")
    monkeypatch.setattr(store_commands, "_finished", lambda _: ["a", "gone"])
    assert "items: 1, " in ran(capsys, "ls")
    assert ran(capsys, "verify") == "no item is damaged\n"


def test_an_item_that_is_removed_while_it_is_looked_at_is_left_out(store, capsys, monkeypatch):
    def removing(look):
        def late(folder):
            if folder.name != "a":
                shutil.rmtree(folder)
            return look(folder)

        return late

    def three_items():
        made(store, "a")
        made(store, "b")
        made(store, "c", fails=True)

    three_items()
    monkeypatch.setattr(store_commands, "_size", removing(store_commands._size))
    assert "items: 1, " in ran(capsys, "ls")
    three_items()
    monkeypatch.setattr(store_commands, "digests", removing(store_commands.digests))
    assert ran(capsys, "verify") == "no item is damaged\n"


RECORDS = [
    "{",
    "[]",
    '{"name": "a"}',
    '{"name": "a", "finished": "soon", "seconds": 1, "resumed": false, "files": {}}',
    '{"name": "a", "finished": "2026-01-01T00:00:00Z", "seconds": "long", "resumed": false, "files": {}}',
]


@pytest.mark.parametrize("record", RECORDS)
def test_a_record_that_is_of_no_use_is_shown_as_damage(store, capsys, record):
    made(store, "a")
    made(store, "b")
    (store.root / "b" / "item.json").write_text(record)
    rows = {row[1]: row for row in lines(ran(capsys, "ls"))[2:4]}
    assert rows["a"][-1] == "finished"
    assert (rows["b"][0], *rows["b"][4:]) == ("?", "?", "damaged: item.json")
    assert "b: damaged: item.json\n" in ran(capsys, "verify", code=2)


def test_a_checkpoint_that_says_nothing_of_its_progress_is_passed_over(store, capsys):
    made(store, "a", fails=True)
    write_json(store.partial("a") / "checkpoints" / "AMR.json", {"what": "AMR"})
    assert lines(ran(capsys, "ls"))[2][-1] == "unfinished"


def test_a_whole_store_is_verified(store, capsys):
    for key in ("a", "b"):
        made(store, key)
    made(store, "c", fails=True)
    (store.root / "old").mkdir()
    assert ran(capsys, "verify").splitlines() == [
        "without a record, made by earlier code, not verified: 1",
        "no item is damaged",
    ]


DAMAGES = {
    "result": lambda folder: (folder / "result").write_text("tex!"),
    "deep/more": lambda folder: (folder / "deep" / "more").unlink(),
    "added": lambda folder: (folder / "added").touch(),
    "item.json": lambda folder: (folder / "item.json").write_text("{"),
}


@pytest.mark.parametrize("file", DAMAGES)
def test_a_damaged_item_is_named_and_only_removed_when_asked(store, capsys, file):
    for key in ("a", "b"):
        made(store, key)
    DAMAGES[file](store.root / "b")
    output = ran(capsys, "verify", code=2)
    assert f"b: damaged: {file}\n" in output
    assert "a: damaged" not in output
    assert "damaged items in .bench/runs: 1 - `store verify --remove` removes them" in output
    assert names(store) == ["a", "b"]
    assert f"b: damaged: {file}\nremoved: 1\n" in ran(capsys, "verify", "--remove")
    assert names(store) == ["a"]
    assert ran(capsys, "verify") == "no item is damaged\n"


@pytest.mark.parametrize("meanwhile", ["computed again", "removed"])
def test_what_another_process_does_before_the_lock_is_ours_is_respected(store, capsys, monkeypatch, meanwhile):
    made(store, "a")
    (store.root / "a" / "result").write_text("tex!")
    lock = Store.lock

    @contextmanager
    def late(self, key, wait=True):
        with lock(self, key, wait):
            shutil.rmtree(store.root / key)
        if meanwhile == "computed again":
            made_again(store, key)
        with lock(self, key, wait):
            yield

    def made_again(store, key):
        with monkeypatch.context() as usual:
            usual.setattr(Store, "lock", lock)
            made(store, key)

    monkeypatch.setattr(Store, "lock", late)
    assert ran(capsys, "verify", "--remove").endswith("removed: 0\n")
    assert names(store) == (["a"] if meanwhile == "computed again" else [])


@pytest.fixture
def littered(store) -> Store:
    """A finished item, an unfinished one, one that is being computed, and what killed runs leave."""
    made(store, "a")
    made(store, "b", fails=True)
    (store.root / ".old.0123456789ab.tmp" / "deep").mkdir(parents=True)
    (store.root / ".old.0123456789ab.tmp" / "deep" / "file").write_bytes(b"x" * 500)
    (store.root / ".gone.lock").touch()
    made(store, "held", fails=True)
    (store.root / ".held.0123456789ab.tmp").touch()
    return store


def test_gc_removes_leftovers_and_neither_finished_items_nor_what_a_process_holds(littered, capsys):
    with littered.lock("held"):
        output = ran(capsys, "gc")
        assert names(littered) == [".held.0123456789ab.tmp", ".held.lock", ".held.partial", "a"]
    assert ".b.partial: unfinished item b: AMR, spotlight, epoch 3 of 15, " in output
    assert ".old.0123456789ab.tmp: left by a killed run, 500 bytes\n" in output
    freed = int(output.splitlines()[-1].split()[0])
    assert freed > 500 + 1000
    assert output.endswith(" freed\n")
    ran(capsys, "gc")
    assert names(littered) == ["a"]


def test_a_dry_run_says_the_same_and_removes_nothing(littered, capsys):
    with littered.lock("held"):
        before = [name for name in names(littered) if not name.endswith(".lock")]
        dry = ran(capsys, "gc", "--dry-run")
        assert [name for name in names(littered) if not name.endswith(".lock")] == before
        wet = ran(capsys, "gc")
    assert dry == wet.replace(" freed\n", " would be freed\n")
    assert "bytes" in dry


def test_gc_removes_items_that_were_not_used_for_so_long(store, capsys):
    for key, days in (("a", 1), ("b", 10), ("c", 20)):
        made(store, key)
        aged(store.root / key, days)
    assert store.find("c")
    assert "b: item b, not used for 10 days" in ran(capsys, "gc", "--unused-days", "5")
    assert names(store) == ["a", "c"]


def test_what_remains_of_a_finished_item_is_removed_and_the_item_is_not(store, capsys):
    made(store, "a")
    store.partial("a").mkdir()
    ran(capsys, "gc")
    assert names(store) == ["a"]


@pytest.mark.parametrize("days", ["-1", "soon", "nan"])
def test_an_impossible_number_of_days_is_refused(store, capsys, days):
    with pytest.raises(SystemExit) as caught:
        main(["store", "gc", f"--unused-days={days}"])
    assert caught.value.code == 2
    assert "--unused-days" in capsys.readouterr().err


def test_a_command_is_needed(store, capsys):
    with pytest.raises(SystemExit) as caught:
        main(["store"])
    assert caught.value.code == 2
    assert "usage: python -m bench store" in capsys.readouterr().err
