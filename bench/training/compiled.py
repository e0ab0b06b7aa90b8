"""Optional torch.compile of a network in training, and what it costs."""

import os
import shutil
import time
from collections.abc import Callable

import torch

from bench.errors import UserError
from bench.progress import say

Losses = Callable[[int], dict[str, torch.Tensor]]


def compile_in_place(net: torch.nn.Module, mode: str) -> None:
    """Let calls of `net` run what torch.compile makes of it in `mode`; parameters and state stay where they are.

    Raises UserError without the C++ compiler that it needs.
    """
    compiler = os.environ.get("CXX", "g++")
    if not shutil.which(compiler):
        raise UserError(f"compile: {mode} needs a C++ compiler, and there is no {compiler} - install it, or set null")
    net.compile(mode=mode, dynamic=False)


def first_update_timed(losses: Losses, what: str) -> Losses:
    """`losses`, which also says once how long the first update took; what is compiled is compiled in it."""
    started: list[float] = []

    def timed(update: int) -> dict[str, torch.Tensor]:
        if len(started) == 1:
            say(f"{what}: compiled, the first update took {time.monotonic() - started[0]:.0f} s")
        if len(started) < 2:
            started.append(time.monotonic())
        return losses(update)

    return timed
