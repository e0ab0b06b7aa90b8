"""Trained networks on disk: safetensors, which holds tensors by name and nothing that could run."""

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
    """Give a network of the same settings the saved parameters and buffers; returned in eval mode.

    Buffers whose size depends on the training set take the saved size. RuntimeError when the file is of another
    network.
    """
    state = load_file(file)
    for name, buffer in net.named_buffers():
        if name in state and buffer.shape != state[name].shape:
            owner, _, leaf = name.rpartition(".")
            net.get_submodule(owner).register_buffer(leaf, torch.empty_like(state[name]))
    net.load_state_dict(state)
    return net.eval()
