"""AMR's attention modulation against its formulas."""

import copy

import numpy as np
import pytest
import torch
from torch.nn import functional
from torchvision.models.resnet import BasicBlock, Bottleneck

from bench.nets.modulation import AttentionModulation, Gate, insert


def noise(*shape: int, seed: int = 0) -> torch.Tensor:
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed))


def gate_by_hand(group: np.ndarray) -> np.ndarray:
    """g(x; mu, s) with mean and unbiased standard deviation of all of `group`."""
    mean = group.sum() / group.size
    deviation = np.sqrt(((group - mean) ** 2).sum() / (group.size - 1))
    return np.exp(-((group - mean) ** 2) / (2 * deviation**2)) / (np.sqrt(2 * np.pi) * deviation)


def make(channels: int = 32, statistics: str = "group") -> AttentionModulation:
    torch.manual_seed(0)
    return AttentionModulation(channels, statistics)


def gated_by_group(attention: torch.Tensor) -> torch.Tensor:
    return Gate("group")(attention.flatten(1))


def test_the_gate_is_the_gaussian_density_of_each_group():
    attention = 0.1 * noise(3, 4, 5) + torch.arange(3.0).view(3, 1, 1)
    expected = np.stack([gate_by_hand(group) for group in attention.double().numpy()])
    assert np.allclose(gated_by_group(attention).numpy(), expected.reshape(3, -1), rtol=1e-4)
    assert expected.max() > 1  # the density is not scaled to a peak of one


def test_middling_values_get_the_largest_gate_and_both_extremes_the_smallest():
    gate = gated_by_group(torch.linspace(-1, 1, 21)[None])[0]
    assert gate.argmax() == 10
    assert gate[0] == pytest.approx(gate[-1].item(), rel=1e-4)
    assert gate[0] == gate.min()


def test_a_constant_group_stays_finite_and_so_does_its_gradient():
    attention = torch.full((2, 7), 3.0, requires_grad=True)
    gate = gated_by_group(attention)
    gate.sum().backward()
    assert torch.isfinite(gate).all()
    assert torch.isfinite(attention.grad).all()


def test_mean_and_deviation_are_constants_for_the_gradient():
    attention = noise(2, 9).requires_grad_()
    gated_by_group(attention).sum().backward()
    for values, gradient in zip(attention.detach().double().numpy(), attention.grad.numpy(), strict=True):
        expected = gate_by_hand(values) * -(values - values.mean()) / values.var(ddof=1)
        assert np.allclose(gradient, expected, atol=1e-5)


def test_channels_are_gated_first_then_positions():
    module, features = make().train(), noise(3, 32, 6, 5)
    with torch.no_grad():
        module.norm.weight.fill_(1.3)
        module.norm.bias.fill_(0.2)
    first, _, last = module.channel
    assert first.weight.shape == (2, 32)  # C / 16
    hidden = functional.linear(features.mean((2, 3)), first.weight, first.bias).clamp_min(0)
    channel = functional.linear(hidden, last.weight, last.bias)
    gated = features * torch.from_numpy(gate_by_hand(channel.detach().numpy())).float()[:, :, None, None]
    maps = torch.stack([gated.max(1).values, gated.sum(1) / 32], 1)
    spatial = functional.conv2d(maps, module.spatial.weight, padding=3)
    normal = (spatial - spatial.mean()) / (spatial.var(unbiased=False) + 1e-5).sqrt() * 1.3 + 0.2
    expected = gated * torch.from_numpy(gate_by_hand(normal.detach().numpy())).float()
    assert module.spatial.weight.shape == (1, 2, 7, 7)
    assert torch.allclose(module(features), expected, atol=1e-4)


def test_in_evaluation_a_pair_does_not_depend_on_the_rest_of_the_batch():
    module, features = make().eval(), noise(6, 32, 5, 5)
    together = module(features)
    for start in (0, 2, 4):
        assert torch.allclose(together[start : start + 2], module(features[start : start + 2]), atol=1e-5)


def test_in_training_the_whole_batch_is_one_group():
    module, features = make().train(), noise(6, 32, 5, 5)
    assert not torch.allclose(module(features)[:2], module(features[:2]), atol=1e-3)
    assert torch.allclose(module(features[:2]), make().eval()(features[:2]), atol=1e-6)


def test_an_odd_batch_is_refused_in_evaluation_only():
    features = noise(3, 32, 5, 5)
    with pytest.raises(ValueError, match="needs pairs of images, got a batch of 3"):
        make().eval()(features)
    assert make().train()(features).shape == features.shape


def test_all_parameters_learn():
    module = make().train()
    module(noise(4, 32, 6, 6)).square().sum().backward()
    for name, parameter in module.named_parameters():
        assert parameter.grad is not None, name
        assert parameter.grad.abs().sum() > 0, name


@pytest.mark.parametrize(("kind", "norm"), [(BasicBlock, "bn2"), (Bottleneck, "bn3")])
def test_a_block_is_modulated_after_its_last_norm_and_before_the_residual_addition(kind, norm):
    torch.manual_seed(0)
    planes = 32 // kind.expansion
    block = kind(32, planes).eval()
    before = copy.deepcopy(block)
    insert([block], "group")
    last, module = getattr(block, norm)
    assert isinstance(module, AttentionModulation)
    assert module.eval().channel[0].in_features == 32
    kept = {name.replace(f"{norm}.0.", f"{norm}."): value for name, value in block.state_dict().items()}
    assert all(torch.equal(kept[name], value) for name, value in before.state_dict().items())

    features = noise(2, 32, 6, 6)
    branch = []
    handle = last.register_forward_hook(lambda _, __, output: branch.append(output))
    output = block.eval()(features)
    handle.remove()
    assert torch.allclose(output, functional.relu(module(branch[0]) + features), atol=1e-5)
    assert not torch.allclose(output, before(features), atol=1e-2)


def test_running_statistics_approach_those_of_training():
    module = make(statistics="running").train()
    batches = [noise(16, 32, 6, 6, seed=seed) for seed in range(40)]
    with torch.no_grad():
        for batch in batches:
            trained = module(batch)
        evaluated = module.eval()(batches[-1])
    assert torch.allclose(trained, evaluated, rtol=0.3, atol=0.1)
    assert (trained - evaluated).abs().mean() < 0.1 * trained.abs().mean()


def test_with_running_statistics_an_image_does_not_depend_on_the_rest_of_the_batch():
    module, features = make(statistics="running"), noise(5, 32, 5, 5)
    module.train()(noise(8, 32, 5, 5, seed=1))
    together = module.eval()(features)
    for row in range(5):
        assert torch.allclose(together[row], module(features[row : row + 1])[0], atol=1e-5)
