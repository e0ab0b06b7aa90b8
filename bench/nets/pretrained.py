"""Reading ImageNet checkpoints without unpickling foreign objects."""

import pickle
from pathlib import Path

import torch

from bench.errors import UserError
from bench.nets.weights import checkpoint


def load_state(name: str, folder: Path) -> dict[str, torch.Tensor]:
    """State of the ImageNet checkpoint `name`, on the CPU; downloaded to `folder` when it is not there.

    Raises UserError when it cannot be had, is damaged, or holds no tensors by name.
    """
    path = checkpoint(name, folder)
    try:
        state = torch.load(path, map_location="cpu", weights_only=True)
    except (RuntimeError, pickle.UnpicklingError, EOFError, ValueError) as error:
        raise UserError(f"{path} is no readable checkpoint - delete it and run again") from error
    if not isinstance(state, dict) or not all(isinstance(value, torch.Tensor) for value in state.values()):
        raise UserError(f"{path} holds no network weights - delete it and run again")
    return state
