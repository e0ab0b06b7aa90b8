"""Optional torch.compile of what a training computes in every update, and what it costs."""

import os
import shutil
import time
from collections.abc import Callable
from typing import Any, TypeVar, cast

import torch

from bench.errors import UserError
from bench.progress import say

Network = Callable[[torch.Tensor], torch.Tensor]
Losses = Callable[[int], dict[str, torch.Tensor]]
Step = TypeVar("Step", bound=Callable[..., Any])

# Of one function, how many kinds of networks a process may compile; torch runs what goes beyond as it is.
KINDS = 64


def compiled(step: Step, mode: str | None, device: torch.device) -> Step:
    """What torch.compile makes of `step`, a network or a function of one, in `mode`; `step` itself stays plain.

    Without a mode it is `step`. A later training of the same kind in the same process uses the code of the first.
    Raises UserError without the compiler it needs: of C++ on a processor, of C on a GPU.
    """
    if mode is None:
        return step
    wanted = [os.environ.get("CXX", "g++")] if device.type == "cpu" else [os.environ.get("CC", "gcc"), "clang"]
    if not any(map(shutil.which, wanted)):
        raise UserError(f"compile: {mode} needs {' or '.join(wanted)}, which is not here - install it, or set null")
    torch._dynamo.config.recompile_limit = KINDS
    if mode == "reduce-overhead":
        # Its graphs hold an earlier training's memory and addresses.
        torch.compiler.reset()
    return cast("Step", torch.compile(step, mode=mode, dynamic=False))


def first_update_timed(losses: Losses, what: str, mode: str | None) -> Losses:
    """With a mode, `losses` that also says once how long the first update took: most of it is the compilation."""
    if mode is None:
        return losses
    started: list[float] = []

    def timed(update: int) -> dict[str, torch.Tensor]:
        if len(started) == 1:
            say(f"{what}: the first update, which compiles, took {time.monotonic() - started[0]:.0f} s")
        if len(started) < 2:
            started.append(time.monotonic())
        return losses(update)

    return timed
