"""The Dockerfile, what reaches its builder, and how make runs the image; read and dry-run, nothing is built."""

import os
import re
import shlex
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
TARGETS = ("cpu", "gpu", "test")
LOCKS = ("run.txt", "dev.txt")
BUILD_TOOLS = re.compile(r"g\+\+.*|gcc.*|clang.*|build-essential|cmake|cython.*|.*-dev")

Instruction = tuple[str, str]


def instructions(text: str) -> Iterator[Instruction]:
    """(keyword, rest) of every instruction, continued lines joined, comments left out."""
    kept = "".join(line for line in text.splitlines(keepends=True) if not line.lstrip().startswith("#"))
    for line in kept.replace("\\\n", " ").splitlines():
        if line.strip():
            keyword, _, rest = line.strip().partition(" ")
            yield keyword.upper(), " ".join(rest.split())


ALL = list(instructions((ROOT / "Dockerfile").read_text(encoding="utf-8")))
GLOBAL = ALL[: [keyword for keyword, _ in ALL].index("FROM")]


def read_stages() -> dict[str, tuple[str, list[Instruction]]]:
    """Name of a stage -> what it is built from, its own instructions."""
    found: dict[str, tuple[str, list[Instruction]]] = {}
    for keyword, rest in ALL[len(GLOBAL) :]:
        if keyword == "FROM":
            base, _, name = rest.split()
            found[name] = (base, [])
        else:
            found[list(found)[-1]][1].append((keyword, rest))
    return found


STAGES = read_stages()


def chain(stage: str) -> list[Instruction]:
    """The instructions of a stage after those of the stages that it is built from."""
    base, own = STAGES[stage]
    return [*(chain(base) if base in STAGES else []), *own]


def values(stage: str, keyword: str) -> list[str]:
    return [rest for found, rest in chain(stage) if found == keyword]


def variables(stage: str, keyword: str = "ENV") -> dict[str, str]:
    return dict(word.split("=", 1) for rest in values(stage, keyword) for word in shlex.split(rest))


def debian_packages(stage: str) -> set[str]:
    lines = [part for rest in values(stage, "RUN") for part in rest.split("&&") if "apt-get install" in part]
    return {word for line in lines for word in line.split()[2:] if not word.startswith("-")}


def test_every_stage_begins_at_the_base_image_which_is_pinned_by_digest():
    (base,) = [rest for keyword, rest in GLOBAL if keyword == "ARG"]
    assert re.fullmatch(r"BASE=python:3\.11-slim-bookworm@sha256:[0-9a-f]{64}", base)
    earlier = {"${BASE}"}
    for name, (start, _) in STAGES.items():
        assert start in earlier
        earlier.add(name)


def test_the_targets_are_there_and_the_default_is_cpu():
    assert set(TARGETS) <= set(STAGES)
    assert list(STAGES)[-1] == "cpu"


@pytest.mark.parametrize("target", TARGETS)
def test_a_target_runs_as_another_user_than_root(target):
    user = values(target, "USER")[-1]
    assert re.fullmatch(r"[1-9]\d*:[1-9]\d*", user)


@pytest.mark.parametrize("target", TARGETS)
def test_a_target_holds_no_build_tools(target):
    assert {"git", "make", "tini"} == debian_packages(target)
    assert debian_packages("packages") == {"g++"}
    assert [package for package in debian_packages("packages") if not BUILD_TOOLS.fullmatch(package)] == []
    taken = [rest for rest in values(target, "COPY") if rest.startswith("--from=")]
    assert taken == ["--from=packages /opt/venv /opt/venv"]


def test_python_packages_come_from_the_locks_with_hashes():
    installs = [
        part
        for _, own in STAGES.values()
        for keyword, rest in own
        if keyword == "RUN"
        for part in rest.split("&&")
        if "pip install" in part
    ]
    assert {name for part in installs for name in re.findall(r"-r (\S+)", part)} == {"uv.txt", *LOCKS}
    assert all("--require-hashes" in part for part in installs)
    assert all("--build-constraints build.txt" in part for part in installs if "uv pip" in part)


@pytest.mark.parametrize("target", TARGETS)
def test_all_that_is_written_lies_in_the_mounted_folder(target):
    environment = variables(target)
    for name in ("HOME", "DVC_SITE_CACHE_DIR"):
        assert environment[name].startswith("/work/.bench/")
    assert environment["DVC_NO_ANALYTICS"] == "1"
    assert values(target, "WORKDIR")[-1] == "/work"
    assert any("git config --system safe.directory /work" in rest for rest in values(target, "RUN"))
    assert values(target, "VOLUME") == []


@pytest.mark.parametrize("target", TARGETS)
def test_a_target_has_an_init_labels_and_no_health_check(target):
    assert values(target, "ENTRYPOINT") == ['["tini", "--"]']
    labels = variables(target, "LABEL")
    assert labels["org.opencontainers.image.source"] == "${SOURCE}"
    assert labels["org.opencontainers.image.revision"] == "${REVISION}"
    assert values(target, "HEALTHCHECK") == []


def test_gpu_differs_from_cpu_in_what_it_asks_of_the_driver_alone():
    assert STAGES["gpu"][0] == STAGES["cpu"][0] == STAGES["test"][0]
    assert set(variables("gpu")) - set(variables("cpu")) == {
        "NVIDIA_VISIBLE_DEVICES",
        "NVIDIA_DRIVER_CAPABILITIES",
        "NVIDIA_REQUIRE_CUDA",
    }
    assert {keyword for keyword, _ in STAGES["gpu"][1]} == {"ENV", "CMD"}


def test_only_the_locks_reach_the_builder():
    rules = (ROOT / ".dockerignore").read_text(encoding="utf-8").splitlines()
    assert [rule for rule in rules if not rule.startswith("#")] == ["*", "!requirements/*.txt"]
    copies = [rest for keyword, rest in ALL if keyword in ("ADD", "COPY") and "--from=" not in rest]
    for place in [place for rest in copies for place in rest.split()[:-1]]:
        assert re.fullmatch(r"requirements/\w+\.txt", place)
        assert (ROOT / place).is_file()


def make(*arguments: str, **environment: str) -> subprocess.CompletedProcess[str]:
    command = ["make", "--no-print-directory", *arguments]
    kept = {name: value for name, value in os.environ.items() if name not in ("MAKEFLAGS", "BUSI_ZIP")}
    return subprocess.run(command, cwd=ROOT, env={**kept, **environment}, capture_output=True, text=True, check=False)


@pytest.fixture
def environment(tmp_path):
    """What the image has at /opt/venv, without its packages."""
    for lock in LOCKS:
        shutil.copy(ROOT / "requirements" / lock, tmp_path)
    return tmp_path


@pytest.mark.parametrize("lock", LOCKS)
def test_in_the_image_nothing_is_installed_and_another_lock_is_refused(environment, lock):
    stamp = f"{environment}/bin/.{Path(lock).stem}"
    done = make(stamp, BUSBENCH_ENV=str(environment))
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")
    with (environment / lock).open("a") as stream:
        stream.write("one==1\n")
    done = make(stamp, BUSBENCH_ENV=str(environment))
    assert done.returncode == 2
    assert f"requirements/{lock}" in done.stdout + done.stderr
    (environment / lock).unlink()
    assert make(stamp, BUSBENCH_ENV=str(environment)).returncode == 2


@pytest.mark.parametrize("goal", ["demo", "test"])
def test_in_the_image_the_goals_run_without_set_up(environment, goal):
    lines = make("--dry-run", goal, BUSBENCH_ENV=str(environment)).stdout
    assert "pip install" not in lines
    assert "venv" not in lines.replace(str(environment), "")


@pytest.mark.parametrize(
    ("goal", "network"), [("docker-demo", False), ("docker-reproduce", True), ("docker-test", False)]
)
def test_the_container_runs_as_the_caller_without_rights(goal, network):
    lines = make("--dry-run", goal, DOCKER="podman").stdout.replace("\\\n", " ")
    (run,) = [line for line in lines.splitlines() if "podman run" in line]
    for part in ("--rm", "--read-only", "--cap-drop ALL", "no-new-privileges", "--user $(id -u):$(id -g)", ":/work"):
        assert part in run
    assert ("--network none" in run) != network
    assert re.search(r"podman build --target \w+ --tag busbench:\w+ .*image\.source=\S+ .*image\.revision=", lines)


def test_the_user_s_data_and_weights_are_mounted(tmp_path):
    archive = tmp_path / "busi.zip"
    lines = make("--dry-run", "docker-reproduce", BUSI_ZIP=str(archive), BUSBENCH_WEIGHTS=str(tmp_path)).stdout
    assert f'--volume "{archive}:/busi:ro" --env BUSI_ZIP=/busi' in lines
    assert f'--volume "{tmp_path}:/weights" --env BUSBENCH_WEIGHTS=/weights' in lines


def test_a_gpu_is_passed_on_where_there_is_one(tmp_path):
    programme = tmp_path / "nvidia-smi"
    programme.write_text("#!/bin/sh\necho 'GPU 0: made up'\n")
    programme.chmod(0o755)
    lines = make("--dry-run", "docker-reproduce", PATH=f"{tmp_path}:{os.environ['PATH']}").stdout
    assert "--target gpu" in lines
    assert "--gpus all" in lines
    programme.write_text("#!/bin/sh\nexit 9\n")
    lines = make("--dry-run", "docker-reproduce", PATH=f"{tmp_path}:{os.environ['PATH']}").stdout
    assert "--target cpu" in lines
    assert "--gpus" not in lines
