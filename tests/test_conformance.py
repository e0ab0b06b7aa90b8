"""What every method in baselines/ must keep to, whatever it is."""

import subprocess
import sys
from dataclasses import replace
from functools import cache
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import pandas as pd
import pytest
import torch

from bench.methods import ImageSet, gives, method_module, methods
from bench.nets.saved import load_net, save_net
from bench.runtime import Context, context
from bench.schema import MethodSettings, Strict
from bench.settings import load, profiles
from bench.sources import imports
from bench.training.checkpoint import Checkpoint
from tests.pretended_gpu import pretended_gpu

ROOT = Path(__file__).resolve().parents[1]
PHANTOM = load("phantom", ROOT / "params.yaml")
SIZE = 64
COUNT = 12


def given(method: str) -> list[str]:
    return [what for what in ("cams", "segment") if gives(method, what)]


every_method = pytest.mark.parametrize("method", methods())
every_map = pytest.mark.parametrize(("method", "what"), [(name, what) for name in methods() for what in given(name)])
every_cam = pytest.mark.parametrize("method", [name for name in methods() if gives(name, "cams")])


def make_images() -> ImageSet:
    """Speckle; the second half with a bright blob."""
    rng = np.random.default_rng(0)
    y, x = np.mgrid[:SIZE, :SIZE]
    images = rng.integers(20, 120, (COUNT, SIZE, SIZE)).astype(float)
    labels = np.repeat(np.array([0, 1], np.int64), COUNT // 2)
    for position in np.flatnonzero(labels):
        column, row = rng.integers(16, 48, 2)
        images[position] += 130 * np.exp(-((x - column) ** 2 + (y - row) ** 2) / 100)
    return ImageSet([f"image {position}" for position in range(COUNT)], images.astype(np.uint8), labels)


IMAGES = make_images()


def short_settings(method: str) -> Strict:
    """The phantom profile's, cut to two epochs in full precision."""
    block = PHANTOM.cams[method]
    optimisation = {**block["optimisation"], "epochs": 2, "batch_size": 4, "precision": "fp32"}
    return methods()[method].settings.model_validate({**block, "optimisation": optimisation})


def where() -> Context:
    return context("cpu", 2, "fp32")


def fitted(method: str, seed: int = 0) -> tuple[Any, pd.DataFrame]:
    return method_module(method).fit(short_settings(method), IMAGES, seed, Path("unused"), where())


@cache
def shared(method: str) -> tuple[ModuleType, Strict, Any, pd.DataFrame]:
    return method_module(method), short_settings(method), *fitted(method)


def maps_of(method: str, what: str, images: ImageSet = IMAGES, net: torch.nn.Module | None = None) -> np.ndarray:
    """The CAMs or the segmentation of images, by the shared network or another one."""
    module, settings, trained, _ = shared(method)
    given = images if what == "cams" else images.images
    return getattr(module, what)(settings, net or trained, given, where())


@cache
def shared_maps(method: str, what: str) -> np.ndarray:
    return maps_of(method, what)


@every_method
def test_the_spec_is_complete(method):
    spec = methods()[method]
    assert spec.id == method
    assert spec.label
    assert spec.licence
    assert spec.note
    assert 0 < spec.threshold < 1
    assert spec.labels == "image"
    if spec.paper is not None:
        assert set(spec.paper) == {"tumor_iou", "background_iou", "miou"}
        assert all(0 < value < 100 for value in spec.paper.values())
    assert issubclass(spec.settings, MethodSettings)


@every_method
def test_its_file_opens_with_what_the_paper_says_and_what_was_chosen(method):
    text = method_module(method).__doc__
    for part in ("Paper:", "Unclear:", "Chosen:", "Cost:"):
        assert part in text, part


@every_method
def test_torch_compile_takes_all_of_its_losses_and_changes_nothing_of_them(method, monkeypatch):
    modes = []

    def traced(step: Any, mode: str, _device: torch.device) -> Any:
        modes.append(mode)
        # Fails where the tracing breaks, and runs the same kernels as without it.
        return torch.compile(step, backend="eager", fullgraph=True, dynamic=False)

    monkeypatch.setattr("bench.training.classification.compiled", traced)
    settings = short_settings(method).model_copy(update={"compile": "default"})
    _, history = method_module(method).fit(settings, IMAGES, 0, Path("unused"), where())
    assert set(modes) == {"default"}
    pd.testing.assert_frame_equal(history, shared(method)[3], check_exact=True)


@pytest.mark.parametrize("method", [name for name, spec in methods().items() if spec.paper])
def test_every_profile_has_a_block_of_the_papers_methods(method):
    for profile in profiles(ROOT / "params.yaml"):
        assert method in load(profile, ROOT / "params.yaml").cams


@every_method
def test_its_module_imports_no_torch_at_its_top(method):
    code = f"import sys, baselines.{method}; sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], cwd=ROOT, check=False).returncode == 0


@every_method
def test_it_imports_no_other_method(method):
    assert not [name for name in imports(f"baselines.{method}") if name.startswith("baselines.")]


@every_method
def test_training_gives_a_finite_loss_history(method):
    _, _, _, history = shared(method)
    assert history["epoch"].is_monotonic_increasing
    assert "total" in history.columns
    assert np.isfinite(history["total"].to_numpy(float)).all()


@every_method
def test_training_moves_every_part_of_the_network(method):
    """Every tensor that is to be trained differs between a network and one trained longer."""
    module, settings, net, _ = shared(method)
    longer = settings.model_copy(update={"optimisation": settings.optimisation.model_copy(update={"epochs": 3})})
    other, _ = module.fit(longer, IMAGES, 0, Path("unused"), where())
    trained = {name for name, parameter in net.named_parameters() if parameter.requires_grad}
    same = [name for name, value in other.named_parameters() if torch.equal(value, net.get_parameter(name))]
    assert not trained & set(same)


@every_method
def test_live_batch_norms_count_while_they_train(method):
    """A network that is trained in evaluation mode by mistake learns nothing, and shows it here."""
    counts = [int(value) for name, value in shared(method)[2].named_buffers() if name.endswith("num_batches_tracked")]
    assert all(count > 0 for count in counts)


@every_method
def test_logits_are_finite_and_two_an_image(method):
    module, _, net, _ = shared(method)
    logits = module.logits(net, IMAGES.images, where())
    assert logits.shape == (COUNT, 2)
    assert logits.dtype == np.float32
    assert np.isfinite(logits).all()


@every_map
def test_maps_have_the_images_size_and_lie_between_0_and_1(method, what):
    maps = shared_maps(method, what)
    assert maps.shape == (COUNT, SIZE, SIZE)
    assert maps.dtype == np.float32
    assert maps.min() >= 0
    assert maps.max() <= 1
    assert maps.std() > 0


@every_cam
def test_cams_of_mirrored_images_are_mirrored_cams(method):
    cams = shared_maps(method, "cams")
    # Other ids, so that nothing remembered of an image in training stands in for its CAM.
    strangers = [f"stranger {position}" for position in range(COUNT)]
    plain = maps_of(method, "cams", replace(IMAGES, ids=strangers))
    mirrored = maps_of(method, "cams", replace(IMAGES, ids=strangers, images=IMAGES.images[:, :, ::-1].copy()))
    assert plain.shape == cams.shape
    assert np.allclose(mirrored, plain[:, :, ::-1], atol=1e-3)
    assert not np.allclose(mirrored, plain, atol=1e-2)


@every_map
def test_an_image_alone_gives_what_it_gives_among_others(method, what):
    module, _, net, _ = shared(method)
    together, logits = shared_maps(method, what), module.logits(net, IMAGES.images, where())
    for row in (0, COUNT - 1):
        alone = ImageSet([IMAGES.ids[row]], IMAGES.images[[row]], IMAGES.labels[[row]])
        assert np.allclose(maps_of(method, what, alone)[0], together[row], atol=1e-3)
        assert np.allclose(module.logits(net, alone.images, where())[0], logits[row], atol=1e-3)


@every_map
def test_a_seed_gives_the_same_maps_and_another_seed_gives_others(method, what):
    again, other = (maps_of(method, what, net=fitted(method, seed)[0]) for seed in (0, 1))
    assert again.tobytes() == shared_maps(method, what).tobytes()
    assert not np.allclose(again, other, atol=1e-3)


@every_method
def test_a_saved_network_gives_the_same_predictions_and_is_saved_with_the_same_bytes(method, tmp_path):
    module, settings, net, _ = shared(method)
    save_net(net, tmp_path / "first")
    loaded = where().place(load_net(module.make_net(settings, None), tmp_path / "first"))
    save_net(loaded, tmp_path / "second")
    assert (tmp_path / "first").read_bytes() == (tmp_path / "second").read_bytes()
    assert module.logits(loaded, IMAGES.images, where()).tobytes() == (
        module.logits(net, IMAGES.images, where()).tobytes()
    )
    for what in given(method):
        assert maps_of(method, what, net=loaded).tobytes() == shared_maps(method, what).tobytes()


@every_method
def test_it_computes_on_a_gpu(method):
    """On one without values: all that a method touches is where it must be, from training to CAMs."""
    module, settings = method_module(method), short_settings(method).model_copy(update={"settle_batch_norm": True})
    with pretended_gpu():
        gpu = context("cuda", 2, "bf16")
        net, history = module.fit(settings, IMAGES, 0, Path("unused"), gpu)
        assert {value.device.type for value in net.state_dict().values()} == {"cuda"}
        assert list(history.columns) == list(shared(method)[3].columns)
        assert module.logits(net, IMAGES.images, gpu).shape == (COUNT, 2)
        for what in given(method):
            maps = getattr(module, what)(settings, net, IMAGES if what == "cams" else IMAGES.images, gpu)
            assert maps.shape == (COUNT, SIZE, SIZE)


class InterruptError(Exception):
    """In the place of a kill."""


@every_method
def test_a_fit_that_is_interrupted_after_every_epoch_ends_with_the_same_bytes(method, tmp_path, monkeypatch):
    """What a method changes while it trains is in its checkpoints, all of it."""
    module, settings, net, history = shared(method)
    keep, interruptions = Checkpoint.keep, 0

    def interrupted(*given: Any) -> None:
        keep(*given)
        raise InterruptError

    monkeypatch.setattr(Checkpoint, "keep", interrupted)
    while True:
        torch.manual_seed(interruptions)  # another process, other surroundings
        try:
            place = context("cpu", 2, "fp32", tmp_path / "checkpoints")
            resumed, resumed_history = module.fit(settings, IMAGES, 0, Path("unused"), place)
            break
        except InterruptError:
            interruptions += 1
    assert interruptions == len(history)
    pd.testing.assert_frame_equal(resumed_history, history, check_exact=True)
    for name, trained in (("undisturbed", net), ("resumed", resumed)):
        save_net(trained, tmp_path / name)
    assert (tmp_path / "undisturbed").read_bytes() == (tmp_path / "resumed").read_bytes()
