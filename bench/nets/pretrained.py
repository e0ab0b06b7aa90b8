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


def load_into(net: torch.nn.Module, name: str, folder: Path, part: str = "") -> None:
    """Give `net` the ImageNet weights of the checkpoint's entries under `part`; entries that it lacks are left out.

    Raises UserError as load_state does, and when an entry that `net` has is missing or of another shape.
    """
    kept = net.state_dict()
    state = {key.removeprefix(part): value for key, value in load_state(name, folder).items() if key.startswith(part)}
    try:
        net.load_state_dict({key: value for key, value in state.items() if key in kept})
    except RuntimeError as error:
        raise UserError(f"the checkpoint of {name} in {folder} is of another network") from error
