"""Which sources decide an item's result, and that these are the ones it runs with."""

import pytest

from bench import sources
from bench.engine import run_items
from bench.errors import UserError
from bench.sources import closure, imports, source_digest, source_file
from tests.toy import INLINE, TREE, item, names


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


EDITING = """
from pathlib import Path


def run(settings, inputs, out):
    edited = settings["edits"]
    Path(__file__).with_name(edited).write_text("VALUE = 2")
    import toy.late

    (out / "result").write_text(str(toy.late.VALUE))
"""


@pytest.fixture
def begun(tree, monkeypatch):
    """The project as a process finds it that begins now."""
    (tree / "toy" / "work.py").write_text(EDITING)
    monkeypatch.setattr(sources, "BEGAN_WITH", {file: file.read_bytes() for file in tree.rglob("*.py")})
    return tree


def test_the_key_is_of_the_sources_that_the_process_began_with(begun):
    before = item(begun).key()
    (begun / "toy" / "late.py").write_text("VALUE = 2\n")
    assert item(begun).key() == before
    (begun / "toy" / "late.py").unlink()
    assert item(begun).key() == before


def test_a_module_edited_before_it_is_imported_is_refused(begun, store):
    with pytest.raises(UserError, match=r"toy\.late was edited since this command began"):
        run_items([item(begun, edits="late.py")], INLINE, store)
    assert names(store.root) == []


def test_a_module_may_be_edited_once_it_is_imported(begun, store):
    items = [
        item(begun, name, edits=edits) for name, edits in (("a", "unrelated.py"), ("b", "late.py"), ("c", "work.py"))
    ]
    assert [(folder / "result").read_text() for folder in run_items(items, INLINE, store)] == ["1", "1", "1"]


def test_an_editor_s_link_to_nothing_is_no_source(tree):
    """Emacs locks a file by such a link."""
    (tree / "toy" / ".#late.py").symlink_to("somebody@somewhere.1234")
    assert {file.relative_to(tree).as_posix() for file in sources._found()} == set(TREE)
