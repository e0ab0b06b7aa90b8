"""The training loop that every network goes through: sample, loss, step, and one line of history an epoch."""

from collections.abc import Callable, Iterable
from typing import Any

import pandas as pd
import torch

from bench.progress import track
from bench.schema import Optimisation
from bench.training.checkpoint import Checkpoint, History

# Parameters, or groups of them with a learning rate each, as torch.optim takes them.
Parameters = Iterable[torch.nn.Parameter] | Iterable[dict[str, Any]]


class EndlessBatches:
    """Index batches of exactly `size` from 0..count-1: passes in random order, one after the other, for ever.

    An iterator of int64 (size,) on the generator's device. Every index appears once a pass, whatever the ratio of
    `size` to `count`. ValueError when there is nothing to draw from.
    """

    def __init__(self, count: int, size: int, draw: torch.Generator) -> None:
        if count < 1:
            raise ValueError("no images to draw batches from")
        self.count, self.size, self.draw = count, size, draw
        self.waiting = torch.empty(0, dtype=torch.int64, device=draw.device)

    def __iter__(self) -> "EndlessBatches":
        return self

    def __next__(self) -> torch.Tensor:
        while len(self.waiting) < self.size:
            order = torch.randperm(self.count, generator=self.draw, device=self.draw.device)
            self.waiting = torch.cat([self.waiting, order])
        batch, self.waiting = self.waiting[: self.size], self.waiting[self.size :]
        return batch

    def state_dict(self) -> dict[str, Any]:
        """The generator's state and the indices of the pass that has begun."""
        return {"draw": self.draw.get_state(), "waiting": self.waiting.clone()}

    def load_state_dict(self, state_dict: dict[str, Any], /) -> None:
        """Go on where `state_dict` was taken."""
        self.draw.set_state(state_dict["draw"])
        self.waiting = state_dict["waiting"].to(self.draw.device)


def optimise(
    what: str,
    parameters: Parameters,
    losses: Callable[[int], dict[str, torch.Tensor]],
    settings: Optimisation,
    updates_per_epoch: int,
    after_update: Callable[[], None] = lambda: None,
    after_epoch: Callable[[int], None] = lambda epoch: None,
    checkpoint: Checkpoint | None = None,
) -> pd.DataFrame:
    """Minimise with Adam; returns the mean of each named loss by epoch (columns epoch, total, ...).

    losses(update) -> named scalar losses of which "total" is minimised. after_epoch(epoch) runs at each epoch's end,
    the first is 0. checkpoint: must know all that these functions change; the training goes on from it and keeps it up
    to date. Raises FloatingPointError naming the epoch when the total is no longer finite.
    """
    optimiser = torch.optim.Adam(
        parameters,
        lr=settings.learning_rate,
        betas=(settings.betas[0], settings.betas[1]),
        weight_decay=settings.weight_decay,
        fused=True,
    )
    history: History = checkpoint.resume(optimiser) if checkpoint else []
    for epoch in track(range(len(history), settings.epochs), what):
        sums: dict[str, torch.Tensor] = {}
        for update in range(epoch * updates_per_epoch, (epoch + 1) * updates_per_epoch):
            named = losses(update)
            optimiser.zero_grad(set_to_none=True)
            named["total"].backward()  # type: ignore[no-untyped-call]
            optimiser.step()
            after_update()
            for name, value in named.items():
                sums[name] = sums.get(name, 0) + value.detach()
        after_epoch(epoch)
        means = {name: float(value) / updates_per_epoch for name, value in sums.items()}
        if not all(map(torch.isfinite, map(torch.tensor, means.values()))):
            raise FloatingPointError(f"{what}: the loss is not finite in epoch {epoch + 1}: {means}")
        history.append({"epoch": epoch + 1, **means})
        if checkpoint:
            checkpoint.keep(optimiser, history, settings.epochs)
    return pd.DataFrame(history)


def joined(*histories: pd.DataFrame) -> pd.DataFrame:
    """Histories of trainings that follow each other as one, epochs numbered on; a loss that one lacks is NaN there."""
    parts, done = [], 0
    for history in histories:
        parts.append(history.assign(epoch=history["epoch"] + done))
        done += len(history)
    return pd.concat(parts, ignore_index=True)
