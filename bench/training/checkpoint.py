"""Checkpoints: the latest state of each training of an item, from which a killed run goes on as if nothing had been."""

import re
import time
import zipfile
from collections.abc import Mapping
from textwrap import shorten
from typing import Any, Protocol

import torch

from bench.errors import UserError
from bench.files import replacing_file, write_json
from bench.nets.saved import load_state
from bench.progress import say
from bench.runtime import Context
from bench.store import CHECKPOINT_SECONDS

History = list[dict[str, float]]


class Stateful(Protocol):
    """Networks, optimisers, orders of batches: what gives its state as a dictionary and takes it back."""

    def state_dict(self) -> dict[str, Any]:
        """Everything that a later `load_state_dict` needs."""

    def load_state_dict(self, state_dict: dict[str, Any], /) -> Any:
        """Take a state as `state_dict` gave it."""


Part = Stateful | torch.Generator


class Checkpoint:
    """The latest state of one training: written after an epoch, all or nothing, and read when it begins again.

    what: the training's name; trainings of one item need different ones. parts: whatever changes while it trains and
    decides its rest or what follows it, by name: networks, orders of batches, generators, a method's own state. The
    optimiser and the global generators are kept without being named. Where the context has no place for checkpoints,
    nothing is kept. Raises ValueError when an earlier training of the same context had the name.
    """

    def __init__(self, what: str, context: Context, parts: Mapping[str, Part]) -> None:
        self.what, self.file = what, None
        if context.checkpoints:
            stem = re.sub(r"\W+", "-", what)
            if stem in context.trainings:
                raise ValueError(f"two trainings of one item are called {what!r}; they would share a checkpoint")
            context.trainings.add(stem)
            self.file = context.checkpoints / f"{stem}.pt"
        self.parts = {**parts, "global generators": _GlobalGenerators(context.device)}
        self.seconds = CHECKPOINT_SECONDS.get()
        self.kept = time.monotonic()

    def resume(self, optimiser: torch.optim.Optimizer) -> History:
        """Put everything into the state of the last checkpoint; the losses of the epochs before it, [] without one.

        A damaged checkpoint counts as none, and is said. Raises UserError when it is of another training.
        """
        content = self._read()
        if content is None:
            return []
        parts: dict[str, Part] = {**self.parts, "optimiser": optimiser}
        try:
            for name, state in content["parts"].items():
                _put(parts[name], state)
        except (KeyError, RuntimeError, ValueError) as error:
            raise UserError(
                f"{self.file} is of another training ({shorten(str(error), 200)}) - delete it and run again"
            ) from error
        history: History = content["history"]
        say(f"{self.what}: going on after epoch {len(history)}")
        return history

    def keep(self, optimiser: torch.optim.Optimizer, history: History, epochs: int) -> None:
        """Write the state after the last of `history`'s epochs, if it is time or the training ends with it."""
        ended = len(history) == epochs
        if self.file is None or (time.monotonic() - self.kept < self.seconds and not ended):
            return
        # Nothing reads the optimiser after the last epoch.
        parts = self.parts if ended else {**self.parts, "optimiser": optimiser}
        content = {"history": history, "parts": {name: _state(part) for name, part in parts.items()}}
        with replacing_file(self.file) as temporary:
            torch.save(content, temporary)
        progress = {"what": self.what, "epoch": len(history), "epochs": epochs}
        write_json(self.file.with_suffix(".json"), progress)
        self.kept = time.monotonic()

    def _read(self) -> dict[str, Any] | None:
        """What the file holds, tensors on the CPU; None without a file that can be used."""
        if self.file is None:
            return None
        for unfinished in self.file.parent.glob(".*.tmp"):
            unfinished.unlink()
        if not self.file.is_file():
            return None
        try:
            # torch.load does not compare the checksums that torch.save writes.
            with zipfile.ZipFile(self.file) as archive:
                if damaged := archive.testzip():
                    raise zipfile.BadZipFile(damaged)
            content: dict[str, Any] = torch.load(self.file, map_location="cpu", weights_only=True)
        except Exception as error:  # whatever a damaged file makes its readers raise
            reason = shorten(f"{type(error).__name__} {error}", 200)
            say(f"{self.what}: the checkpoint {self.file} is damaged ({reason}); the training begins anew")
            return None
        return content


class _GlobalGenerators:
    """The generators from which layers draw, for example stochastic depth: the processor's and the device's."""

    def __init__(self, device: torch.device) -> None:
        self.device = device

    def state_dict(self) -> dict[str, Any]:
        states = {"cpu": torch.get_rng_state()}
        if self.device.type == "cuda":
            states["cuda"] = torch.cuda.get_rng_state(self.device)
        return states

    def load_state_dict(self, state_dict: dict[str, Any], /) -> None:
        torch.set_rng_state(state_dict["cpu"])
        if self.device.type == "cuda":
            torch.cuda.set_rng_state(state_dict["cuda"], self.device)


def _state(part: Part) -> Any:
    return part.get_state() if isinstance(part, torch.Generator) else part.state_dict()


def _put(part: Part, state: Any) -> None:
    if isinstance(part, torch.Generator):
        part.set_state(state)
    elif isinstance(part, torch.nn.Module):
        load_state(part, state)
    else:
        part.load_state_dict(state)
