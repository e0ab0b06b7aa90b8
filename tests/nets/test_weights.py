"""The table of ImageNet checkpoints."""

import hashlib
from dataclasses import replace

import pytest

from bench.errors import UserError
from bench.nets.weights import IMAGENET, checkpoint, pins
from bench.schema import Strict, SwinNetwork, VggNetwork
from tests.http_server import LocalServer


def test_the_table_agrees_with_the_names_that_torchvision_gives():
    assert set(IMAGENET) == {"resnet18", "resnet34", "resnet50", "vgg16", "swin_t"}
    for name, artefact in IMAGENET.items():
        prefix = artefact.file.removeprefix(f"{name}-").removesuffix(".pth")
        assert artefact.sha256 is not None
        assert artefact.sha256.startswith(prefix)
        assert len(prefix) == 8
        assert artefact.urls == (f"https://download.pytorch.org/models/{artefact.file}",)


def test_a_checkpoint_is_fetched_and_checked(tmp_path, monkeypatch):
    content = b"weights"
    with LocalServer({"/w.pth": content}) as server:
        small = replace(
            IMAGENET["swin_t"], urls=(server.url("/w.pth"),), sha256=hashlib.sha256(content).hexdigest()[:8]
        )
        monkeypatch.setitem(IMAGENET, "swin_t", small)
        assert checkpoint("swin_t", tmp_path) == tmp_path / "swin_t-704ceda3.pth"
    assert (tmp_path / "swin_t-704ceda3.pth").read_bytes() == content


def test_a_file_in_the_place_of_a_checkpoint_is_not_trusted(tmp_path):
    (tmp_path / "resnet50-0676ba61.pth").write_bytes(b"something else")
    with pytest.raises(UserError, match=r"resnet50-0676ba61\.pth is not the expected file"):
        checkpoint("resnet50", tmp_path)


def test_an_unknown_name_lists_the_known_ones(tmp_path):
    with pytest.raises(UserError, match=r"'resnet101'.*resnet50"):
        checkpoint("resnet101", tmp_path)


def swin(initialisation: str) -> SwinNetwork:
    return SwinNetwork(
        embed_dim=96,
        depths=[2, 2, 6],
        heads=[3, 6, 12],
        window=7,
        stochastic_depth=0.1,
        initialisation=initialisation,
    )


class Inner(Strict):
    network: SwinNetwork


class Block(Strict):
    name: str
    vgg: VggNetwork
    inner: Inner


def test_the_weights_of_all_networks_in_a_block_are_pinned_by_their_hashes():
    vgg = VggNetwork(layout="plain", width=1.0, batch_norm=False, initialisation="imagenet")
    both = Block(name="resnet50", vgg=vgg, inner=Inner(network=swin("imagenet")))
    assert pins(both) == {"swin_t": "704ceda3", "vgg16": IMAGENET["vgg16"].sha256}
    one = Block(name="resnet50", vgg=vgg, inner=Inner(network=swin("none")))
    assert list(pins(one)) == ["vgg16"]
    assert pins(swin("none")) == {}
