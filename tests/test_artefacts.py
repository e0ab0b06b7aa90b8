"""The manifest of everything that comes from the network."""

import re
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest
import yaml

from bench.artefacts import ARTEFACTS, MANIFEST, read_manifest

ROOT = Path(__file__).resolve().parents[1]
ENTRIES = {f"{kind}.{name}": artefact for kind, entries in ARTEFACTS.items() for name, artefact in entries.items()}
SOURCES = [file for package in ("bench", "baselines") for file in (ROOT / package).rglob("*.py")]


def test_every_file_has_a_name_of_its_own():
    assert len({artefact.file for artefact in ENTRIES.values()}) == len(ENTRIES) == 9


@pytest.mark.parametrize("entry", ENTRIES)
def test_an_entry_is_complete(entry):
    artefact = ENTRIES[entry]
    assert artefact.urls
    assert all(re.fullmatch(rf"https?://\S+/{re.escape(artefact.file)}", url) for url in artefact.urls)
    assert artefact.size is None or artefact.size > 10_000_000
    assert artefact.licence
    assert artefact.needed_by


def test_only_the_data_set_has_no_hash_because_its_pixels_have():
    assert [entry for entry, artefact in ENTRIES.items() if artefact.sha256 is None] == ["data.busi"]
    assert [entry for entry, artefact in ENTRIES.items() if len(artefact.sha256 or "") == 8] == ["imagenet.swin_t"]


@pytest.mark.parametrize("change", [{"colour": "red"}, {"licence": None}, {"sha256": "ABC"}])
def test_a_bad_entry_is_refused(tmp_path, change):
    content = yaml.safe_load(MANIFEST.read_text(encoding="utf-8"))
    entry = content["sam"]["vit_b"]
    entry.update(change)
    if entry["licence"] is None:
        del entry["licence"]
    path = tmp_path / "artefacts.yaml"
    path.write_text(yaml.safe_dump(content), encoding="utf-8")
    with pytest.raises((TypeError, ValueError), match=next(iter(change))):
        read_manifest(path)


def test_the_manifest_is_the_only_place_that_names_files_to_download():
    found = [file.name for file in SOURCES if re.search(r"https?://\S+\.(pth|pt|zip|npz)\b", file.read_text("utf-8"))]
    assert found == []


def test_one_module_alone_speaks_to_the_network():
    """Libraries would otherwise bring weights by themselves, unverified."""
    speaking = re.compile(
        r"^\s*(?:from|import) (?:requests|urllib|urllib3|http|httpx|huggingface_hub|timm)\b"
        r"|torch\.hub|pretrained=True|weights=[\"']",
        re.MULTILINE,
    )
    assert [file.name for file in SOURCES if speaking.search(file.read_text("utf-8"))] == ["fetch.py"]


def test_the_manifest_is_read_without_torch():
    command = "import sys, bench.needs; sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", command], cwd=ROOT, check=False).returncode == 0


def test_the_manifest_is_part_of_the_package():
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))
    assert MANIFEST.name in project["tool"]["setuptools"]["package-data"]["bench"]
