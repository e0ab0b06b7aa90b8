"""The U-Net: logits of the input's size, with all of the encoder or without its last stages."""

from pathlib import Path

import pytest
import segmentation_models_pytorch as smp
import torch

from bench.errors import UserError
from bench.nets.unet import make_unet


@pytest.mark.parametrize("channels", [[16, 8, 8, 8, 8], [16, 8, 8, 8], [16, 8, 8]])
def test_every_parameter_takes_part(channels):
    net = make_unet("resnet18", channels, 1.0, None, Path())
    logits = net(torch.rand(2, 3, 64, 64))
    assert logits.shape == (2, 2, 64, 64)
    logits.square().mean().backward()
    assert all(parameter.grad is not None for parameter in net.parameters())


@pytest.mark.parametrize("mixed", [False, True], ids=["fp32", "bf16"])
def test_the_decoder_computes_what_smps_own_computes(mixed):
    channels = [16, 8, 8, 8, 8]
    net = make_unet("resnet18", channels, 1.0, None, Path()).eval()
    own = smp.Unet("resnet18", encoder_weights=None, classes=2, decoder_channels=channels).eval()
    own.load_state_dict(net.state_dict())
    images = torch.rand(2, 3, 64, 64)
    with torch.no_grad(), torch.autocast("cpu", torch.bfloat16, enabled=mixed):
        assert torch.equal(net(images), own(images))


@pytest.mark.parametrize(("channels", "kept"), [(3, 2), (4, 3), (5, 4)])
def test_fewer_channels_leave_the_encoders_last_stages_out(channels, kept):
    encoder = make_unet("resnet18", [8] * channels, 1.0, None, Path()).encoder.state_dict()
    stages = {name.split(".")[0] for name in encoder if name.startswith("layer")}
    assert stages == {f"layer{number}" for number in range(1, kept + 1)}


@pytest.mark.parametrize("channels", [4, 3])
def test_pretrained_weights_reach_a_shortened_encoder(channels, tmp_path, monkeypatch):
    whole = make_unet("resnet18", [16, 8, 8, 8, 8], 1.0, None, Path()).encoder.state_dict()
    monkeypatch.setattr("bench.nets.unet.load_state", lambda name, folder: {**whole, "fc.weight": torch.zeros(1)})
    kept = make_unet("resnet18", [8] * channels, 1.0, "resnet18", tmp_path).encoder.state_dict()
    assert not any(name.startswith("layer4") for name in kept)
    assert all(torch.equal(value, whole[name]) for name, value in kept.items())


def test_an_unknown_encoder_is_named():
    with pytest.raises(UserError, match="resnet19"):
        make_unet("resnet19", [16, 8, 8, 8, 8], 1.0, None, Path())
