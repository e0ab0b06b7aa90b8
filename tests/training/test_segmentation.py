"""One row of Table II, trained for a moment on small random images."""

import math
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

import bench.training.segmentation
from bench.runtime import Context, context
from bench.schema import Segmentation
from bench.training.augment import normalise, to_float
from bench.training.checkpoint import Checkpoint
from bench.training.segmentation import TrainingSet, predict, train_segmentation, updates_per_epoch

SIZE = 32
WEIGHTS = Path("unused")


def settings(epochs: int = 1, updates: str = "per_v", learning_rate: float = 1e-3, **mean_teacher: Any) -> Segmentation:
    return Segmentation.model_validate(
        {
            "encoder": "resnet18",
            "width": 1.0,
            "initialisation": "none",
            "decoder_channels": [16, 8, 8],
            "optimisation": {
                "epochs": epochs,
                "batch_size": 4,
                "learning_rate": learning_rate,
                "betas": [0.9, 0.999],
                "weight_decay": 0.0,
                "precision": "fp32",
            },
            "augmentation": {"horizontal_flip": True, "vertical_flip": True, "rotation_degrees": 20.0},
            "updates": updates,
            "settle_batch_norm": False,
            "compile": None,
            "mean_teacher": {
                "labelled_per_batch": 2,
                "consistency_weight": 0.1,
                "ramp_fraction": 0.4,
                "consistency_on": "all",
                "teacher_noise": 0.1,
                "teacher_noise_limit": 0.2,
                "ema_decay": 0.99,
                "ema_buffers": True,
                "evaluated": "student",
            }
            | mean_teacher,
        }
    )


def make_data(labelled: int, unlabelled: int | None, size_of_v: int) -> TrainingSet:
    rng = np.random.default_rng(5)

    def images(count: int) -> np.ndarray:
        return rng.integers(0, 256, (count, SIZE, SIZE), dtype=np.uint8)

    shown = images(labelled)
    masks = np.zeros(shown.shape, np.uint8)
    masks[:, 8:20, 10:26] = 1
    return TrainingSet(shown, masks, None if unlabelled is None else images(unlabelled), size_of_v)


WHOLE = make_data(10, None, 10)
SUBSET = make_data(3, None, 10)
MEAN_TEACHER = make_data(3, 7, 10)
ROWS = {"whole": WHOLE, "subset": SUBSET, "mean_teacher": MEAN_TEACHER}


@pytest.fixture
def fp32() -> Context:
    return context("cpu", 2, "fp32")


@pytest.fixture
def unseen_images() -> np.ndarray:
    return np.random.default_rng(6).integers(0, 256, (5, SIZE, SIZE), dtype=np.uint8)


def trained(data: TrainingSet, recipe: Segmentation, where: Context, seed: int = 0) -> torch.nn.Module:
    return train_segmentation("row", data, recipe, seed, WEIGHTS, where)[0]


@pytest.mark.parametrize("precision", ["fp32", "bf16"])
@pytest.mark.parametrize("row", ROWS)
def test_every_kind_of_row_trains_in_both_precisions(row, precision, unseen_images):
    where = context("cpu", 2, precision)
    net, history = train_segmentation("row", ROWS[row], settings(), 0, WEIGHTS, where)
    names = ["epoch", "total", "supervised"] + (["consistency"] if row == "mean_teacher" else [])
    assert list(history.columns) == names
    assert np.isfinite(history.to_numpy(float)).all()
    assert (history["total"] > 0).all()
    assert not net.training
    assert all(parameter.dtype == torch.float32 for parameter in net.parameters())
    probabilities = predict(net, unseen_images, where)
    assert np.isfinite(probabilities).all()


def test_training_brings_the_loss_down(fp32):
    _, history = train_segmentation("row", WHOLE, settings(epochs=12, learning_rate=1e-2), 0, WEIGHTS, fp32)
    assert history["total"].iloc[-1] < 0.7 * history["total"].iloc[0]


@pytest.mark.parametrize(("row", "precision"), [("whole", "fp32"), ("mean_teacher", "fp32"), ("mean_teacher", "bf16")])
def test_a_seed_gives_the_same_bits_whatever_the_global_generator_and_another_seed_gives_others(
    row, precision, unseen_images
):
    where = context("cpu", 2, precision)
    predictions = []
    for surroundings, seed in ((1, 0), (2, 0), (1, 1)):
        torch.manual_seed(surroundings)
        predictions.append(predict(trained(ROWS[row], settings(), where, seed), unseen_images, where))
    assert predictions[0].tobytes() == predictions[1].tobytes()
    assert not np.array_equal(predictions[0], predictions[2])


@pytest.mark.parametrize("evaluated", ["student", "teacher"])
@pytest.mark.parametrize("data", [make_data(8, None, 8), make_data(3, 5, 8)], ids=["whole", "mean_teacher"])
def test_settled_statistics_are_those_of_all_images_that_the_row_learns_from(data, evaluated, fp32):
    usual = settings(epochs=2, evaluated=evaluated)
    settled = trained(data, usual.model_copy(update={"settle_batch_norm": True}), fp32)
    assert not settled.training
    seen = data.labelled if data.unlabelled is None else np.concatenate([data.labelled, data.unlabelled])
    with torch.no_grad():
        features = settled.encoder.conv1(normalise(to_float(torch.from_numpy(seen))))
    assert torch.allclose(settled.encoder.bn1.running_mean, features.mean((0, 2, 3)), atol=1e-4)
    plain = trained(data, usual, fp32)
    assert not torch.allclose(plain.encoder.bn1.running_mean, settled.encoder.bn1.running_mean, atol=1e-3)
    assert all(torch.equal(one, other) for one, other in zip(plain.parameters(), settled.parameters(), strict=True))


@pytest.mark.parametrize(
    ("updates", "expected"),
    [
        ("per_v", {"whole": 3, "subset": 3, "mean_teacher": 3}),  # ceil(10 / 4)
        ("per_labelled", {"whole": 3, "subset": 1, "mean_teacher": 2}),  # ceil(10 / 4), ceil(3 / 4), ceil(3 / 2)
    ],
)
def test_the_number_of_updates_is_that_of_v_or_of_the_labelled_images(updates, expected, fp32, monkeypatch):
    batches = []
    original = bench.training.segmentation.random_affine

    def counting(count: int, *rest: Any) -> torch.Tensor:
        batches.append(count)
        return original(count, *rest)

    monkeypatch.setattr(bench.training.segmentation, "random_affine", counting)
    for row, data in ROWS.items():
        batches.clear()
        recipe = settings(updates=updates)
        trained(data, recipe, fp32)
        assert updates_per_epoch(data, recipe) == expected[row]
        assert batches == [4] * expected[row]  # every row has full batches


def test_all_rows_of_a_seed_start_from_the_same_weights(fp32, monkeypatch):
    monkeypatch.setattr(bench.training.segmentation, "optimise", lambda *args, **named: None)
    whole, subset, teacher, other = (
        trained(data, settings(), fp32, seed).state_dict()
        for data, seed in ((WHOLE, 0), (SUBSET, 0), (MEAN_TEACHER, 0), (WHOLE, 1))
    )
    assert all(torch.equal(whole[name], subset[name]) and torch.equal(whole[name], teacher[name]) for name in whole)
    assert not torch.equal(whole["encoder.conv1.weight"], other["encoder.conv1.weight"])


def test_the_total_is_supervised_plus_beta_times_consistency(fp32):
    data = make_data(2, 2, 4)  # one update an epoch
    _, history = train_segmentation("row", data, settings(epochs=5, ramp_fraction=0.4), 0, WEIGHTS, fp32)
    # The ramp ends after 40 % of 5 updates: T = 2.
    betas = [0.1 * math.exp(-5 * (1 - min(t / 2, 1)) ** 2) for t in range(5)]
    assert (history["consistency"] > 0).all()
    expected = history["supervised"] + np.array(betas) * history["consistency"]
    assert np.allclose(history["total"], expected, rtol=1e-5)


@pytest.mark.parametrize(
    "change", [{"consistency_on": "unlabelled"}, {"teacher_noise": 0.0}, {"consistency_weight": 10.0}]
)
def test_settings_of_the_mean_teacher_take_effect(change, fp32):
    histories = [
        train_segmentation("row", MEAN_TEACHER, settings(**options), 0, WEIGHTS, fp32)[1] for options in ({}, change)
    ]
    assert not histories[0].equals(histories[1])


def test_image_mask_and_the_teachers_view_share_one_geometry_and_the_teachers_noise_is_limited(fp32, monkeypatch):
    module, shown, targets = bench.training.segmentation, [], []
    normalise, supervised_loss = module.normalise, module.supervised_loss
    monkeypatch.setattr(module, "normalise", lambda grey: shown.append(grey) or normalise(grey))
    monkeypatch.setattr(
        module,
        "supervised_loss",
        lambda logits, target: targets.append((len(logits), target)) or supervised_loss(logits, target),
    )
    masks = MEAN_TEACHER.labels
    trained(TrainingSet(255 * masks, masks, MEAN_TEACHER.unlabelled, 10), settings(), fp32)
    assert len(shown) == 2 * len(targets) == 6
    for student, teacher, (count, target) in zip(shown[::2], shown[1::2], targets, strict=True):
        assert count == len(target) == 2  # the labelled half alone is supervised
        assert ((student[:2, 0] > 0.5) == target.bool()).float().mean() > 0.97
        assert 0.199 < (teacher - student).abs().max() < 0.201
        assert 0.05 < (teacher - student).std() < 0.1  # 0.1, clipped at 0.2


def test_student_and_teacher_are_different_networks_of_one_training(fp32, unseen_images):
    student, teacher = (
        trained(MEAN_TEACHER, settings(evaluated=evaluated), fp32) for evaluated in ("student", "teacher")
    )
    predictions = [predict(net, unseen_images, fp32) for net in (student, teacher)]
    assert not np.array_equal(*predictions)
    assert not any(parameter.requires_grad for parameter in teacher.parameters())


def test_predictions_are_half_precision_probabilities_of_the_images_shape(fp32, unseen_images, monkeypatch):
    monkeypatch.setattr(bench.training.segmentation, "PREDICTION_BATCH", 2)  # 5 images: 2, 2, 1
    net = trained(WHOLE, settings(), fp32)
    probabilities = predict(net, unseen_images, fp32)
    assert probabilities.dtype == np.float16
    assert probabilities.shape == unseen_images.shape
    assert probabilities.min() >= 0
    assert probabilities.max() <= 1
    alone = np.concatenate([predict(net, unseen_images[[row]], fp32) for row in range(5)])
    assert np.allclose(alone, probabilities, atol=2e-3)


def test_predictions_are_of_the_tumour_class(fp32, unseen_images):
    class Tumour(torch.nn.Module):
        def forward(self, images: torch.Tensor) -> torch.Tensor:
            grey = images[:, 0] * 0.229 + 0.485
            return torch.stack([torch.zeros_like(grey), 4 * grey], 1)

    expected = 1 / (1 + np.exp(-4 * (unseen_images / 255)))
    assert np.allclose(predict(Tumour(), unseen_images, fp32), expected, atol=1e-3)


@pytest.mark.parametrize("row", ["whole", "mean_teacher"])
def test_a_row_that_is_interrupted_after_every_epoch_ends_with_the_same_bits(row, fp32, tmp_path, monkeypatch):
    """Student, teacher, orders of batches, augmentation and noise all go on where they were."""
    recipe = settings(epochs=2, evaluated="teacher" if row == "mean_teacher" else "student")
    net, history = train_segmentation("row", ROWS[row], recipe, 0, WEIGHTS, fp32)
    keep = Checkpoint.keep

    def interrupted(*given: Any) -> None:
        keep(*given)
        raise InterruptedError

    monkeypatch.setattr(Checkpoint, "keep", interrupted)
    for _ in range(2):
        with pytest.raises(InterruptedError):
            train_segmentation("row", ROWS[row], recipe, 0, WEIGHTS, context("cpu", 2, "fp32", tmp_path))
    resumed, resumed_history = train_segmentation(
        "row", ROWS[row], recipe, 0, WEIGHTS, context("cpu", 2, "fp32", tmp_path)
    )
    assert resumed_history.equals(history)
    for name, value in net.state_dict().items():
        assert torch.equal(resumed.state_dict()[name], value), name
    assert not resumed.training
