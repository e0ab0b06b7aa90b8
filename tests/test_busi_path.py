"""The code path of the `busi` profile, with random values in the place of the ImageNet weights."""

import hashlib
import io
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
import torchvision

from baselines import amr
from bench.errors import UserError
from bench.methods import ImageSet
from bench.nets.unet import make_unet
from bench.nets.weights import IMAGENET
from bench.runtime import Context, context
from bench.settings import load
from bench.training.segmentation import TrainingSet, predict, train_segmentation
from bench.weights import weights_folder
from tests.http_server import LocalServer

pytestmark = pytest.mark.slow
BUSI = load("busi", Path(__file__).resolve().parents[1] / "params.yaml")
SIZE = 64
SHORT = {"epochs": 1, "batch_size": 4}


@pytest.fixture(scope="module")
def checkpoint() -> tuple[dict[str, torch.Tensor], bytes]:
    """A ResNet50 in torchvision's format, with BatchNorm statistics that suit its random weights."""
    torch.manual_seed(1)
    net = torchvision.models.resnet50().train()
    for module in net.modules():
        if isinstance(module, torch.nn.BatchNorm2d):
            module.momentum = None  # the plain mean
    with torch.no_grad():
        net(torch.randn(8, 3, SIZE, SIZE))
    stream = io.BytesIO()
    torch.save(net.state_dict(), stream)
    return net.state_dict(), stream.getvalue()


@pytest.fixture
def server(checkpoint, tmp_path, monkeypatch) -> Iterator[LocalServer]:
    """Serves the checkpoint as the file that the project knows as resnet50."""
    known, content = IMAGENET["resnet50"], checkpoint[1]
    with LocalServer({f"/{known.file}": content}) as local:
        served = replace(
            known,
            urls=(local.url(f"/{known.file}"),),
            sha256=hashlib.sha256(content).hexdigest(),
            size=len(content),
        )
        monkeypatch.setitem(IMAGENET, "resnet50", served)
        monkeypatch.setenv("BUSBENCH_WEIGHTS", str(tmp_path / "weights"))
        yield local


@pytest.fixture
def fp32() -> Context:
    return context("cpu", 2, "fp32")


@pytest.fixture
def images() -> np.ndarray:
    return np.random.default_rng(0).integers(0, 256, (8, SIZE, SIZE), dtype=np.uint8)


def test_the_profile_asks_for_the_papers_networks():
    amr_network, common = BUSI.cams["amr"]["network"], BUSI.train.common
    assert amr_network["encoder"] == common.encoder == "resnet50"
    assert amr_network["initialisation"] == common.initialisation == "imagenet"


def test_amr_starts_from_the_downloaded_weights_trains_and_gives_cams(server, checkpoint, images, fp32):
    block = BUSI.cams["amr"]
    # Two steps of the paper's length throw random weights so far off that no map stays positive.
    optimisation = {**block["optimisation"], **SHORT, "learning_rate": 1e-5}
    settings = amr.AmrSettings.model_validate({**block, "optimisation": optimisation, "scales": block["scales"][:2]})
    net = amr.make_net(settings, weights_folder())
    for branch in ("spotlight", "compensation"):
        _assert_loaded(net[branch], checkpoint[0])

    labels = np.array([0, 1] * 4, np.int64)
    train = ImageSet([str(position) for position in range(len(images))], images, labels)
    trained, history = amr.fit(settings, train, 0, weights_folder(), fp32)
    assert np.isfinite(history.to_numpy(float)).all()
    for branch in ("spotlight", "compensation"):
        state = trained[branch].state_dict()
        assert torch.equal(state["stem.0.weight"], checkpoint[0]["conv1.weight"])  # frozen
        assert torch.equal(state["stem.1.running_mean"], checkpoint[0]["bn1.running_mean"])  # fixed
        assert not torch.equal(state["stages.3.2.conv1.weight"], checkpoint[0]["layer4.2.conv1.weight"])

    cams = amr.cams(settings, trained, train, fp32)
    assert cams.shape == images.shape
    assert np.isfinite(cams).all()
    assert 0 <= cams.min() < cams.max() <= 1
    assert np.isfinite(amr.logits(trained, images, fp32)).all()
    assert sum(server.count.values()) == 1  # both branches, twice, from one download


def _assert_loaded(branch: torch.nn.Module, expected: dict[str, torch.Tensor]) -> None:
    """Every weight of the checkpoint but the classifier's is in the branch."""
    found = branch.state_dict()
    stem, seen = {"conv1": "stem.0", "bn1": "stem.1"}, 0
    for name, value in expected.items():
        module, _, rest = name.partition(".")
        if module == "fc":
            continue
        place = f"{stem[module]}.{rest}" if module in stem else f"stages.{int(module[-1]) - 1}.{rest}"
        # In the compensation branch bn3 is followed by the modulation module.
        place = place if place in found else place.replace(".bn3.", ".bn3.0.")
        assert torch.equal(found[place], value), name
        seen += 1
    assert seen == len(expected) - 2


@pytest.mark.parametrize("row", ["pseudo_whole", "pseudo_mean_teacher"])
def test_the_unet_starts_from_the_downloaded_weights_trains_and_predicts(server, checkpoint, images, fp32, row):
    recipe = BUSI.row(row)
    net = make_unet(recipe.encoder, recipe.decoder_channels, recipe.width, "resnet50", weights_folder())
    encoder = net.encoder.state_dict()
    assert set(encoder) == {name for name in checkpoint[0] if not name.startswith("fc.")}
    assert all(torch.equal(value, checkpoint[0][name]) for name, value in encoder.items())

    recipe = recipe.model_copy(
        update={
            "optimisation": recipe.optimisation.model_copy(update=SHORT),
            "mean_teacher": recipe.mean_teacher.model_copy(update={"labelled_per_batch": 2}),
        }
    )
    masks = np.zeros(images.shape, np.uint8)
    masks[:, 20:40, 16:50] = 1
    unlabelled = images[4:] if row == "pseudo_mean_teacher" else None
    data = TrainingSet(images[:4], masks[:4], unlabelled, len(images))
    trained, history = train_segmentation(row, data, recipe, 0, weights_folder(), fp32)
    assert np.isfinite(history.to_numpy(float)).all()
    probabilities = predict(trained, images, fp32)
    assert probabilities.shape == images.shape
    assert np.isfinite(probabilities).all()
    assert sum(server.count.values()) == 1


def test_weights_with_another_hash_are_refused(server, monkeypatch):
    monkeypatch.setitem(IMAGENET, "resnet50", replace(IMAGENET["resnet50"], sha256="0" * 64))
    with pytest.raises(UserError, match=r"resnet50-0676ba61\.pth.*SHA-256 [0-9a-f]{64} instead of 0{64}"):
        amr.make_net(amr.AmrSettings.model_validate(BUSI.cams["amr"]), weights_folder())
    assert not (weights_folder() / IMAGENET["resnet50"].file).exists()
