"""BatchNorm statistics for weights that have just been trained fast."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager

import numpy as np
import torch
from torch.nn.modules.batchnorm import _BatchNorm

from bench.runtime import Context, generator
from bench.training.augment import normalise, to_float


def settle(
    net: torch.nn.Module,
    images: np.ndarray,
    forward: Callable[[torch.Tensor], object],
    batch_size: int,
    seed: int,
    context: Context,
) -> None:
    """Estimate the statistics of the live BatchNorms of `net` anew on un-augmented uint8 grey images (n, S, S).

    net: in the modes of its training. forward: passes normalised RGB (B, 3, S, S) through `net`. Each image is seen
    at most once, in full batches of random order; the weights stay as they are.
    """
    draw = generator(context.device, "settle", seed)
    shuffled = torch.randperm(len(images), generator=draw, device=context.device)
    full = max(len(images) // batch_size, 1) * batch_size
    grey = torch.from_numpy(images).to(context.device)
    with torch.no_grad(), context.autocast(), _counting_anew(net):
        for picked in torch.split(shuffled[:full], batch_size):
            forward(normalise(to_float(grey[picked])))


@contextmanager
def _counting_anew(net: torch.nn.Module) -> Iterator[None]:
    """Inside, live BatchNorms forget their statistics and take the plain mean over the batches they see.

    The usual moving averages lag behind weights that still change fast: on BUSI without pretrained weights AMR's
    compensation branch recognised 5 % of the normal images it was trained on, and 77 % with statistics counted anew.
    """
    norms = [part for part in net.modules() if isinstance(part, _BatchNorm)]
    live = [norm for norm in norms if norm.track_running_stats and norm.training]
    usual = [norm.momentum for norm in live]
    # With a momentum of None PyTorch takes the plain mean itself, but asks the GPU for its count at every call.
    seen = dict.fromkeys(live, 0)

    def plain_mean(norm: torch.nn.Module, _inputs: object) -> None:
        assert isinstance(norm, _BatchNorm)
        seen[norm] += 1
        norm.momentum = 1 / seen[norm]

    hooks = [norm.register_forward_pre_hook(plain_mean) for norm in live]
    for norm in live:
        norm.reset_running_stats()
    yield
    for norm, momentum, hook in zip(live, usual, hooks, strict=True):
        norm.momentum = momentum
        hook.remove()
