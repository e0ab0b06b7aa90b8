"""Tables of two commits side by side, in a temporary git repository."""

import json
import subprocess
from pathlib import Path
from typing import Any

import pytest

from bench.cli import main
from bench.compare import compare
from bench.errors import UserError

IDENTITY = ["-c", "user.name=a", "-c", "user.email=a@example.org", "-c", "commit.gpgsign=false"]
SETS = {"N": {"benign": 8, "total": 8}, "L": {"benign": 3, "total": 3}}


def iou(tumour: float | None) -> dict[str, float | None]:
    return {"tumor_iou": tumour, "background_iou": 90.0, "miou": 70.0}


OLD = {"table1": SETS, "table2": {"gt_whole": iou(50.0), "gone": iou(1.0)}}
NEW = {
    "table1": {**SETS, "L": {"benign": 5, "total": 5}},
    "table2": {"added": iou(2.0), "gt_whole": iou(61.5)},
    "table3": {"amr": iou(None)},
}


def git(*arguments: str) -> None:
    subprocess.run(["git", *IDENTITY, *arguments], check=True, capture_output=True)


def write(metrics: Any, profile: str = "phantom") -> None:
    folder = Path("reports", profile)
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "metrics.json").write_text(metrics if isinstance(metrics, str) else json.dumps(metrics))


def commit(tag: str) -> None:
    git("add", "-A")
    git("commit", "--allow-empty", "-m", tag)
    git("tag", tag)


@pytest.fixture
def repository(tmp_path, monkeypatch):
    """Three commits: `empty` without reports, `old` and `new` with a profile; below another folder's files."""
    monkeypatch.chdir(tmp_path)
    git("init")
    commit("empty")
    project = tmp_path / "project"
    project.mkdir()
    monkeypatch.chdir(project)
    for tag, metrics in (("old", OLD), ("new", NEW)):
        write(metrics)
        commit(tag)
    return project


def cells(text: str, row: str) -> list[str]:
    """The cells of the only line of all tables that begins with `row`."""
    (line,) = [line for line in text.splitlines() if line.startswith(f"| {row} ")]
    return [cell.strip() for cell in line.strip("|").split("|")]


def test_every_number_stands_beside_the_other_with_its_signed_difference(repository):
    text = compare("old", "new", None)
    expected = ["gt_whole", "50.00", "61.50", "+11.50", "90.00", "90.00", "+0.00", "70.00", "70.00", "+0.00"]
    assert cells(text, "gt_whole") == expected
    assert cells(compare("new", "old", None), "gt_whole")[3] == "-11.50"
    assert cells(text, "L") == ["L", "3 / 5 (+2)", "3 / 5 (+2)"]
    assert cells(text, "N") == ["N", "8", "8"]


def with_intervals(tumour: float, half: float, over_seeds: float | None = None) -> dict[str, Any]:
    """Metrics of one row with an interval of this half width over images, and over seeds where one is given."""
    halves = {"images": half} if over_seeds is None else {"images": half, "seeds": over_seeds}
    spans = {
        source: {"gt_whole": {"tumor_iou": {"low": tumour - width, "high": tumour + width}}}
        for source, width in halves.items()
    }
    return {"table2": {"gt_whole": iou(tumour)}, "uncertainty": spans}


@pytest.mark.parametrize(
    ("old", "new", "expected"),
    [
        (with_intervals(50, 4), with_intervals(60, 4), "+10.00 (beyond: images)"),
        (with_intervals(50, 4), with_intervals(47, 4), "-3.00 (within)"),
        (with_intervals(50, 4), with_intervals(60, 12), "+10.00 (within)"),  # beyond one side's interval only
        (with_intervals(50, 4, 30), with_intervals(60, 4, 30), "+10.00 (beyond: images)"),
        (with_intervals(50, 4, 5), with_intervals(60, 4, 5), "+10.00 (beyond: images, seeds)"),
        (with_intervals(50, 4, 5), with_intervals(60, 40), "+10.00 (within)"),  # one side has none over seeds
        (OLD, with_intervals(60, 4), "+10.00"),  # an older commit has none at all
    ],
)
def test_a_difference_is_held_against_the_intervals_of_both_sides(repository, old, new, expected):
    for tag, metrics in (("one", old), ("other", new)):
        write(metrics)
        commit(tag)
    line = cells(compare("one", "other", None), "gt_whole")
    assert line[3] == expected
    assert line[6] == "+0.00"  # these have no interval


def test_what_one_side_lacks_is_said(repository):
    text = compare("old", "new", None)
    assert cells(text, "added")[1:4] == ["no such row", "2.00", ""]
    assert cells(text, "gone")[1:4] == ["1.00", "no such row", ""]
    assert cells(text, "amr")[1:4] == ["no such row", "not runnable", ""]
    assert "### Table III, IoU in percent\n\nA has no such table.\n" in text
    assert "B has no such table" not in text


def test_the_working_tree_is_the_other_side_by_default(repository):
    changed = {**NEW, "table3": {"amr": iou(12.345)}}
    write(changed)
    write(OLD, "busi")
    text = compare("new", None, None)
    assert text.startswith("A: new (")
    assert cells(compare("new", None, "phantom"), "amr")[1:4] == ["not runnable", "12.35", ""]
    assert "## busi\n\nA has no such profile.\n" in text
    assert text.index("## busi") < text.index("## phantom")


def test_equal_sides_are_called_equal(repository):
    text = compare("new", "HEAD", None)
    assert text.count("No number differs.") == 3


@pytest.mark.parametrize("revision", ["nowhere", "--output=x", ""])
def test_an_unknown_revision_is_a_mistake_of_the_user(repository, revision):
    with pytest.raises(UserError, match="git knows no commit"):
        compare("old", revision, None)


def test_no_report_on_either_side_is_said(repository):
    with pytest.raises(UserError, match=r"neither side has reports/busi/metrics\.json"):
        compare("old", "new", "busi")
    with pytest.raises(UserError, match="neither side has reports/<profile>"):
        compare("empty", "empty", None)


def test_one_side_without_any_report_is_compared(repository):
    assert "B has no such profile." in compare("old", "empty", None)


def test_a_damaged_file_is_named_with_its_commit(repository):
    write("{")
    commit("damaged")
    with pytest.raises(UserError, match=r"reports/phantom/metrics\.json of damaged is damaged"):
        compare("damaged", "old", None)
    with pytest.raises(UserError, match="damaged"):
        compare("old", None, None)


def test_outside_a_repository_the_revision_is_unknown(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("GIT_CEILING_DIRECTORIES", str(tmp_path.parent))
    with pytest.raises(UserError, match="git knows no commit 'HEAD'"):
        compare("HEAD", None, None)


def test_the_command_prints_and_ends_well_whether_or_not_numbers_differ(repository, capsys):
    assert main(["diff", "old", "new", "--profile", "phantom"]) == 0
    assert "+11.50" in capsys.readouterr().out
    assert main(["diff", "new"]) == 0
    assert main(["diff", "nowhere"]) == 2
    assert capsys.readouterr().err.startswith("error: git knows no commit")
