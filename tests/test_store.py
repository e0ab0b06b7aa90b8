"""The run store: what makes a key, and that finished work is kept and never repeated."""

import os
import sys
from pathlib import Path
from typing import Any

import pytest

from bench import sources
from bench.engine import run_items
from bench.errors import UserError
from bench.sources import closure, imports, source_digest, source_file
from bench.store import Item, Store

WORK = '''
"""Toy work."""
from pathlib import Path

from toy.helpers.low import LOW


def run(settings, inputs, out):
    import toy.late

    with inputs["counter"].parent.joinpath("counter").open("a") as file:
        file.write(settings["name"] + "\\n")
    (out / "half").write_text("")
    if settings.get("error"):
        raise {"ValueError": ValueError, "KeyboardInterrupt": KeyboardInterrupt}[settings["error"]]
    (out / "result").write_text(settings["name"])
'''
TREE = {
    "toy/__init__.py": "",
    "toy/work.py": WORK,
    "toy/late.py": "VALUE = 1\n",
    "toy/method.py": "VALUE = 1\n",
    "toy/unrelated.py": "VALUE = 1\n",
    "toy/helpers/__init__.py": "",
    "toy/helpers/low.py": "import json\nfrom toy.helpers import deep\n\nLOW = 1\n",
    "toy/helpers/deep.py": "from numpy import array\n",
}


@pytest.fixture
def tree(tmp_path, monkeypatch):
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
def store(tmp_path):
    return Store(tmp_path / "runs")


def item(root: Path, name: str = "a", modules: tuple[str, ...] = (), **settings: Any) -> Item:
    data = root / "data"
    data.mkdir(exist_ok=True)
    (data / "input").write_text("content") if not (data / "input").exists() else None
    return Item(f"item {name}", "toy.work:run", {"name": name, **settings}, {"counter": data / "input"}, modules)


def runs(root: Path) -> list[str]:
    file = root / "data" / "counter"
    return file.read_text().split() if file.exists() else []


def names(folder: Path) -> list[str]:
    return sorted(file.name for file in folder.iterdir()) if folder.exists() else []


def test_the_closure_holds_all_modules_needed_and_no_others(tree):
    assert closure("toy.work") == [
        "toy",
        "toy.helpers",
        "toy.helpers.deep",
        "toy.helpers.low",
        "toy.late",
        "toy.work",
    ]
    assert closure("toy.method") == ["toy.method"]
    assert closure("toy.method", "toy.late") == ["toy.late", "toy.method"]


def test_every_way_to_import_is_seen(tree):
    (tree / "toy" / "late.py").write_text(
        "import toy.helpers.deep as deep, os\n"
        "from toy import method as m\n"
        "class A:\n    def f(self):\n        if True:\n            from toy.helpers.low import LOW\n"
    )
    assert imports("toy.late") == {"toy", "toy.helpers", "toy.helpers.deep", "toy.helpers.low", "toy.method"}


def test_modules_that_import_each_other_are_found_once(tree):
    (tree / "toy" / "late.py").write_text("import toy.method\n")
    (tree / "toy" / "method.py").write_text("import toy.late\n")
    assert closure("toy.late") == ["toy", "toy.late", "toy.method"]


def test_modules_of_others_have_no_source_file(tree):
    assert source_file("numpy") is None
    assert source_file("toys.work") is None
    assert source_file("toy.missing") is None
    assert source_file("toy.helpers") == tree / "toy" / "helpers" / "__init__.py"


def test_the_project_names_its_own_modules_in_full():
    """The closure does not follow relative imports, so there must be none."""
    files = [file for package in sources.PACKAGES for file in (sources.ROOT / package).rglob("*.py")]
    assert files
    relative = [
        file for file in files if any(line.strip().startswith("from .") for line in file.read_text().splitlines())
    ]
    assert relative == []


@pytest.mark.parametrize("changed", ["work.py", "late.py", "helpers/low.py", "helpers/deep.py", "helpers/__init__.py"])
def test_the_key_changes_with_a_source_it_needs(tree, changed):
    before = item(tree).key()
    file = tree / "toy" / changed
    file.write_text(file.read_text() + "# changed\n")
    assert item(tree).key() != before


def test_the_key_changes_with_the_source_of_a_further_module(tree):
    plain, before = item(tree).key(), item(tree, modules=("toy.method",)).key()
    (tree / "toy" / "method.py").write_text("VALUE = 2\n")
    assert item(tree, modules=("toy.method",)).key() != before
    assert item(tree).key() == plain


def test_the_key_does_not_change_with_other_sources(tree):
    before = item(tree).key(), source_digest("toy.work")
    (tree / "toy" / "unrelated.py").write_text("VALUE = 2\n")
    assert (item(tree).key(), source_digest("toy.work")) == before


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


def test_a_missing_input_is_a_user_error(tree):
    one = item(tree)
    one.inputs["counter"].unlink()
    with pytest.raises(UserError, match="is missing"):
        one.key()


def test_results_come_in_the_order_of_the_items(tree, store):
    run_items([item(tree, "b")], "inline", store)
    folders = run_items([item(tree, name) for name in "abc"], "inline", store)
    assert [(folder / "result").read_text() for folder in folders] == ["a", "b", "c"]


def test_a_finished_item_is_not_computed_again(tree, store):
    first = run_items([item(tree, "a"), item(tree, "b")], "inline", store)
    again = run_items([item(tree, "b"), item(tree, "a")], "inline", store)
    assert again == first[::-1]
    assert runs(tree) == ["a", "b"]


def test_going_back_to_old_settings_computes_nothing(tree, store):
    for seed in (0, 1, 0):
        run_items([item(tree, "a", seed=seed)], "inline", store)
    assert runs(tree) == ["a", "a"]


@pytest.mark.parametrize("error", [ValueError, KeyboardInterrupt])
def test_what_finished_before_a_failure_is_kept_and_the_failed_item_is_not(tree, store, error):
    items = [item(tree, "a"), item(tree, "b", error=error.__name__), item(tree, "c")]
    with pytest.raises(error):
        run_items(items, "inline", store)
    assert names(store.root) == [items[0].key()]
    assert store.find(items[1].key()) is None
    with pytest.raises(error):
        run_items(items, "inline", store)
    assert runs(tree) == ["a", "b", "b"]


def test_an_item_cannot_change_its_own_settings(tree, store):
    (tree / "toy" / "work.py").write_text("def run(settings, inputs, out):\n    settings.clear()\n    inputs.clear()\n")
    one = item(tree)
    assert run_items([one], "inline", store) == run_items([one], "inline", store)
    assert (one.settings, list(one.inputs)) == ({"name": "a"}, ["counter"])


def test_equal_items_of_one_call_are_computed_once(tree, store):
    folders = run_items([item(tree, "a"), item(tree, "a")], "inline", store)
    assert folders[0] == folders[1]
    assert runs(tree) == ["a"]
