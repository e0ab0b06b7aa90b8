"""The workflow file: pinned actions, least rights, nothing of a change in a shell line, goals that exist."""

import copy
import re
import tomllib
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml

ROOT = Path(__file__).resolve().parents[1]
FILES = sorted((ROOT / ".github" / "workflows").glob("*.yml"))
(TEXT,) = [file.read_text(encoding="utf-8") for file in FILES]
WORKFLOW = yaml.safe_load(TEXT)
JOBS = WORKFLOW["jobs"]
TRIGGERS = WORKFLOW[True]  # YAML 1.1 reads the key `on` as a truth value
GOALS = set(re.findall(r"^([a-z-]+):", (ROOT / "Makefile").read_text(encoding="utf-8"), re.M))
SAME_REPOSITORY = "github.event.pull_request.head.repo.full_name == github.repository"


def steps(workflow: dict[str, Any]) -> Iterator[tuple[str, dict[str, Any]]]:
    for name, job in workflow["jobs"].items():
        for step in job["steps"]:
            yield name, step


def faults(workflow: dict[str, Any]) -> list[str]:
    """What breaks a rule of security."""
    found = []
    if workflow.get("permissions") != {"contents": "read"}:
        found.append("rights by default")
    if {"pull_request_target", "workflow_run"} & set(workflow[True]):
        found.append("a trigger with a writing token for foreign code")
    for name, job in workflow["jobs"].items():
        if "permissions" not in job:
            continue
        if job["permissions"] != {"pull-requests": "write"} or SAME_REPOSITORY not in job.get("if", ""):
            found.append(f"{name}: rights")
        if any("uses" in step for step in job["steps"]):
            found.append(f"{name}: code beside a writing token")
    for name, step in steps(workflow):
        action = step.get("uses")
        if action and not re.fullmatch(r"actions/[\w-]+@[0-9a-f]{40}", action):
            found.append(f"{name}: {action} is not pinned")
        if action and action.startswith("actions/checkout") and step["with"].get("persist-credentials") is not False:
            found.append(f"{name}: the token stays in the checkout")
        if "${{" in step.get("run", ""):
            found.append(f"{name}: an expression in a shell line")
    return found


def test_the_rules_of_security_are_kept():
    assert faults(WORKFLOW) == []


def unpinned(workflow: dict[str, Any]) -> None:
    workflow["jobs"]["lint"]["steps"][1]["uses"] = "actions/setup-python@v6"


def injected(workflow: dict[str, Any]) -> None:
    workflow["jobs"]["lint"]["steps"].append({"run": "echo ${{ github.head_ref }}"})


def wide(workflow: dict[str, Any]) -> None:
    workflow["permissions"] = "write-all"


def dangerous_trigger(workflow: dict[str, Any]) -> None:
    workflow[True]["pull_request_target"] = None


def writing_demo(workflow: dict[str, Any]) -> None:
    workflow["jobs"]["demo"]["permissions"] = {"pull-requests": "write"}


def for_forks(workflow: dict[str, Any]) -> None:
    workflow["jobs"]["comment"]["if"] = "always()"


def kept_token(workflow: dict[str, Any]) -> None:
    workflow["jobs"]["test"]["steps"][0]["with"] = {}


@pytest.mark.parametrize("plant", [unpinned, injected, wide, dangerous_trigger, writing_demo, for_forks, kept_token])
def test_a_planted_fault_is_found(plant: Callable[[dict[str, Any]], None]):
    workflow = copy.deepcopy(WORKFLOW)
    plant(workflow)
    assert faults(workflow)


def test_every_pin_says_which_version_it_is():
    lines = [line for line in TEXT.splitlines() if "uses:" in line]
    assert lines
    assert all(re.search(r"@[0-9a-f]{40} # v\d+\.\d+\.\d+$", line) for line in lines)


def test_every_goal_that_a_step_makes_is_in_the_makefile():
    made = [
        goal for _, step in steps(WORKFLOW) for goal in re.findall(r"make (?:--\S+ )*([a-z-]+)", step.get("run", ""))
    ]
    assert set(made) == {"audit", "demo", "diff", "licences", "lint", "test"}
    assert set(made) <= GOALS


def test_a_pull_request_shows_the_demo_s_tables_against_its_base():
    assert {"pull_request", "push", "schedule"} <= set(TRIGGERS)
    (diff,) = [step for step in JOBS["demo"]["steps"] if step.get("id") == "diff"]
    assert diff["env"] == {"BASE": "${{ github.event.pull_request.base.sha }}"}
    assert 'make --silent diff A="$BASE"' in diff["run"]
    assert "$GITHUB_STEP_SUMMARY" in diff["run"]
    assert JOBS["comment"]["needs"] == "demo"
    # The base's commit is compared, so the whole history is needed.
    assert JOBS["demo"]["steps"][0]["with"]["fetch-depth"] == 0


def test_the_python_is_the_one_that_the_locks_are_made_for():
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    versions = {step["with"]["python-version"] for _, step in steps(WORKFLOW) if "setup-python" in step.get("uses", "")}
    assert {f">={version}" for version in versions} == {project["requires-python"].split(",")[0]}


def test_no_job_can_hang():
    assert all(job["timeout-minutes"] <= 90 for job in JOBS.values())
