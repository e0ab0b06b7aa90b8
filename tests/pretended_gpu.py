"""A pretended GPU for machines without one: fake tensors, which have a device and a shape but no values.

PyTorch refuses operations across devices on them as on real ones, and what the processor would wait for is counted.
"""

import gc
import warnings
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from typing import Any
from unittest.mock import patch

import torch
from torch._subclasses.fake_tensor import FakeTensor, FakeTensorMode
from torch.utils._python_dispatch import TorchDispatchMode, _disable_current_modes

from bench.training.augment import _imagenet_statistics

aten = torch.ops.aten


class PretendedGpu(TorchDispatchMode):
    """waits: how often the processor would have waited for the GPU so far."""

    def __init__(self) -> None:
        super().__init__()
        self.waits = 0

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        kwargs = {**(kwargs or {})}
        # A real generator cannot be the GPU's, and nothing is drawn.
        kwargs.update(dict.fromkeys(kwargs.keys() & {"generator"}))
        operator = func.overloadpacket
        if operator is aten._local_scalar_dense and isinstance(args[0], FakeTensor):
            self.waits += args[0].is_cuda
            return 0.5 if args[0].is_floating_point() else 1
        if operator is aten._to_copy and "device" in kwargs:
            target = torch.device(kwargs["device"] or args[0].device)
            self.waits += target.type != args[0].device.type
            if args[0].is_cuda and target.type == "cpu":
                with _disable_current_modes():
                    return torch.ones(tuple(args[0].shape), dtype=kwargs.get("dtype") or args[0].dtype)
        if operator is aten.copy_:
            self.waits += args[0].device.type != args[1].device.type
        return func(*args, **kwargs)


class _Generator(torch.Generator):
    """A generator that says it is the GPU's."""

    def __new__(cls, device: torch.device | str = "cpu") -> "_Generator":
        made = super().__new__(cls)
        made.said = torch.device(device)
        return made

    def __init__(self, device: torch.device | str = "cpu") -> None:
        pass

    @property
    def device(self) -> torch.device:
        return self.said


def _to(self: torch.nn.Module, device: Any = None, **_: Any) -> torch.nn.Module:
    """Module.to, which cannot change real tensors into fake ones in their place."""
    for part in self.modules() if device is not None else ():
        for name, parameter in part._parameters.items():
            if parameter is not None:
                moved = torch.nn.Parameter(parameter.detach().to(device), requires_grad=parameter.requires_grad)
                part._parameters[name] = moved
        for name, buffer in part._buffers.items():
            part._buffers[name] = buffer if buffer is None else buffer.to(device)
    return self


def _backward(loss: torch.Tensor) -> None:
    """Some gradient for every parameter that the loss depends on: PyTorch's engine wants the driver of a GPU."""
    seen, waiting = set(), [loss.grad_fn]
    while waiting:
        node = waiting.pop()
        if node is None or node in seen:
            continue
        seen.add(node)
        if hasattr(node, "variable"):
            node.variable.grad = torch.zeros_like(node.variable)
        waiting += [following for following, _ in node.next_functions]


_real_numpy = torch.Tensor.numpy


def _numpy(tensor: torch.Tensor) -> Any:
    """Tensor.numpy of what was brought back, which asks for a view of it: no fake one, whose memory is not there."""
    with _disable_current_modes():
        return _real_numpy(tensor)


@contextmanager
def pretended_gpu() -> Iterator[PretendedGpu]:
    """Inside, "cuda" is a GPU of fake tensors; what is brought back from it has the right shape and no meaning."""
    gpu = PretendedGpu()
    replaced = {
        "torch.Generator": _Generator,
        "torch.Tensor.backward": _backward,
        "torch.Tensor.numpy": _numpy,
        "torch.nn.Module.to": _to,
        # It draws until all values are in range, so for ever where there are none.
        "torch.nn.init.trunc_normal_": lambda tensor, **_: tensor,
        "torch.cuda.get_rng_state": lambda _device: torch.empty(0, dtype=torch.uint8),
        "torch.cuda.set_rng_state": lambda _state, _device: None,
        "torch.cuda.is_bf16_supported": lambda: True,
        "torch.cuda.amp.common.amp_definitely_not_available": lambda: False,
    }
    _imagenet_statistics.cache_clear()
    # PyTorch 2.13 crashed where an earlier network's fake tensors were collected while others were made.
    gc.disable()
    with ExitStack() as stack:
        stack.callback(gc.enable)
        stack.callback(_imagenet_statistics.cache_clear)
        stack.enter_context(warnings.catch_warnings())
        warnings.filterwarnings("ignore", "Accessing the data pointer of FakeTensor")  # by deepcopy
        for name, replacement in replaced.items():
            stack.enter_context(patch(name, replacement))
        stack.enter_context(FakeTensorMode(allow_non_fake_inputs=True))
        yield stack.enter_context(gpu)
