"""Where the numbers come from: commit, versions, machine. Names of hosts and users are left out."""

import ctypes
import importlib.metadata
import platform
from pathlib import Path

from bench.files import digest
from bench.firewall import status
from bench.git import git
from bench.pipeline import PIPELINE, read_stages
from bench.store import PACKAGES

LOCK = Path("requirements/run.txt")


def provenance() -> dict[str, str]:
    """Facts by name, for printing."""
    return {
        "commit": _commit(),
        "lock (SHA-256)": digest(LOCK)[:16] if LOCK.is_file() else "no lock file",
        "Python": platform.python_version(),
        **{package: _version(package) for package in PACKAGES},
        "processor": _processor(),
        "GPU": _gpu(),
        **{f"mask firewall: {name}": value for name, value in status(read_stages(PIPELINE)).items()},
    }


def _commit() -> str:
    head = git("rev-parse", "HEAD")
    if not head:
        return "not a git checkout"
    # Reports are written while the stage runs, so they say nothing about the code's state.
    changed = git("status", "--porcelain", "--", ".", ":!reports", ":!dvc.lock")
    return f"{head}{' with uncommitted changes' if changed else ''}"


def _version(package: str) -> str:
    try:
        return importlib.metadata.version(package)
    except importlib.metadata.PackageNotFoundError:
        return "not installed"


def _processor() -> str:
    info = Path("/proc/cpuinfo")
    if info.is_file():
        for line in info.read_text(encoding="utf-8").splitlines():
            if line.startswith("model name"):
                return line.split(":", 1)[1].strip()
    return platform.processor() or platform.machine()


def _gpu() -> str:
    try:
        ctypes.CDLL("libcuda.so.1")
    except OSError:
        return "none"  # known without importing PyTorch, which takes seconds
    import torch

    if not torch.cuda.is_available():
        return "none"
    return f"{torch.cuda.get_device_name()}, CUDA {torch.version.cuda}"
