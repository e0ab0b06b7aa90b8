"""The teacher of Mean Teacher: an exponential moving average of the student (METHOD 6.1, 6.3)."""

import torch
from torch.optim.swa_utils import AveragedModel

Tensors = tuple[torch.Tensor, ...] | list[torch.Tensor]


def make_teacher(student: torch.nn.Module, decay: float, buffers: bool) -> AveragedModel:
    """A teacher that `update_parameters(student)` moves towards the student.

    The weight of the old teacher is min(1 - 1/(t+1), decay) at update t, so the first update copies the student.
    With `buffers` the BatchNorm statistics are averaged too; integer buffers are copied.
    """

    def average(teacher: Tensors, current: Tensors, updates: torch.Tensor | int) -> None:
        keep = min(1 - 1 / (int(updates) + 1), decay)
        if teacher[0].is_floating_point():
            torch._foreach_lerp_(teacher, current, 1 - keep)
        else:
            torch._foreach_copy_(teacher, current)

    teacher = AveragedModel(student, multi_avg_fn=average, use_buffers=buffers)
    teacher.requires_grad_(False)
    return teacher.eval()
