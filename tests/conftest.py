"""Fixtures that several test files share."""

import os
from pathlib import Path

import pytest

from bench.data import busi


@pytest.fixture(scope="session")
def busi_raw(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The verified BUSI data set as the download stage leaves it."""
    source = os.environ.get("BUSI_ZIP")
    if not source:
        pytest.skip("BUSI_ZIP does not name the BUSI archive")
    folder = tmp_path_factory.mktemp("busi")
    busi.obtain(folder / "raw", folder / "downloads", source)
    return folder / "raw"
