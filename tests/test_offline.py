"""After `fetch` a profile runs with the network cut: no network loads weights by a way of its own."""

import hashlib
import io
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any
from zipfile import ZipFile

import pytest
import torch
import torchvision
import yaml
from segment_anything import sam_model_registry

from bench.artefacts import IMAGENET, SAM
from bench.cli import STAGES, main
from bench.data import busi
from bench.data.phantom import write
from bench.fetch import Artefact, fetch
from bench.nets.resnet import make_cam_resnet
from bench.nets.swin import make_swin_mil
from bench.nets.unet import make_unet
from bench.nets.vgg import make_cam_vgg
from bench.prompting.kinds import make_segmenter
from bench.schema import CamNetwork, SwinNetwork, VggNetwork
from tests.http_server import LocalServer
from tests.offline import network_cut
from tests.prompting.test_sam import randomised, tiny_sam
from tests.tiny import PROFILE, params

VGG = VggNetwork(layout="stride8", width=1.0, batch_norm=False, initialisation="imagenet")
SWIN = SwinNetwork(
    embed_dim=96, depths=[2, 2, 6], heads=[3, 6, 12], window=7, stochastic_depth=0.1, initialisation="imagenet"
)
CHANNELS = [16, 8, 8, 8, 8]


def cam_resnet(encoder: str) -> CamNetwork:
    return CamNetwork(
        encoder=encoder,
        width=1.0,
        initialisation="imagenet",
        output_stride=16,
        fixed_batch_norm=True,
        frozen_stem=True,
        cells="official",
    )


Make = Callable[[Path], Any]
# Name of the checkpoint, torchvision's network that it is of, and what loads it.
LOADERS: dict[str, tuple[str, Make]] = {
    **{
        f"CAM {name}": (name, lambda folder, name=name: make_cam_resnet(cam_resnet(name), folder))
        for name in ("resnet18", "resnet34", "resnet50")
    },
    "CAM vgg16": ("vgg16", lambda folder: make_cam_vgg(VGG, folder)),
    "Swin MIL": ("swin_t", lambda folder: make_swin_mil(SWIN, 4.0, folder)),
    **{
        f"U-Net {name}": (name, lambda folder, name=name: make_unet(name, CHANNELS, 1.0, name, folder))
        for name in ("resnet18", "resnet34", "resnet50")
    },
}


def small_file(state: dict[str, torch.Tensor]) -> bytes:
    """A checkpoint with these shapes in a few kilobytes: every tensor repeats one number."""
    stream = io.BytesIO()
    torch.save(
        {name: torch.full((), 0.01, dtype=value.dtype).expand(value.shape) for name, value in state.items()}, stream
    )
    return stream.getvalue()


def serve(server: LocalServer, known: Artefact, content: bytes) -> Artefact:
    """Let the server have `content` as the file that the project knows as `known`."""
    server.files[f"/{known.file}"] = content
    sha256 = hashlib.sha256(content).hexdigest()
    return replace(known, urls=(server.url(f"/{known.file}"),), sha256=sha256, size=len(content))


@pytest.mark.parametrize("kind", LOADERS)
def test_a_network_loads_what_was_fetched_and_asks_nobody(tmp_path, monkeypatch, kind):
    name, make = LOADERS[kind]
    with torch.device("meta"):
        shapes = getattr(torchvision.models, name)(weights=None).state_dict()
    with LocalServer() as server:
        monkeypatch.setitem(IMAGENET, name, serve(server, IMAGENET[name], small_file(shapes)))
        fetch(IMAGENET[name], tmp_path)
    with network_cut():
        net = make(tmp_path)
    pretrained = [value for value in net.state_dict().values() if (value == 0.01).all()]
    assert len(pretrained) > 20


@pytest.mark.parametrize("encoder", ["resnet18", "resnet34", "resnet50"])
def test_a_u_net_without_pretrained_weights_asks_nobody(tmp_path, encoder):
    with network_cut():
        make_unet(encoder, CHANNELS, 1.0, None, tmp_path)
    assert list(tmp_path.iterdir()) == []


def test_sam_loads_what_was_fetched_and_asks_nobody(tmp_path, monkeypatch):
    monkeypatch.setitem(sam_model_registry, "vit_b", tiny_sam)
    options = {"variant": "vit_b", "checkpoint": None, "weights": tmp_path, "device": "cpu"}
    with LocalServer() as server:
        monkeypatch.setitem(SAM, "vit_b", serve(server, SAM["vit_b"], small_file(tiny_sam().state_dict())))
        fetch(SAM["vit_b"], tmp_path)
    with network_cut():
        assert make_segmenter("sam", **options).name == "SAM ViT-B"


def saved(state: dict[str, torch.Tensor]) -> bytes:
    stream = io.BytesIO()
    torch.save(state, stream)
    return stream.getvalue()


def profile() -> dict[str, Any]:
    """The tiny profile on the data set, networks and segmenter that come from the network."""
    content = params()
    tiny = content[PROFILE]
    augmentation = tiny["cams"]["amr"]["augmentation"]
    tiny["data"] = {"source": "busi"}
    short = {**tiny["cams"]["amr"]["optimisation"], "epochs": 1}
    tiny["cams"] = {
        "vgg16_cam": {
            "network": VGG.model_dump(),
            "optimisation": short,
            "augmentation": augmentation,
            "settle_batch_norm": False,
            "compile": None,
            "scales": [1.0],
        },
        "swin_mil": {**tiny["cams"]["swin_mil"], "network": SWIN.model_dump(), "optimisation": short},
        "amr": {**tiny["cams"]["amr"], "network": cam_resnet("resnet18").model_dump(), "optimisation": short},
    }
    tiny["pseudo"].update(segmenter="sam", variant="vit_b")
    tiny["train"]["common"].update(encoder="resnet34", width=1.0, initialisation="imagenet")
    tiny["train"]["common"]["optimisation"]["epochs"] = 1
    tiny["train"]["rows"] = {"gt_whole": {}, "pseudo_whole": {}}
    tiny["oracle"] = []
    tiny["controls"]["rows"] = []
    return content


@pytest.mark.slow
def test_every_stage_of_a_fetched_profile_runs_with_the_network_cut(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    for variable in ("BUSI_ZIP", "BUSBENCH_WEIGHTS"):
        monkeypatch.delenv(variable, raising=False)
    Path("params.yaml").write_text(yaml.safe_dump(profile()), encoding="utf-8")
    data = tmp_path / "original"
    write(data, {"benign": 12, "malignant": 6, "normal": 8}, seed=1)
    busi.write_manifest(data, tmp_path / "manifest.csv")
    monkeypatch.setattr(busi, "MANIFEST", tmp_path / "manifest.csv")
    with ZipFile("busi.zip", "w") as archive:
        for file in data.rglob("*.png"):
            archive.write(file, file.relative_to(data))
    monkeypatch.setitem(sam_model_registry, "vit_b", tiny_sam)
    torch.manual_seed(0)
    with LocalServer() as server:
        monkeypatch.setattr(busi, "ARCHIVE", serve(server, busi.ARCHIVE, Path("busi.zip").read_bytes()))
        for name in ("resnet18", "resnet34", "vgg16", "swin_t"):
            state = getattr(torchvision.models, name)(weights=None).state_dict()
            # VGG16's dense layers are nine tenths of it, and not used.
            content = saved({key: value for key, value in state.items() if not key.startswith("classifier.")})
            monkeypatch.setitem(IMAGENET, name, serve(server, IMAGENET[name], content))
        monkeypatch.setitem(SAM, "vit_b", serve(server, SAM["vit_b"], saved(randomised(tiny_sam()).state_dict())))
        assert main(["fetch", "--profile", PROFILE]) == 0
    assert set(server.count.values()) == {1}
    with network_cut():
        assert main(["fetch", "--profile", PROFILE, "--verify"]) == 0
        for stage in STAGES:
            assert main([stage, "--profile", PROFILE]) == 0, stage
    table = (tmp_path / "reports" / PROFILE / "table3.md").read_text(encoding="utf-8")
    assert "ImageNet weights" in table
