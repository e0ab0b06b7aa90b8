"""LICENCES.md is complete and says what the installed packages say of themselves."""

import re
from pathlib import Path

import pytest

from bench.artefacts import BUSI, IMAGENET, SAM
from bench.errors import UserError
from bench.licences import FILE, UNSTATED, Package, licence, locked
from bench.methods import methods

ROOT = Path(__file__).resolve().parents[1]
TEXT = (ROOT / FILE).read_text(encoding="utf-8")
PACKAGES = locked(ROOT / "requirements")
ROWS = {
    (cells[0], cells[1]): (cells[2], cells[3])
    for cells in (re.split(r"\s*\|\s*", line.strip("| ")) for line in TEXT.splitlines() if line.startswith("| "))
    if len(cells) == 4
}


def test_every_locked_package_is_listed():
    for package in PACKAGES:
        listed = (package.name, package.version) in ROWS
        assert listed or f" {package.name} {package.version}" in TEXT, f"{package} - run make licences"


def test_the_rows_say_what_the_installed_packages_say():
    checked = 0
    for package in PACKAGES:
        try:
            stated = licence(package)
        except UserError:
            continue  # only `make licences` installs all of them
        assert ROWS.get((package.name, package.version), (stated,))[0] == stated, f"{package} - run make licences"
        checked += 1
    assert checked > 50


def test_nothing_that_is_required_is_non_commercial():
    required = {name: stated for (name, _), (stated, purpose) in ROWS.items() if purpose == "to run"}
    assert len(required) > 100
    assert {name for name, stated in required.items() if re.search(r"(?i)non-?commercial|\bNC\b", stated)} == set()


def test_weights_data_and_original_code_are_listed():
    for artefact in (*IMAGENET.values(), *SAM.values()):
        assert artefact.file in TEXT
    assert BUSI.licence in TEXT
    for name, spec in methods().items():
        assert re.search(rf"^\| {name} .*{re.escape(spec.licence)}", TEXT, re.M)


def installed(folder: Path, metadata: str, licence_file: str = "") -> Package:
    """A package that is nothing but metadata."""
    info = folder / "made_up-1.0.dist-info"
    info.mkdir()
    (info / "METADATA").write_text(f"Metadata-Version: 2.4\nName: made-up\nVersion: 1.0\n{metadata}")
    (info / "LICENSE").write_text(licence_file)
    return Package("made-up", "1.0", "to run", True)


LONG = "License: All rights reserved.\n        and a whole text\n"
CLASSIFIER = "Classifier: License :: OSI Approved :: BSD License\n"


@pytest.mark.parametrize(
    ("metadata", "licence_file", "stated"),
    [
        ("License-Expression: MIT\nLicense: BSD\n", "", "MIT"),
        (f"License: BSD\n{CLASSIFIER}", "", "BSD"),
        (LONG + CLASSIFIER, "", "BSD License"),
        ("License-File: LICENSE\n", "\n  Apache License\n  Version 2.0\n", "Apache License"),
        ("", "", UNSTATED),
    ],
    ids=["expression", "short text", "classifier", "file", "nothing"],
)
def test_the_clearest_statement_is_taken(tmp_path, monkeypatch, metadata, licence_file, stated):
    monkeypatch.syspath_prepend(tmp_path)
    assert licence(installed(tmp_path, metadata, licence_file)) == stated


def test_a_package_that_is_missing_or_of_another_version_is_named(tmp_path, monkeypatch):
    monkeypatch.syspath_prepend(tmp_path)
    installed(tmp_path, "")
    with pytest.raises(UserError, match=r"made-up is 1\.0, the lock wants 2\.0"):
        licence(Package("made-up", "2.0", "to run", True))
    with pytest.raises(UserError, match="absent is not installed"):
        licence(Package("absent", "1.0", "to run", True))


def test_a_package_of_another_system_is_not_wanted_here(tmp_path):
    for name in ("dev", "build", "uv"):
        (tmp_path / f"{name}.txt").write_text("a==1 \\\n    --hash=sha256:0\n")
    (tmp_path / "run.txt").write_text("b==2 ; sys_platform == 'nowhere' \\\n    --hash=sha256:0\na==1\n")
    assert locked(tmp_path) == [Package("b", "2", "to run", False), Package("a", "1", "to run", True)]
