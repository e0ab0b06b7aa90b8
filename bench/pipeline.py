"""Reading dvc.yaml: its stages and their places."""

import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import yaml

PIPELINE = Path("dvc.yaml")


def read_stages(pipeline: Path) -> dict[str, Any] | None:
    """The stages of a dvc.yaml; None when there is none."""
    if not pipeline.is_file():
        return None
    stages: dict[str, Any] = yaml.safe_load(pipeline.read_text(encoding="utf-8"))["stages"]
    return stages


def places(stage: Mapping[str, Any], *kinds: str) -> list[str]:
    """The paths of a stage's "deps", "outs", "metrics" or "plots"."""
    entries = [entry for kind in kinds for entry in stage["do"].get(kind, [])]
    return [entry if isinstance(entry, str) else next(iter(entry)) for entry in entries]


def outputs(stage: Mapping[str, Any]) -> list[str]:
    """What a stage writes."""
    return places(stage, "outs", "metrics", "plots")


def overlap(one: str, other: str) -> bool:
    """Whether one place is the other or lies in it."""
    return one == other or one.startswith(f"{other}/") or other.startswith(f"{one}/")


def any_profile(place: str) -> str:
    """A place of one profile as a place of all."""
    return re.sub(r"^(data|reports)/[^/]+", r"\1/${item}", place)
