"""The classification ResNets: map sizes, logits, pretrained weights, and what stays fixed."""

from dataclasses import replace
from pathlib import Path

import pytest
import torch
import torchvision

from bench.errors import UserError
from bench.files import digest
from bench.nets.resnet import LAYERS, CamResNet, make_backbone, set_output_stride
from bench.nets.weights import IMAGENET

NONE = Path("unused")


def noise(*shape: int, seed: int = 0) -> torch.Tensor:
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed))


def make(encoder: str = "resnet18", stride: int = 32, fixed: bool = False, frozen: bool = False) -> CamResNet:
    torch.manual_seed(0)
    backbone = make_backbone(encoder, 1.0, None)
    set_output_stride(backbone, stride)
    return CamResNet(backbone, 2, fixed, frozen)


def lived_in(net: torch.nn.Module) -> torch.nn.Module:
    """Give every BatchNorm statistics of its own, as a trained network has."""
    draw = torch.Generator().manual_seed(7)
    for module in net.modules():
        if isinstance(module, torch.nn.BatchNorm2d):
            module.running_mean.copy_(torch.randn(module.num_features, generator=draw) / 10)
            module.running_var.copy_(torch.rand(module.num_features, generator=draw) + 0.5)
    return net


def put_checkpoint(name: str, state: dict[str, torch.Tensor], folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Make `state` the checkpoint `name` that the project expects in `folder`."""
    file = folder / IMAGENET[name].file
    torch.save(state, file)
    monkeypatch.setitem(IMAGENET, name, replace(IMAGENET[name], sha256=digest(file), size=None))


@pytest.mark.parametrize(
    ("encoder", "stride"),
    [("resnet8", 8), ("resnet8", 16), *((name, stride) for name in ("resnet18", "resnet50") for stride in (8, 16, 32))],
)
def test_the_output_stride_gives_the_size_of_the_maps(encoder, stride):
    logits, maps = make(encoder, stride).eval()(noise(1, 3, 64, 96))
    assert maps.shape == (1, 2, 64 // stride, 96 // stride)
    assert logits.shape == (1, 2)


@pytest.mark.parametrize(("encoder", "layers"), [("resnet8", 8), ("resnet18", 18), ("resnet50", 50)])
def test_a_network_has_as_many_layers_as_its_name_says(encoder, layers):
    net = make(encoder, stride=16)
    convolutions = [
        module for name, module in net.named_modules()
        if isinstance(module, torch.nn.Conv2d) and "downsample" not in name
    ]  # fmt: skip
    assert len(convolutions) == layers


def test_logits_are_the_mean_of_the_maps_and_a_bias_free_classifier_on_averaged_features():
    net, images = make(stride=8).eval(), noise(2, 3, 64, 64)
    logits, maps = net(images)
    assert torch.allclose(logits, maps.mean((2, 3)))
    averaged = net.stages(net.stem(images)).mean((2, 3))
    assert torch.allclose(logits, averaged @ net.classifier.weight[:, :, 0, 0].T, atol=1e-5)
    assert net.classifier.bias is None


@pytest.mark.parametrize("encoder", ["resnet18", "resnet50"])
def test_torchvisions_weights_load_and_give_torchvisions_features_up_to_layer3(encoder, tmp_path, monkeypatch):
    torch.manual_seed(3)
    original = lived_in(torchvision.models.get_model(encoder)).eval()
    put_checkpoint(encoder, original.state_dict(), tmp_path, monkeypatch)
    backbone = make_backbone(encoder, 1.0, tmp_path)
    for name, value in backbone.state_dict().items():
        assert torch.equal(value, original.state_dict()[name]), name
    set_output_stride(backbone, 16)
    net, images = CamResNet(backbone, 2, True, True).eval(), noise(1, 3, 64, 64)
    expected = original.maxpool(original.relu(original.bn1(original.conv1(images))))
    features = net.stem(images)
    for position in range(3):
        expected = getattr(original, f"layer{position + 1}")(expected)
        features = net.stages[position](features)
        assert torch.allclose(features, expected, atol=1e-5)


def test_stride_16_gives_every_position_of_which_torchvisions_layer4_gives_every_other():
    torch.manual_seed(3)
    original, kept = torchvision.models.resnet50().eval(), torchvision.models.resnet50().eval()
    kept.load_state_dict(original.state_dict())
    set_output_stride(kept, 16)
    features = noise(1, 1024, 8, 8)
    assert torch.allclose(kept.layer4[0](features)[:, :, ::2, ::2], original.layer4[0](features), atol=1e-5)


def test_a_fixed_batch_norm_keeps_its_statistics_in_training():
    net, images = lived_in(make(fixed=True)), 3 + 2 * noise(4, 3, 64, 64)
    expected = net.eval()(images)[0]
    before = {name: value.clone() for name, value in net.named_buffers()}
    logits, _ = net.train()(images)
    assert net.training
    assert torch.allclose(logits, expected, atol=1e-6)
    assert all(torch.equal(value, before[name]) for name, value in net.named_buffers())
    logits.sum().backward()
    assert net.stages[0][0].bn1.weight.grad.abs().sum() > 0


def test_without_fixed_batch_norm_the_statistics_are_those_of_the_batch():
    net, images = lived_in(make()), 3 + 2 * noise(4, 3, 64, 64)
    before = net.stem[1].running_mean.clone()
    expected = net.eval()(images)[0]
    assert not torch.allclose(net.train()(images)[0], expected, atol=1e-3)
    assert not torch.equal(net.stem[1].running_mean, before)


@pytest.mark.parametrize("frozen", [True, False])
def test_only_a_frozen_stem_gets_no_gradient(frozen):
    net = make(frozen=frozen).train()
    net(noise(2, 3, 64, 64))[0].square().sum().backward()
    assert all((parameter.grad is None) == frozen for parameter in net.stem.parameters())
    assert all(parameter.grad is not None for parameter in net.stages.parameters())
    assert net.classifier.weight.grad is not None


def test_a_checkpoint_of_another_network_is_named(tmp_path, monkeypatch):
    put_checkpoint("resnet34", torchvision.models.resnet18().state_dict(), tmp_path, monkeypatch)
    with pytest.raises(UserError, match=r"checkpoint of resnet34 in .* is of another network"):
        make_backbone("resnet34", 1.0, tmp_path)


@pytest.mark.parametrize("content", [b"", b"no checkpoint at all", b"PK\x03\x04 half a zip"])
def test_a_file_that_is_no_checkpoint_is_named(content, tmp_path, monkeypatch):
    file = tmp_path / IMAGENET["resnet18"].file
    file.write_bytes(content)
    monkeypatch.setitem(IMAGENET, "resnet18", replace(IMAGENET["resnet18"], sha256=digest(file), size=None))
    with pytest.raises(UserError, match=rf"{IMAGENET['resnet18'].file} is no readable checkpoint"):
        make_backbone("resnet18", 1.0, tmp_path)


@pytest.mark.parametrize("encoder", LAYERS)
def test_all_residual_blocks_are_listed_input_side_first(encoder):
    backbone = make_backbone(encoder, 1.0, None)
    found = CamResNet(backbone, 2, False, False).blocks()
    assert len(found) == sum(LAYERS[encoder][1])
    assert found[0] is backbone.layer1[0]
    assert found[-1] is (backbone.layer4 or backbone.layer3)[-1]
