"""Trained networks on disk: safetensors, which holds tensors by name and nothing that could run."""

from collections.abc import Mapping
from pathlib import Path

import torch
from safetensors.torch import load_file, save_file

from bench.files import replacing_file


def save_net(net: torch.nn.Module, file: Path) -> None:
    """Write all parameters and buffers, always with the same bytes for the same network."""
    state = {name: tensor.detach().cpu().contiguous() for name, tensor in net.state_dict().items()}
    with replacing_file(file) as temporary:
        save_file(state, temporary)


def load_net(net: torch.nn.Module, file: Path) -> torch.nn.Module:
    """`load_state` from what `save_net` wrote; returned in eval mode."""
    load_state(net, load_file(file))
    return net.eval()


def load_state(net: torch.nn.Module, state: Mapping[str, torch.Tensor]) -> None:
    """Give a network of the same settings the parameters and buffers of its earlier `state_dict`, wherever they lie.

    Buffers whose size depends on the training set take the state's size. RuntimeError when the state is of another
    network.
    """
    for name, buffer in list(net.named_buffers()):
        if name in state and buffer.shape != state[name].shape:
            owner, _, leaf = name.rpartition(".")
            net.get_submodule(owner).register_buffer(leaf, torch.empty_like(state[name], device=buffer.device))
    net.load_state_dict(state)
