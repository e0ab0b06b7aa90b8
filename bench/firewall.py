"""Which stages of dvc.yaml can see pixel masks, and what of their outputs the others read."""

import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import yaml

PLACES = ("data/${item}/raw", "data/${item}/masks")
# Makes the raw data set, masks included, and reads none of it.
SOURCE = "download"


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


def mask_readers(stages: Mapping[str, Any]) -> set[str]:
    """The stages that depend on masks or on the raw data, which hold them."""
    return {
        name
        for name, stage in stages.items()
        if any(overlap(any_profile(dep), place) for dep in places(stage, "deps") for place in PLACES)
    }


def passed_on(stages: Mapping[str, Any]) -> set[tuple[str, str]]:
    """(stage, dependency) where a stage that reads no mask depends on what one that does has written."""
    readers = mask_readers(stages)
    written = {out for name in readers for out in outputs(stages[name])}
    return {
        (name, dep)
        for name in set(stages) - readers
        for dep in places(stages[name], "deps")
        if any(overlap(any_profile(dep), out) for out in written)
    }


def status(stages: Mapping[str, Any] | None) -> dict[str, str]:
    """What a report says of the firewall, read off the dependencies and not promised."""
    if stages is None:
        return {"stages that read masks": "not known, there is no dvc.yaml"}
    readers, passed = mask_readers(stages), passed_on(stages)
    users: dict[str, dict[str, None]] = {}
    for name, stage in stages.items():
        for dep in places(stage, "deps"):
            if (name, dep) in passed:
                users.setdefault(any_profile(dep).split("/")[2], {})[name] = None
    return {
        "stages that read masks": ", ".join(name for name in stages if name in readers),
        "stages that read none": ", ".join(name for name in stages if name not in readers and name != SOURCE),
        "what these get from those": "; ".join(f"{place} ({', '.join(names)})" for place, names in users.items()),
    }
