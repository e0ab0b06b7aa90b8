"""README shows the tables as they were generated."""

from pathlib import Path

import pytest

from bench.errors import UserError
from bench.readme import BLOCK, refreshed

ROOT = Path(__file__).resolve().parents[1]


def test_the_tables_in_the_readme_are_the_generated_ones():
    text = (ROOT / "README.md").read_text(encoding="utf-8")
    assert BLOCK.search(text)
    assert refreshed(text, ROOT) == text


def test_a_block_is_replaced_by_the_report_it_names(tmp_path):
    (tmp_path / "reports").mkdir()
    (tmp_path / "reports" / "t.md").write_text("## Table\n\n| 1 |\n", encoding="utf-8")
    text = "before\n<!-- reports/t.md -->\nstale\n<!-- end -->\nafter\n"
    assert refreshed(text, tmp_path) == ("before\n<!-- reports/t.md -->\n#### Table\n\n| 1 |\n<!-- end -->\nafter\n")


def test_a_report_that_does_not_exist_is_named(tmp_path):
    with pytest.raises(UserError, match=r"reports/gone\.md"):
        refreshed("<!-- reports/gone.md -->\n<!-- end -->", tmp_path)
