"""Stages side by side: the order of dvc.yaml is kept, and a failure stops what has not begun."""

import signal
import subprocess
import sys
import threading
from pathlib import Path

import pytest
import yaml

from bench.cli import STAGES, main
from bench.errors import UserError
from bench.settings import PARAMS, load
from bench.side_by_side import TRAINING, Processes, before, diagnostics_last, run_stages, taking_turns

ROOT = Path(__file__).resolve().parents[1]
PIPELINE = yaml.safe_load((ROOT / "dvc.yaml").read_text(encoding="utf-8"))["stages"]
SECONDS = 20
NO_TURNS = frozenset[str]()


def test_a_stage_waits_for_all_whose_outputs_it_reads():
    needs = before(PIPELINE, list(STAGES))
    assert needs["download"] == set()
    assert needs["cams"] == {"prepare", "split"}
    assert needs["crf"] == {"prepare", "cams"}
    assert {"crf", "pseudo", "select"} <= needs["train_weak"]
    assert {"tables", "evaluate", "audit"} <= needs["report"]


def test_of_stages_that_are_named_only_those_wait():
    assert before(PIPELINE, ["crf", "train_gt", "train_weak"]) == {
        "crf": set(),
        "train_gt": set(),
        "train_weak": {"crf"},
    }


def test_the_diagnostics_train_after_the_tables_where_both_are_asked_for():
    needs = diagnostics_last(before(PIPELINE, ["cams", "train_weak", "oracle", "controls"]))
    assert needs["oracle"] == needs["controls"] == {"cams", "train_weak"}
    assert needs["train_weak"] == set()


def test_what_does_not_wait_for_each_other_runs_at_once():
    meeting = threading.Barrier(2, timeout=SECONDS)
    order = []

    def stage(name: str) -> int:
        if name in ("left", "right"):
            meeting.wait()
        order.append(name)
        return 0

    run_stages({"last": {"left", "right"}, "left": {"first"}, "right": {"first"}, "first": set()}, NO_TURNS, stage)
    assert order[0] == "first"
    assert order[-1] == "last"
    assert len(order) == 4


def test_those_that_take_turns_run_one_at_a_time_beside_the_others():
    beside, trainings = threading.Event(), []

    def stage(name: str) -> int:
        if name == "crf":
            assert beside.wait(SECONDS)
            return 0
        trainings.append(name)
        # A second training would be in the list while the first one waits.
        threading.Event().wait(0.1)
        assert trainings[-1] == name
        if len(trainings) == 3:
            beside.set()
        return 0

    names = ["crf", "train_gt", "controls", "train_weak"]
    run_stages({name: set() for name in names}, TRAINING, stage)
    assert trainings == names[1:]


def test_prompting_takes_turns_with_the_trainings_where_it_needs_the_gpu():
    assert "pseudo" in taking_turns(load("busi", ROOT / PARAMS))
    assert "pseudo" not in taking_turns(load("busi-scratch", ROOT / PARAMS))


def test_every_stage_that_trains_takes_turns():
    assert {name for name, stage in PIPELINE.items() if "bench/training" in stage["do"]["deps"]} == TRAINING


def test_after_a_failure_nothing_begins_and_what_runs_ends():
    failed = threading.Event()
    begun, ended = [], []

    def stage(name: str) -> int:
        begun.append(name)
        if name == "broken":
            failed.set()
            return 2
        assert failed.wait(SECONDS)
        ended.append(name)
        return 0

    with pytest.raises(UserError, match="broken ended with 2"):
        run_stages(
            {"broken": set(), "slow": set(), "after both": {"broken", "slow"}, "after slow": {"slow"}}, NO_TURNS, stage
        )
    assert set(begun) == {"broken", "slow"}
    assert ended == ["slow"]


def test_stages_that_wait_for_each_other_are_named():
    with pytest.raises(ValueError, match="one, other"):
        run_stages({"one": {"other"}, "other": {"one"}}, NO_TURNS, lambda name: 0)


@pytest.fixture
def project(tmp_path, monkeypatch):
    """A folder in which a stage prints its name and profile and, if it is `crf`, fails."""
    for name in ("params.yaml", "dvc.yaml"):
        (tmp_path / name).write_text((ROOT / name).read_text(encoding="utf-8"), encoding="utf-8")
    (tmp_path / "bench.py").write_text(
        "import sys; print('doing', *sys.argv[1:]); sys.exit(3 if sys.argv[1] == 'crf' else 0)", encoding="utf-8"
    )
    monkeypatch.chdir(tmp_path)
    return tmp_path


def test_the_command_runs_stages_of_its_profile_and_prints_whose_line_it_is(project, capfd):
    assert main(["all", "--profile", "phantom", "select", "cams"]) == 0
    lines = capfd.readouterr().out.splitlines()
    assert [line for line in lines if "doing" in line] == [
        "cams: doing cams --profile phantom",
        "select: doing select --profile phantom",
    ]


def test_a_stage_that_a_signal_ended_is_named_with_it(project, capfd):
    (project / "bench.py").write_text("import os; os.kill(os.getpid(), 9)", encoding="utf-8")
    assert main(["all", "--profile", "phantom", "crf"]) == 2
    assert "stage crf ended by signal 9 (Killed)" in capfd.readouterr().err


@pytest.mark.parametrize(
    ("trap", "number"),
    [("", signal.SIGINT), ("", signal.SIGTERM), ("trap '' INT;", signal.SIGTERM), ("", signal.SIGHUP)],
)
def test_an_interruption_of_the_command_alone_ends_its_stages_too(project, trap, number):
    (project / "bench.py").write_text(
        "import pathlib, time\n"
        "try:\n"
        "    print('begun', flush=True)\n"
        "    time.sleep(60)\n"
        "except KeyboardInterrupt:\n"
        "    pathlib.Path('interrupted').touch()\n",
        encoding="utf-8",
    )
    line = "import sys; sys.path.insert(0, sys.argv.pop(1)); from bench.cli import main; sys.exit(main(sys.argv[1:]))"
    command = [sys.executable, "-P", "-c", line, str(ROOT), "all", "--profile", "phantom", "crf"]
    shell = ["sh", "-c", f'{trap} exec "$@"', "sh"]
    with subprocess.Popen([*shell, *command], stdout=subprocess.PIPE, encoding="utf-8") as process:
        try:
            assert process.stdout is not None
            assert process.stdout.readline() == "crf: begun\n"
            process.send_signal(number)
            assert process.wait(SECONDS) == 130
        finally:
            process.kill()
    assert (project / "interrupted").is_file()


def test_what_was_stopped_starts_nothing_more(project, capfd):
    processes = Processes("phantom")
    processes.stop()
    assert processes.run("crf") == 130
    assert capfd.readouterr().out == ""


def test_the_command_without_names_runs_every_stage_until_one_fails(project, capfd):
    assert main(["all", "--profile", "phantom"]) == 2
    told = capfd.readouterr()
    assert "error: stage crf ended with 3" in told.err
    begun = {line.split(": doing ")[0] for line in told.out.splitlines() if "doing" in line}
    assert {"download", "cams", "crf"} <= begun
    assert not begun & {"train_weak", "evaluate", "report"}


@pytest.mark.parametrize("arguments", [["--profile", "phantom", "nonsense"], ["--profile", "nonsense"]])
def test_what_is_unknown_is_named_in_one_line(project, capfd, arguments):
    assert main(["all", *arguments]) == 2
    message = capfd.readouterr().err
    assert "nonsense" in message
    assert message.count("\n") == 1


def test_without_a_pipeline_the_message_says_where_to_go(project, capfd):
    (project / "dvc.yaml").unlink()
    assert main(["all", "--profile", "phantom"]) == 2
    assert "dvc.yaml" in capfd.readouterr().err
