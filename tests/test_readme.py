"""README shows the tables as they were generated, and a method that runs."""

import json
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
import yaml

from bench.cli import STAGES
from bench.errors import UserError
from bench.readme import BLOCK, refreshed
from tests.tiny import PROFILE, params

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


def blocks(kind: str) -> list[str]:
    return re.findall(rf"```{kind}\n(.*?)```", (ROOT / "README.md").read_text(encoding="utf-8"), re.DOTALL)


@pytest.mark.slow
def test_the_method_that_the_readme_adds_gets_its_row_in_table_3(tmp_path):
    (code,) = blocks("python")
    (block,) = (yaml.safe_load(text)["cams"] for text in blocks("yaml") if text.startswith("cams:"))
    (method,) = block
    assert len([line for line in code.splitlines() if line.strip()]) <= 32
    for package in ("bench", "baselines", "tests"):
        shutil.copytree(ROOT / package, tmp_path / package, ignore=shutil.ignore_patterns("__pycache__"))
    (tmp_path / "baselines" / f"{method}.py").write_text(code, encoding="utf-8")
    content = yaml.safe_load((ROOT / "params.yaml").read_text(encoding="utf-8"))
    content["phantom"]["cams"] |= block
    tiny = params()[PROFILE]
    short = {**block[method], "optimisation": {**block[method]["optimisation"], "epochs": 2, "batch_size": 8}}
    tiny["controls"]["rows"] = []
    content[PROFILE] = {**tiny, "oracle": [], "cams": {method: short, "amr": tiny["cams"]["amr"]}}
    content["profiles"].append(PROFILE)
    (tmp_path / "params.yaml").write_text(yaml.safe_dump(content, sort_keys=False), encoding="utf-8")
    stages = [stage for stage in STAGES if stage != "report"]
    command = f"from bench.cli import main\nfor stage in {stages}: assert main([stage, '--profile', '{PROFILE}']) == 0"
    done = subprocess.run([sys.executable, "-c", command], cwd=tmp_path, check=False, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    metrics = json.loads((tmp_path / "reports" / PROFILE / "metrics.json").read_text(encoding="utf-8"))
    assert list(metrics["table3"]) == [method, "amr", "pseudo_mean_teacher"]
    assert metrics["table3"][method]["miou"] > 0
    suite = [
        sys.executable,
        "-m",
        "pytest",
        "-q",
        "tests/test_conformance.py",
        "tests/test_rows.py",
        "-k",
        f"{method} or rows",
    ]
    done = subprocess.run(suite, cwd=tmp_path, check=False, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout
    assert " passed" in done.stdout
