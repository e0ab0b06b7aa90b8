"""Results that one clone pushes give another its tables: nothing is downloaded or trained there."""

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from bench.cli import STAGES
from tests.tiny import PROFILE, params, run, write_params

ROOT = Path(__file__).resolve().parents[1]
FILES = ("Makefile", "dvc.yaml", "requirements/run.txt", ".dvcignore", ".gitignore", ".dvc/config")
TABLES = [f"table{number}.{kind}" for number in (1, 2, 3) for kind in ("md", "csv")] + ["metrics.json"]
UP_TO_DATE = "Data and pipelines are up to date."


MAKE_REPORT = ("make", "--old-file=.venv/bin/.run", "report", f"PROFILE={PROFILE}")


def call(folder: Path, *command: str, code: int = 0) -> str:
    """What a command in `folder` prints, in the environment that the Makefile gives; it must end with `code`."""
    environment = os.environ | {
        "PATH": f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}",
        "DVC_NO_ANALYTICS": "1",
        "DVC_SITE_CACHE_DIR": str(folder / ".bench" / "dvc-site-cache"),
        "GIT_CONFIG_GLOBAL": os.devnull,
        **{f"GIT_{who}_{what}": "test@example.org" for who in ("AUTHOR", "COMMITTER") for what in ("NAME", "EMAIL")},
    }
    done = subprocess.run(command, cwd=folder, env=environment, check=False, capture_output=True, text=True)
    assert done.returncode == code, (command, done.stdout, done.stderr)
    return done.stdout + done.stderr


def smallest() -> dict[str, Any]:
    """The tiny profile with fewer images, one classifier and two rows."""
    content = params()
    tiny = content[PROFILE]
    tiny["data"].update(benign=12, malignant=6, normal=8)
    tiny["cams"] = {"amr": json.loads(json.dumps(tiny["cams"]["amr"]))}
    tiny["cams"]["amr"]["optimisation"]["epochs"] = 1
    tiny["train"]["common"]["optimisation"]["epochs"] = 1
    tiny["train"]["rows"] = {"gt_whole": {}, "pseudo_whole": {}}
    tiny["oracle"] = []
    tiny["controls"]["rows"] = []
    return content


@pytest.fixture
def pushed(tmp_path: Path) -> Path:
    """A repository with finished results whose data were pushed to a folder beside it."""
    one = tmp_path / "one"
    for package in ("bench", "baselines"):
        shutil.copytree(ROOT / package, one / package, ignore=shutil.ignore_patterns("__pycache__"))
    for file in FILES:
        (one / file).parent.mkdir(exist_ok=True)
        shutil.copy(ROOT / file, one / file)
    write_params(one, smallest())
    run(one, *STAGES)
    call(one, "git", "init", "--quiet")
    call(one, "dvc", "remote", "add", "--default", "storage", str(tmp_path / "storage"))
    call(one, "dvc", "commit", "--force")
    call(one, "git", "add", "--all")
    call(one, "git", "commit", "--quiet", "--message", "Results")
    call(one, "dvc", "push", "--with-deps", f"report@{PROFILE}")
    return one


@pytest.mark.slow
def test_a_clone_makes_its_tables_from_pulled_results(pushed, tmp_path):
    two = tmp_path / "two"
    call(tmp_path, "git", "clone", "--quiet", str(pushed), str(two))
    assert "splits/split-0.csv is missing" in call(two, *MAKE_REPORT, code=2)
    assert call(two, "git", "status", "--porcelain") == ""
    call(two, "dvc", "pull", "--with-deps", f"report@{PROFILE}")
    assert UP_TO_DATE in call(two, "dvc", "repro", f"report@{PROFILE}")

    reports = two / "reports" / PROFILE
    shutil.rmtree(reports)
    output = call(two, *MAKE_REPORT)
    assert [line for line in output.splitlines() if line.startswith("python ")] == [
        f"python -m bench {stage} --profile {PROFILE}" for stage in ("tables", "report")
    ]
    for table in TABLES:
        assert (reports / table).read_bytes() == (pushed / "reports" / PROFILE / table).read_bytes(), table
    assert (reports / "report.md").is_file()
    assert not (two / ".bench" / "runs").exists()
    assert UP_TO_DATE in call(two, "dvc", "repro", f"report@{PROFILE}")
