"""The command line: exit codes and one-line messages."""

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pandas as pd
import pytest

from bench.cli import STAGES, main
from bench.data.splits import paper_split
from bench.stages import split as split_stage

ROOT = Path(__file__).resolve().parents[1]


@pytest.fixture
def project(tmp_path, monkeypatch):
    """An empty place to work in, with the project's params.yaml."""
    shutil.copy(ROOT / "params.yaml", tmp_path)
    monkeypatch.chdir(tmp_path)
    return tmp_path


def prepared(project: Path, sizes: dict[str, int]) -> None:
    folder = project / "data" / "phantom" / "images"
    folder.mkdir(parents=True)
    rows = [(f"{category} ({n})", category, 1, 8, 8) for category, count in sizes.items() for n in range(count)]
    pd.DataFrame(rows, columns=["id", "category", "label", "width", "height"]).to_csv(folder / "index.csv", index=False)


def refused(capsys: pytest.CaptureFixture[str], *arguments: str) -> str:
    assert main(arguments) == 2
    message = capsys.readouterr().err
    assert message.startswith("error: ")
    assert message.count("\n") == 1
    return message


def test_split_writes_one_manifest_a_seed(project, capsys):
    prepared(project, {"benign": 20, "malignant": 12, "normal": 10})
    assert main(["split", "--profile", "phantom"]) == 0
    assert capsys.readouterr().err == ""
    folder = project / "data" / "phantom" / "splits"
    assert [file.name for file in folder.iterdir()] == ["split-0.csv"]
    table = pd.read_csv(folder / "split-0.csv")
    assert table["set"].value_counts().to_dict() == {"N": 33, "K": 9}


def test_the_manifest_of_a_seed_is_the_split_of_that_seed(project):
    prepared(project, {"benign": 20, "malignant": 12, "normal": 10})
    text = (project / "params.yaml").read_text()
    (project / "params.yaml").write_text(text.replace("{split: [0],", "{split: [3, 0],"))
    assert main(["split", "--profile", "phantom"]) == 0
    index = pd.read_csv(project / "data" / "phantom" / "images" / "index.csv")
    for seed in (0, 3):
        manifest = pd.read_csv(project / "data" / "phantom" / "splits" / f"split-{seed}.csv")
        assert manifest.equals(paper_split(index["id"], index["category"], seed))


def test_an_unknown_profile_is_refused(project, capsys):
    assert "unknown profile 'busy'" in refused(capsys, "split", "--profile", "busy")


def test_a_wrong_setting_is_refused(project, capsys):
    text = (project / "params.yaml").read_text()
    (project / "params.yaml").write_text(text.replace("image_size: 64", "image_size: 65"))
    assert "phantom.prepare.image_size: " in refused(capsys, "split", "--profile", "phantom")


# Two stages read no other's result.
@pytest.mark.parametrize("stage", [stage for stage in STAGES if stage not in ("download", "segmenter")])
def test_a_missing_result_of_an_earlier_stage_is_refused(project, capsys, stage):
    text = (project / "params.yaml").read_text()
    (project / "params.yaml").write_text(text.replace("oracle: *oracle", "oracle: [amr]"))
    message = refused(capsys, stage, "--profile", "phantom")
    assert "missing" in message or "holds no images" in message
    assert "data/phantom/" in message
    assert "dvc repro" in message


def test_a_refused_stage_leaves_the_old_result(project, capsys):
    prepared(project, {"benign": 20, "malignant": 12, "normal": 1})
    old = project / "data" / "phantom" / "splits" / "old.csv"
    old.parent.mkdir()
    old.write_text("old")
    assert "class normal" in refused(capsys, "split", "--profile", "phantom")
    assert [file.name for file in old.parent.iterdir()] == ["old.csv"]


def test_outside_the_projects_folder_it_says_where_to_run(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    assert "run from the project's folder" in refused(capsys, "split", "--profile", "phantom")


@pytest.mark.parametrize("arguments", [[], ["split"], ["splat", "--profile", "phantom"]])
def test_a_wrong_command_line_ends_with_2_and_the_usage(arguments, capsys):
    with pytest.raises(SystemExit) as caught:
        main(arguments)
    assert caught.value.code == 2
    assert "usage: python -m bench" in capsys.readouterr().err


def test_an_interrupt_ends_with_130(project, monkeypatch, capsys):
    def interrupted(*_):
        raise KeyboardInterrupt

    monkeypatch.setattr(split_stage, "run", interrupted)
    assert main(["split", "--profile", "phantom"]) == 130
    assert capsys.readouterr().err.count("\n") == 1


@pytest.mark.parametrize("error", [ZeroDivisionError, BrokenPipeError])
def test_a_defect_keeps_its_traceback(project, monkeypatch, error):
    def defective(*_):
        raise error

    monkeypatch.setattr(split_stage, "run", defective)
    with pytest.raises(error):
        main(["split", "--profile", "phantom"])


@pytest.mark.parametrize("unbuffered", ["", "1"])
def test_where_nobody_reads_the_output_it_ends_with_141_and_says_nothing(project, unbuffered):
    read, write = os.pipe()
    os.close(read)
    done = subprocess.run(
        [sys.executable, "-m", "bench", "store", "ls"],
        env=os.environ | {"PYTHONPATH": str(ROOT), "PYTHONUNBUFFERED": unbuffered},
        stdout=write,
        stderr=subprocess.PIPE,
        text=True,
        check=False,
    )
    os.close(write)
    assert done.stderr == ""
    assert done.returncode == 141


@pytest.mark.parametrize(("profile", "code"), [("busy", 2), ("phantom", 0)])
def test_the_process_itself_ends_with_the_code_and_no_traceback(project, profile, code):
    prepared(project, {"benign": 20, "malignant": 12, "normal": 10})
    done = subprocess.run(
        [sys.executable, "-m", "bench", "split", "--profile", profile],
        env=os.environ | {"PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == code
    assert len(done.stderr.splitlines()) == (1 if code else 0)
