"""What every method in baselines/ must keep to, whatever it is."""

import subprocess
import sys
from functools import cache
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import pandas as pd
import pytest

from bench.methods import ImageSet, method_module, methods
from bench.runtime import Context, context
from bench.schema import Strict
from bench.settings import load

ROOT = Path(__file__).resolve().parents[1]
PHANTOM = load("phantom", ROOT / "params.yaml")
SIZE = 64
COUNT = 12

every_method = pytest.mark.parametrize("method", methods())


def make_images() -> ImageSet:
    """Speckle; the second half with a bright blob."""
    rng = np.random.default_rng(0)
    y, x = np.mgrid[:SIZE, :SIZE]
    images = rng.integers(20, 120, (COUNT, SIZE, SIZE)).astype(float)
    labels = np.repeat(np.array([0, 1], np.int64), COUNT // 2)
    for position in np.flatnonzero(labels):
        column, row = rng.integers(16, 48, 2)
        images[position] += 130 * np.exp(-((x - column) ** 2 + (y - row) ** 2) / 100)
    return ImageSet(images.astype(np.uint8), labels)


IMAGES = make_images()


def short_settings(method: str) -> Strict:
    """The phantom profile's, cut to one epoch in full precision."""
    block = PHANTOM.cams[method]
    optimisation = {**block["optimisation"], "epochs": 1, "batch_size": 4, "precision": "fp32"}
    return methods()[method].settings.model_validate({**block, "optimisation": optimisation})


def where() -> Context:
    return context("cpu", 2, "fp32")


def fitted(method: str, seed: int = 0) -> tuple[Any, pd.DataFrame]:
    return method_module(method).fit(short_settings(method), IMAGES, seed, Path("unused"), where())


@cache
def shared(method: str) -> tuple[ModuleType, Strict, Any, pd.DataFrame]:
    return method_module(method), short_settings(method), *fitted(method)


@cache
def shared_cams(method: str) -> np.ndarray:
    return cams_of(method, IMAGES.images)


def cams_of(method: str, images: np.ndarray) -> np.ndarray:
    module, settings, model, _ = shared(method)
    return module.cams(settings, model, images, where())


@every_method
def test_the_spec_is_complete(method):
    spec = methods()[method]
    assert spec.id == method
    assert spec.label
    assert spec.licence
    assert spec.note
    assert set(spec.paper) == {"tumor_iou", "background_iou", "miou"}
    assert all(0 < value < 100 for value in spec.paper.values())
    assert issubclass(spec.settings, Strict)


@every_method
def test_its_module_imports_no_torch_at_its_top(method):
    code = f"import sys, baselines.{method}; sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], cwd=ROOT, check=False).returncode == 0


@every_method
def test_training_gives_a_finite_loss_history(method):
    _, _, _, history = shared(method)
    assert history["epoch"].tolist() == [1]
    assert "total" in history.columns
    assert np.isfinite(history.to_numpy(float)).all()


@every_method
def test_logits_are_finite_and_two_an_image(method):
    module, _, model, _ = shared(method)
    logits = module.logits(model, IMAGES.images, where())
    assert logits.shape == (COUNT, 2)
    assert logits.dtype == np.float32
    assert np.isfinite(logits).all()


@every_method
def test_cams_have_the_images_size_and_lie_between_0_and_1(method):
    cams = shared_cams(method)
    assert cams.shape == (COUNT, SIZE, SIZE)
    assert cams.dtype == np.float32
    assert cams.min() >= 0
    assert cams.max() <= 1
    assert cams.max() > 0.5  # not all maps are empty


@every_method
def test_cams_of_mirrored_images_are_mirrored_cams(method):
    cams = shared_cams(method)
    mirrored = cams_of(method, IMAGES.images[:, :, ::-1].copy())
    assert np.allclose(mirrored, cams[:, :, ::-1], atol=1e-3)
    assert not np.allclose(mirrored, cams, atol=1e-2)


@every_method
def test_an_image_alone_gives_what_it_gives_among_others(method):
    module, _, model, _ = shared(method)
    together, logits = shared_cams(method), module.logits(model, IMAGES.images, where())
    for row in (0, COUNT - 1):
        assert np.allclose(cams_of(method, IMAGES.images[[row]])[0], together[row], atol=1e-4)
        assert np.allclose(module.logits(model, IMAGES.images[[row]], where())[0], logits[row], atol=1e-4)


@every_method
def test_a_seed_gives_the_same_cams_and_another_seed_gives_others(method):
    again, other = (
        method_module(method).cams(short_settings(method), fitted(method, seed)[0], IMAGES.images, where())
        for seed in (0, 1)
    )
    assert again.tobytes() == shared_cams(method).tobytes()
    assert not np.allclose(again, other, atol=1e-2)
