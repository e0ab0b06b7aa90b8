"""pyproject.toml, the Makefile's lock rules and requirements/ agree; read from the files, without a network."""

import copy
import re
import subprocess
import tomllib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

ROOT = Path(__file__).resolve().parents[1]
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
MAKEFILE = (ROOT / "Makefile").read_text(encoding="utf-8")
PIN = re.compile(r"(?P<pin>[^\s#].*?)(?P<hashes>(?: \\\n    --hash=sha256:[0-9a-f]{64})+)\n")
# Options and hosts that would tie an installation to one package index.
INDEX = re.compile(r"--(?:extra-)?index-url|--find-links|pypi\.org/simple|pythonhosted\.org|pytorch\.org/whl")

Pins = dict[str, dict[str, tuple[str, frozenset[str]]]]


def read_lock(text: str) -> Pins:
    """Name -> marker -> version and hashes; every character of the lock must be part of a hashed pin."""
    assert PIN.sub("", text) == ""
    pins: Pins = {}
    for found in PIN.finditer(text):
        pin = Requirement(found["pin"])
        (only,) = pin.specifier
        assert only.operator == "=="
        hashes = frozenset(re.findall(r"[0-9a-f]{64}", found["hashes"]))
        pins.setdefault(canonicalize_name(pin.name), {})[str(pin.marker)] = (only.version, hashes)
    return pins


LOCKS = {file.name: read_lock(file.read_text(encoding="utf-8")) for file in (ROOT / "requirements").glob("*.txt")}
# Lock -> the extras of pyproject.toml that it holds.
RULES = {
    output: re.findall(r"--extra (\S+)", options)
    for options, output in re.findall(r"\$\(LOCK\) pyproject\.toml(.*) -o requirements/(\S+)", MAKEFILE)
}


def wanted(project: dict[str, Any], extras: list[str]) -> Iterator[Requirement]:
    yield from map(Requirement, project["dependencies"])
    for extra in extras:
        yield from map(Requirement, project["optional-dependencies"][extra])


def disagreements(project: dict[str, Any], pins: Pins, extras: list[str]) -> list[str]:
    """Direct requirements without a pin, or with one that they do not allow."""
    return [
        str(requirement)
        for requirement in wanted(project, extras)
        for versions in [pins.get(canonicalize_name(requirement.name), {}).values()]
        if not versions or not all(requirement.specifier.contains(version, prereleases=True) for version, _ in versions)
    ]


def test_every_extra_is_locked_somewhere():
    assert {"run.txt", "dev.txt"} <= set(RULES) <= set(LOCKS)
    assert {extra for extras in RULES.values() for extra in extras} == set(PROJECT["optional-dependencies"])


@pytest.mark.parametrize("lock", RULES)
def test_the_lock_holds_what_pyproject_asks_for(lock):
    assert disagreements(PROJECT, LOCKS[lock], RULES[lock]) == []


@pytest.mark.parametrize("requirement", ["numpy>=99", "no-such-package"])
def test_a_disagreement_is_found(requirement):
    changed = copy.deepcopy(PROJECT)
    changed["dependencies"].append(requirement)
    assert disagreements(changed, LOCKS["run.txt"], RULES["run.txt"]) == [requirement]


def test_what_runs_is_what_is_developed_with():
    for name, versions in LOCKS["run.txt"].items():
        assert LOCKS["dev.txt"][name] == versions, name


def test_what_builds_packages_is_of_one_version_with_what_is_installed():
    for name in LOCKS["build.txt"].keys() & LOCKS["dev.txt"].keys():
        assert LOCKS["build.txt"][name] == LOCKS["dev.txt"][name], name


def test_the_lock_is_made_for_the_oldest_python():
    (version,) = re.findall(r"--python-version (\S+)", MAKEFILE)
    assert PROJECT["requires-python"].startswith(f">={version},")


def test_the_makefile_takes_the_pythons_that_the_package_takes():
    lowest, past = re.fullmatch(r">=3\.(\d+),<3\.(\d+)", PROJECT["requires-python"]).groups()
    assert f"(3, {lowest}) <= sys.version_info < (3, {past})" in MAKEFILE


@pytest.mark.parametrize("text", ["a==1\n", "a>=1 \\\n    --hash=sha256:" + "0" * 64 + "\n", "--index-url x\n"])
def test_a_line_without_a_hash_or_a_version_is_found(text):
    with pytest.raises(AssertionError):
        read_lock(text)


def test_every_installation_checks_hashes():
    commands = [line for line in MAKEFILE.splitlines() if re.search(r"pip install|^\t\$\(INSTALL\)", line)]
    assert len(commands) >= 4
    assert all("--require-hashes" in line or line.startswith("\t$(INSTALL)") for line in commands)
    assert re.search(r"^INSTALL := .*--require-hashes --build-constraints requirements/build\.txt", MAKEFILE, re.M)


def test_no_committed_file_names_a_package_index():
    listed = subprocess.run(["git", "ls-files", "-z"], cwd=ROOT, capture_output=True, text=True, check=False)
    if listed.returncode != 0:
        pytest.skip("not a git checkout")
    files = [ROOT / name for name in listed.stdout.split("\0") if name and ROOT / name != Path(__file__)]
    texts = {file: file.read_text(encoding="utf-8", errors="replace") for file in files if file.is_file()}
    assert texts
    assert [file for file, text in texts.items() if INDEX.search(text)] == []
