"""The teacher of Mean Teacher: an exponential moving average of the student (METHOD 6.1, 6.3)."""

from copy import deepcopy
from typing import Any

import torch

Pair = tuple[torch.Tensor, torch.Tensor]


class Teacher(torch.nn.Module):
    """The moving average of a student, as a network of its own: `module`, in evaluation mode and without gradients.

    student: on its device by then; its tensors are to stay the same objects. decay: in [0, 1), the most that an update
    keeps of the old teacher. buffers: whether BatchNorm statistics are averaged as well.

    torch's AveragedModel asks the GPU several times an update how many updates there were; this one counts itself, so
    that an update waits for nothing.
    """

    def __init__(self, student: torch.nn.Module, decay: float, buffers: bool) -> None:
        super().__init__()
        self.module = deepcopy(student).requires_grad_(False)
        self.decay, self.updates = decay, 0
        # Gathered once: walking through a ResNet50 U-Net takes a millisecond and more.
        self._averaged: list[Pair] = list(zip(self.module.parameters(), student.parameters(), strict=True))
        self._copied: list[Pair] = []
        for ours, theirs in zip(self.module.buffers(), student.buffers(), strict=True):
            (self._averaged if buffers and ours.is_floating_point() else self._copied).append((ours, theirs))
        self.eval()

    def forward(self, images: torch.Tensor) -> Any:
        return self.module(images)

    @torch.no_grad()
    def update_parameters(self) -> None:
        """Move towards the student. The weight of the old teacher at update t is min(1 - 1/(t+1), decay).

        So the first update copies the student. With `buffers` the BatchNorm statistics are averaged too, else they are
        copied; integer buffers are always copied.
        """
        keep = min(1 - 1 / (self.updates + 1), self.decay)
        torch._foreach_lerp_([ours for ours, _ in self._averaged], [theirs for _, theirs in self._averaged], 1 - keep)
        if self._copied:
            torch._foreach_copy_([ours for ours, _ in self._copied], [theirs for _, theirs in self._copied])
        self.updates += 1

    def get_extra_state(self) -> dict[str, int]:
        """The number of updates, as part of the state that a checkpoint keeps."""
        return {"updates": self.updates}

    def set_extra_state(self, state: dict[str, int]) -> None:
        """Go on counting where `state` was taken."""
        self.updates = state["updates"]
