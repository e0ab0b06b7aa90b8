"""The report says which lock and which commit its numbers are of."""

import ctypes
import hashlib
import subprocess
import sys

import pytest

from bench.report.provenance import LOCK, provenance


@pytest.fixture
def project(tmp_path, monkeypatch):
    """An empty folder outside any repository, with a lock."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("GIT_CEILING_DIRECTORIES", str(tmp_path.parent))
    LOCK.parent.mkdir()
    LOCK.write_text("a==1\n")
    return tmp_path


def test_the_lock_is_named_by_its_hash(project):
    assert provenance()["lock (SHA-256)"] == hashlib.sha256(b"a==1\n").hexdigest()[:16]
    LOCK.unlink()
    assert provenance()["lock (SHA-256)"] == "no lock file"


def test_a_commit_with_changes_beside_the_reports_says_so(project):
    assert provenance()["commit"] == "not a git checkout"
    identity = ["-c", "user.name=a", "-c", "user.email=a@example.org", "-c", "commit.gpgsign=false"]
    for command in (["init"], ["add", "-A"], ["commit", "-m", "first"]):
        subprocess.run(["git", *identity, *command], check=True, capture_output=True)
    (project / "reports").mkdir()
    (project / "reports" / "report.md").touch()
    clean = provenance()["commit"]
    assert len(clean) == 40
    LOCK.write_text("a==2\n")
    assert provenance()["commit"] == f"{clean} with uncommitted changes"


def test_without_a_driver_there_is_no_gpu_and_no_need_of_pytorch(project, monkeypatch):
    def missing(name):
        raise OSError(f"{name}: cannot open shared object file")

    monkeypatch.setattr(ctypes, "CDLL", missing)
    monkeypatch.setitem(sys.modules, "torch", None)
    assert provenance()["GPU"] == "none"
