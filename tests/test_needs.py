"""What a profile takes from the network, and `fetch`, which brings or checks it."""

import errno
import hashlib
import os
import subprocess
import zipfile
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import requests
import yaml

import bench.fetch
from bench.artefacts import IMAGENET, SAM
from bench.cli import main
from bench.data import busi
from bench.data.phantom import write
from bench.needs import needs
from bench.settings import load, profiles
from tests.http_server import LocalServer
from tests.offline import network_cut

PARAMS = Path(__file__).resolve().parents[1] / "params.yaml"
ARCHIVE = Path(".bench/downloads") / busi.ARCHIVE.file
USED = {"resnet50": IMAGENET["resnet50"].file, "vgg16": IMAGENET["vgg16"].file, "swin_t": IMAGENET["swin_t"].file}
EVERYTHING = {ARCHIVE.name, *USED.values(), SAM["vit_h"].file}


@pytest.fixture(autouse=True)
def _clean(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("BUSI_ZIP", raising=False)
    monkeypatch.delenv("BUSBENCH_WEIGHTS", raising=False)
    monkeypatch.setattr(bench.fetch, "BACKOFF_SECONDS", 0)


@pytest.fixture(scope="module")
def archive(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A data set of three phantoms, zipped."""
    folder = tmp_path_factory.mktemp("data")
    write(folder / "raw", {"benign": 1, "malignant": 1, "normal": 1}, seed=0)
    with zipfile.ZipFile(folder / "busi.zip", "w") as zipped:
        for file in sorted((folder / "raw").rglob("*.png")):
            zipped.write(file, file.relative_to(folder / "raw"))
    busi.write_manifest(folder / "raw", folder / "manifest.csv")
    return folder / "busi.zip"


@pytest.fixture
def project(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, archive: Path) -> Path:
    """A place to work in where the data set is the three phantoms."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(busi, "MANIFEST", archive.with_name("manifest.csv"))
    (tmp_path / "params.yaml").write_bytes(PARAMS.read_bytes())
    return tmp_path


@pytest.fixture
def server(project: Path, monkeypatch: pytest.MonkeyPatch, archive: Path) -> Iterator[LocalServer]:
    """Serves, in miniature, every file that the profile `busi` needs."""
    with LocalServer() as local:
        monkeypatch.setattr(busi, "ARCHIVE", replace(busi.ARCHIVE, urls=(local.url("/busi.zip"),)))
        local.files["/busi.zip"] = archive.read_bytes()
        for table, name in [*((IMAGENET, name) for name in USED), (SAM, "vit_h")]:
            content, known = f"weights of {name}".encode(), table[name]
            local.files[f"/{name}"] = content
            sha256 = hashlib.sha256(content).hexdigest()
            small = replace(known, urls=(local.url(f"/{name}"),), sha256=sha256, size=len(content))
            monkeypatch.setitem(table, name, small)
        yield local


def change(project: Path, profile: str, **blocks: Any) -> None:
    """Lay `blocks` over a profile of the project's params.yaml."""
    content = yaml.safe_load((project / "params.yaml").read_text(encoding="utf-8"))
    for block, values in blocks.items():
        content[profile][block].update(values)
    (project / "params.yaml").write_text(yaml.safe_dump(content), encoding="utf-8")


def files(profile: str) -> dict[str, tuple[str, ...]]:
    return {need.file.name: need.needed_by for need in needs(load(profile))}


def test_what_the_profiles_need(project):
    assert profiles() == ["busi", "busi-scratch", "busi-small", "phantom"]
    assert set(files("busi")) == EVERYTHING
    assert files("busi-scratch") == files("busi-small") == {ARCHIVE.name: ("data",)}
    assert files("phantom") == {}


def test_a_need_names_the_settings_that_ask_for_it(project):
    found = files("busi")
    assert found[USED["vgg16"]] == ("cams.vgg16_cam",)
    assert found[USED["swin_t"]] == ("cams.swin_mil",)
    assert found[USED["resnet50"]] == ("cams.resnet50_cam", "cams.oaa_cam", "cams.recam", "cams.amr", "train")
    assert found[SAM["vit_h"].file] == ("pseudo",)


def test_one_rows_own_network_is_needed_too(project):
    network = {"encoder": "resnet34", "width": 1.0, "initialisation": "imagenet"}
    change(project, "phantom", train={"rows": {"gt_whole": network}})
    assert files("phantom") == {IMAGENET["resnet34"].file: ("train",)}


def test_a_checkpoint_of_ones_own_stands_in_the_place_of_the_official_one(project, capsys):
    (project / "own.pth").write_bytes(b"own")
    own = {"file": "own.pth", "sha256": hashlib.sha256(b"own").hexdigest()}
    change(project, "phantom", pseudo={"segmenter": "sam", "variant": "vit_b", "checkpoint": own})
    assert files("phantom") == {"own.pth": ("pseudo.checkpoint",)}
    assert main(["fetch", "--profile", "phantom"]) == 0
    (project / "own.pth").write_bytes(b"changed")
    assert main(["fetch", "--profile", "phantom"]) == 2
    assert "own.pth is not the expected file" in capsys.readouterr().err


def test_a_profile_that_needs_nothing_says_so(project, capsys):
    with network_cut():
        for options in ([], ["--verify"]):
            assert main(["fetch", "--profile", "phantom", *options]) == 0
            assert capsys.readouterr().out == "phantom needs nothing from the network\n"
    assert not (project / ".bench").exists()


def test_everything_is_brought_once_and_then_found_without_a_network(server, project, capsys):
    assert main(["fetch", "--profile", "busi"]) == 0
    assert set(server.count.values()) == {1}
    assert len(server.count) == len(EVERYTHING)
    found = {file.name for file in (project / ".bench").rglob("*") if file.is_file()}
    assert found == EVERYTHING
    capsys.readouterr()
    with network_cut():
        for options in ([], ["--verify"]):
            assert main(["fetch", "--profile", "busi", *options]) == 0
            assert capsys.readouterr().out.count("verified: ") == len(EVERYTHING)


def test_verify_names_what_is_missing_or_wrong_and_mends_nothing(server, project, capsys):
    assert main(["fetch", "--profile", "busi"]) == 0
    weights = project / ".bench" / "weights"
    (weights / USED["vgg16"]).write_bytes(b"something else")
    (weights / SAM["vit_h"].file).unlink()
    ARCHIVE.write_bytes(ARCHIVE.read_bytes()[:-100])
    before = {file: file.read_bytes() for file in (project / ".bench").rglob("*") if file.is_file()}
    capsys.readouterr()
    with network_cut():
        assert main(["fetch", "--profile", "busi", "--verify"]) == 2
    output = capsys.readouterr()
    assert output.err.startswith("error: 3 of 5 files that busi needs: ")
    assert output.err.count("\n") == 1
    for text in (
        f"{USED['vgg16']} is not the expected file: SHA-256",
        f"{SAM['vit_h'].file} is missing - make fetch brings it",
        f"{ARCHIVE} is not an intact zip archive",
    ):
        assert text in output.err
    assert output.out.count("verified: ") == 2
    assert {file: file.read_bytes() for file in (project / ".bench").rglob("*") if file.is_file()} == before


def test_one_file_that_cannot_be_had_does_not_keep_the_others_away(server, project, capsys):
    server.statuses["/busi.zip"] = [404] * 9
    server.files["/swin_t"] = b"wrong"
    assert main(["fetch", "--profile", "busi"]) == 2
    error = capsys.readouterr().err
    assert error.startswith("error: 2 of 5 files that busi needs: cannot download Dataset_BUSI.zip")
    assert "BUSI_ZIP" in error
    assert "swin_t-704ceda3.pth.wrong" in error
    assert error.count("\n") == 1
    kept = {file.name for file in (project / ".bench" / "weights").iterdir()}
    assert kept == (EVERYTHING - {ARCHIVE.name, USED["swin_t"]}) | {f"{USED['swin_t']}.wrong"}


@pytest.mark.parametrize("options", [[], ["--verify"]])
def test_a_copy_of_the_data_set_is_verified_and_nothing_downloaded(project, monkeypatch, archive, options, capsys):
    monkeypatch.setenv("BUSI_ZIP", str(archive))
    with network_cut():
        assert main(["fetch", "--profile", "busi-small", *options]) == 0
        assert f"verified: {archive} (for data)" in capsys.readouterr().out
        monkeypatch.setenv("BUSI_ZIP", str(project / "gone.zip"))
        assert main(["fetch", "--profile", "busi-small", *options]) == 2
    assert "gone.zip, which does not exist" in capsys.readouterr().err
    assert [item.name for item in project.rglob("*") if item.is_file()] == ["params.yaml"]


@pytest.mark.parametrize("options", [[], ["--verify"]])
def test_a_copy_of_the_data_set_needs_a_place_to_unpack_it(project, monkeypatch, archive, options, capsys):
    def refused(dir: Path) -> None:
        raise OSError(errno.EROFS, os.strerror(errno.EROFS), str(dir / "tmp"))

    monkeypatch.setenv("BUSI_ZIP", str(archive))
    monkeypatch.setattr(busi, "TemporaryDirectory", refused)
    assert main(["fetch", "--profile", "busi-small", *options]) == 2
    assert "cannot write .bench/downloads: Read-only file system - " in capsys.readouterr().err


def test_the_cut_network_is_noticed():
    with LocalServer({"/a": b""}) as server:
        for url in (server.url("/a"), "http://example.invalid/"):
            with pytest.raises(AssertionError), network_cut(), pytest.raises(requests.ConnectionError):
                requests.get(url, timeout=5)


@pytest.mark.parametrize(("variables", "flag"), [([], ""), (["VERIFY=1"], "--verify")])
def test_make_passes_profile_and_flag(variables, flag):
    command = ["make", "--dry-run", "--old-file=.venv/bin/.run", "fetch", "PROFILE=phantom", *variables]
    # A make around the tests would have its say about what this one prints.
    alone = {name: value for name, value in os.environ.items() if name not in ("MAKEFLAGS", "MAKELEVEL", "MFLAGS")}
    done = subprocess.run(command, cwd=PARAMS.parent, check=True, capture_output=True, text=True, env=alone)
    assert done.stdout.split() == ["python", "-m", "bench", "fetch", "--profile", "phantom", *flag.split()]
