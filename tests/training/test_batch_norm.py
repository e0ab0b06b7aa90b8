"""Statistics counted anew: the plain mean over the batches that were seen, as PyTorch counts it, bit for bit."""

from copy import deepcopy

import numpy as np
import pytest
import torch

from bench.runtime import Context
from bench.training.batch_norm import settle

CPU = Context(torch.device("cpu"), bf16=False)


@pytest.mark.parametrize("count", [3, 12, 15])
def test_they_are_pytorchs_own_plain_mean(count):
    images = np.random.default_rng(0).integers(0, 256, (count, 8, 8), dtype=np.uint8)
    net = torch.nn.Sequential(torch.nn.Conv2d(3, 4, 3), torch.nn.BatchNorm2d(4), torch.nn.ReLU()).train()
    net[1].running_mean += 7
    reference, batches = deepcopy(net), []

    def forward(batch: torch.Tensor) -> torch.Tensor:
        batches.append(batch)
        found: torch.Tensor = net(batch)
        return found

    settle(net, images, forward, 4, 0, CPU)
    reference[1].reset_running_stats()
    reference[1].momentum = None
    for batch in batches:
        reference(batch)
    assert [len(batch) for batch in batches] == [min(4, count)] * max(count // 4, 1)
    for name in ("running_mean", "running_var", "num_batches_tracked"):
        assert torch.equal(getattr(net[1], name), getattr(reference[1], name)), name
    assert net[1].momentum == 0.1
    assert not net[1]._forward_pre_hooks
