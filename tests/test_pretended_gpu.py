"""The pretended GPU refuses and counts what a real one would."""

from collections.abc import Callable

import numpy as np
import pytest
import torch

from bench.runtime import context
from bench.training.augment import normalise
from tests.pretended_gpu import pretended_gpu

# One place where the processor waits each; in the last it only gives work.
WAITS: dict[str, tuple[Callable[[torch.Tensor], object], int]] = {
    "a number is read": (lambda tensor: tensor.sum().item(), 1),
    "a condition is read": (lambda tensor: bool((tensor > 0).all()), 1),
    "values are brought back": (lambda tensor: tensor.cpu().numpy(), 1),
    "values are brought there": (lambda tensor: torch.from_numpy(np.zeros(3)).to(tensor.device), 1),
    "a list is brought there": (lambda tensor: torch.tensor([1.0, 2.0], device=tensor.device), 1),
    "values are written there": (lambda tensor: tensor.copy_(torch.zeros(4, 4)), 1),
    "work is given": (lambda tensor: (tensor @ tensor).mean(0).half(), 0),
}


@pytest.mark.parametrize("what", WAITS)
def test_what_waits_is_counted(what):
    action, expected = WAITS[what]
    with pretended_gpu() as gpu:
        tensor = torch.zeros(4, 4, device="cuda")
        before = gpu.waits
        action(tensor)
        assert gpu.waits - before == expected


def test_tensors_on_two_devices_are_refused():
    with pretended_gpu(), pytest.raises(RuntimeError, match="devices"):
        torch.zeros(4, device="cuda") + torch.zeros(4)


def test_a_size_that_depends_on_values_is_refused():
    with pretended_gpu(), pytest.raises(RuntimeError, match="nonzero"):
        torch.zeros(4, device="cuda").nonzero()


def test_a_network_goes_there_with_its_buffers_and_learns_what_the_loss_depends_on():
    net = torch.nn.ModuleList([torch.nn.Linear(3, 2), torch.nn.BatchNorm1d(2), torch.nn.Linear(3, 2)])
    where = context("cuda", 1, "bf16")
    with pretended_gpu():
        where.place(net)
        assert {value.device.type for value in net.state_dict().values()} == {"cuda"}
        with where.autocast():
            found = net[0](torch.zeros(4, 3, device="cuda"))
        assert found.dtype == torch.bfloat16
        net[1](found).float().sum().backward()
        assert [parameter.grad is not None for parameter in net.parameters()] == [True] * 4 + [False] * 2


def test_a_generator_says_it_is_there():
    with pretended_gpu():
        draw = torch.Generator(device="cuda").manual_seed(1)
        assert draw.device.type == "cuda"
        assert torch.rand(3, generator=draw, device=draw.device).is_cuda


def test_afterwards_all_is_as_before():
    before = torch.Generator, torch.Tensor.backward, torch.nn.Module.to, torch.nn.init.trunc_normal_
    with pretended_gpu():
        normalise(torch.zeros(1, 1, 2, 2, device="cuda"))
    assert before == (torch.Generator, torch.Tensor.backward, torch.nn.Module.to, torch.nn.init.trunc_normal_)
    assert normalise(torch.zeros(1, 1, 2, 2)).sum() < 0
