"""The teacher of Mean Teacher against its recurrence, written as a loop."""

import pytest
import torch
from torch import nn

from bench.training.mean_teacher import Teacher


def student() -> nn.Module:
    torch.manual_seed(0)
    return nn.Sequential(nn.Conv2d(1, 2, 1), nn.BatchNorm2d(2))


def disturb(net: nn.Module, draw: torch.Generator) -> None:
    """New values for everything that training changes, integer buffers included."""
    with torch.no_grad():
        for value in (*net.parameters(), *net.buffers()):
            if value.is_floating_point():
                value.copy_(torch.randn(value.shape, generator=draw))
            else:
                value.add_(1)


def test_the_first_update_copies_the_student():
    net = student()
    teacher = Teacher(net, 0.99, True)
    disturb(net, torch.Generator().manual_seed(1))
    teacher.update_parameters()
    for name, value in net.state_dict().items():
        assert torch.equal(teacher.module.state_dict()[name], value), name


@pytest.mark.parametrize("decay", [0.5, 0.99])
@pytest.mark.parametrize("buffers", [True, False])
def test_the_decay_is_bias_corrected_over_200_updates(decay, buffers):
    net, draw = student(), torch.Generator().manual_seed(2)
    teacher = Teacher(net, decay, buffers)
    averages = {name: value.double() for name, value in net.named_parameters()}
    statistics = {name: value.double() for name, value in net.named_buffers()}
    for t in range(200):
        disturb(net, draw)
        teacher.update_parameters()
        keep = min(1 - 1 / (t + 1), decay)
        averages = {name: keep * averages[name] + (1 - keep) * value for name, value in net.named_parameters()}
        for name, value in net.named_buffers():
            averaged = buffers and value.is_floating_point()
            statistics[name] = keep * statistics[name] + (1 - keep) * value if averaged else value.double()
    for name, value in teacher.module.named_parameters():
        assert torch.allclose(value.double(), averages[name], atol=1e-5), name
    for name, value in teacher.module.named_buffers():
        assert torch.allclose(value.double(), statistics[name], atol=1e-5), name


@pytest.mark.parametrize("buffers", [True, False])
def test_integer_buffers_are_copied_and_stay_integers(buffers):
    net, draw = student(), torch.Generator().manual_seed(3)
    teacher = Teacher(net, 0.9, buffers)
    for _ in range(5):
        disturb(net, draw)
        teacher.update_parameters()
    assert teacher.module[1].num_batches_tracked.dtype == torch.int64
    assert teacher.module[1].num_batches_tracked.item() == 5


def test_the_teacher_has_no_gradient_and_is_in_evaluation_mode_and_the_student_is_untouched():
    net = student().train()
    teacher = Teacher(net, 0.99, True)
    assert not any(parameter.requires_grad for parameter in teacher.parameters())
    assert not any(module.training for module in teacher.modules())
    assert all(parameter.requires_grad for parameter in net.parameters())
    assert net.training


def test_the_teacher_shares_no_memory_with_the_student():
    net = student()
    teacher = Teacher(net, 0.99, True)
    before = teacher.module[0].weight.clone()
    disturb(net, torch.Generator().manual_seed(4))
    assert torch.equal(teacher.module[0].weight, before)
