"""Which engine is taken, and what of it reaches an item."""

import os
import sys
from pathlib import Path

import pytest
import yaml
from pydantic import ValidationError

from bench import engine
from bench.engine import choose, slots_here
from bench.errors import UserError
from bench.schema import Engine
from bench.stages.common import machine
from bench.store import Item

CPU = Item("item", "bench.items.segmentation:run", {"device": "cpu"}, {})
GPU = Item("item", "bench.items.segmentation:run", {"device": "cuda"}, {})


def settings(kind="auto", device="cpu", threads=2, gpus_per_item=1.0) -> Engine:
    return Engine.model_validate(
        {"kind": kind, "device": device, "threads": threads, "gpus_per_item": gpus_per_item, "checkpoint_seconds": 0.0}
    )


@pytest.fixture
def machine_of(monkeypatch):
    """Pretend to be on a machine with so many cores and GPUs, with Ray, on no cluster."""

    def pretend(cores, gpus=0, ray=True, address=None):
        import torch

        monkeypatch.setattr(os, "sched_getaffinity", lambda process: set(range(cores)))
        monkeypatch.setattr(torch.cuda, "device_count", lambda: gpus)
        monkeypatch.setattr(torch.cuda, "is_available", lambda: gpus > 0)
        monkeypatch.setattr(engine, "_installed", lambda: ray)
        if address is None:
            monkeypatch.delenv("RAY_ADDRESS", raising=False)
        else:
            monkeypatch.setenv("RAY_ADDRESS", address)

    return pretend


@pytest.mark.parametrize(
    ("kind", "missing", "pretended", "expected"),
    [
        ("auto", 2, {"cores": 4}, "ray"),
        ("auto", 2, {"cores": 3}, "inline"),  # room for one item of two threads
        ("auto", 1, {"cores": 8}, "inline"),
        ("auto", 0, {"cores": 8}, "inline"),
        ("auto", 2, {"cores": 4, "ray": False}, "processes"),
        ("auto", 2, {"cores": 3, "ray": False}, "inline"),
        ("auto", 2, {"cores": 4, "address": ""}, "ray"),
        ("auto", 1, {"cores": 1, "address": "head:6379"}, "ray"),
        ("auto", 0, {"cores": 1, "address": "head:6379"}, "inline"),
        ("auto", 2, {"cores": 1, "address": "head:6379", "ray": False}, "inline"),
        ("processes", 2, {"cores": 4}, "processes"),
        ("processes", 2, {"cores": 3}, "inline"),
        ("processes", 1, {"cores": 4}, "inline"),
        ("processes", 2, {"cores": 4, "address": "head:6379"}, "ray"),
        ("processes", 2, {"cores": 4, "address": "head:6379", "ray": False}, "processes"),
        ("inline", 2, {"cores": 8, "address": "head:6379"}, "inline"),
        ("ray", 1, {"cores": 1}, "ray"),
        ("ray", 0, {"cores": 1}, "inline"),
    ],
)
def test_items_run_side_by_side_where_that_can_help(machine_of, kind, missing, pretended, expected):
    machine_of(**pretended)
    assert choose(settings(kind), [CPU] * missing) == expected


@pytest.mark.parametrize(("ray", "expected"), [(True, "ray"), (False, "inline")])
@pytest.mark.parametrize("kind", ["auto", "processes"])
def test_gpus_are_shared_by_ray_alone(machine_of, kind, ray, expected):
    machine_of(cores=8, gpus=1, ray=ray)
    assert choose(settings(kind, "cuda", gpus_per_item=0.5), [GPU] * 2) == expected


@pytest.mark.parametrize(
    ("cores", "gpus", "share", "slots"),
    [
        (8, 1, 1.0, 1),
        (8, 2, 1.0, 2),
        (8, 1, 0.25, 4),
        (8, 2, 0.3, 6),
        (3, 2, 0.25, 3),  # a core for each
        (8, 4, 2.0, 2),
        (8, 0, 1.0, 0),
    ],
)
def test_on_gpus_their_shares_count(machine_of, cores, gpus, share, slots):
    machine_of(cores, gpus)
    assert slots_here(settings(device="cuda", gpus_per_item=share), GPU) == slots
    assert slots_here(settings(device="cuda", gpus_per_item=share), CPU) == cores // 2


@pytest.mark.parametrize("share", [0.0, -1.0, 1.5, "1"])
def test_an_impossible_share_of_a_gpu_is_refused(share):
    with pytest.raises(ValidationError):
        settings(gpus_per_item=share)


def test_ray_without_the_package_is_a_user_error_that_says_what_to_do(monkeypatch):
    monkeypatch.setitem(sys.modules, "ray", None)
    with pytest.raises(UserError, match=r"pip install '\.\[cluster\]'"):
        choose(settings("ray"), [CPU])
    assert choose(settings("auto"), [CPU, CPU]) != "ray"


def test_the_engine_is_not_part_of_an_item(machine_of):
    """Its key would change, and with it every stored result be lost."""
    machine_of(cores=8, gpus=1)
    engines = [
        settings(kind, "auto", 2, share) for kind in ("auto", "inline", "processes", "ray") for share in (1.0, 0.5)
    ]
    assert [machine(engine) for engine in engines] == [{"device": "cuda", "threads": 2}] * len(engines)


def test_a_cluster_may_have_the_gpus_that_this_machine_lacks(machine_of):
    machine_of(cores=8, address="head:6379")
    assert machine(settings("auto", "cuda")) == {"device": "cuda", "threads": 2}
    assert machine(settings("auto", "auto")) == {"device": "cpu", "threads": 2}
    with pytest.raises(UserError, match="finds no GPU"):
        machine(settings("inline", "cuda"))


def test_every_profile_leaves_the_choice_to_the_machine_and_the_demo_leaves_ray_out():
    """Its items are so short that Ray's start would be a large part of a stage."""
    content = yaml.safe_load((Path(__file__).resolve().parents[1] / "params.yaml").read_text(encoding="utf-8"))
    kinds = {profile: content[profile]["engine"]["kind"] for profile in content["profiles"]}
    assert kinds.pop("phantom") == "processes"
    assert set(kinds.values()) == {"auto"}
