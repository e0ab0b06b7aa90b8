"""Optional torch.compile of a network in training, and what it costs."""

import os
import shutil
import time
from collections.abc import Callable

import torch

from bench.errors import UserError
from bench.progress import say

Network = Callable[[torch.Tensor], torch.Tensor]
Losses = Callable[[int], dict[str, torch.Tensor]]


def compiled(net: Network, mode: str | None, device: torch.device) -> Network:
    """What torch.compile makes of `net` in `mode`, with the same parameters and buffers; `net` itself stays plain.

    Without a mode it is `net`. Raises UserError without the compiler it needs: of C++ on a processor, of C on a GPU.
    """
    if mode is None:
        return net
    wanted = [os.environ.get("CXX", "g++")] if device.type == "cpu" else [os.environ.get("CC", "gcc"), "clang"]
    if not any(map(shutil.which, wanted)):
        raise UserError(f"compile: {mode} needs {' or '.join(wanted)}, which is not here - install it, or set null")
    # What earlier items of this process compiled counts towards a limit, beyond which nothing more is compiled.
    torch.compiler.reset()
    faster: Network = torch.compile(net, mode=mode, dynamic=False)
    return faster


def first_update_timed(losses: Losses, what: str) -> Losses:
    """`losses`, which also says once how long the first update took: most of it is the compilation."""
    started: list[float] = []

    def timed(update: int) -> dict[str, torch.Tensor]:
        if len(started) == 1:
            say(f"{what}: the first update, which compiles, took {time.monotonic() - started[0]:.0f} s")
        if len(started) < 2:
            started.append(time.monotonic())
        return losses(update)

    return timed
