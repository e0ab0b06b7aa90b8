"""Which stages of dvc.yaml can see pixel masks, and what of their outputs the others read."""

from collections.abc import Mapping
from typing import Any

from bench.pipeline import any_profile, outputs, overlap, places

PLACES = ("data/${item}/raw", "data/${item}/masks")
# Makes the raw data set, masks included, and reads none of it.
SOURCE = "download"


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
