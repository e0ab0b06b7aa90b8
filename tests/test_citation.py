"""CITATION.cff says what the package says."""

import tomllib
from pathlib import Path

import yaml

ROOT = Path(__file__).resolve().parents[1]


def test_it_names_the_packages_version_licence_and_authors():
    cited = yaml.safe_load((ROOT / "CITATION.cff").read_text(encoding="utf-8"))
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    assert (cited["version"], cited["license"]) == (project["version"], project["license"])
    assert cited["title"].startswith(project["name"])
    assert cited["authors"][0]["name"] in (ROOT / "LICENSE").read_text(encoding="utf-8")
