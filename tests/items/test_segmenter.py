"""The small SAM: trained, saved in the official layout, and answered by the very code that answers for SAM."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from segment_anything import SamPredictor

from bench.data.phantom import Phantom
from bench.items.segmenter import Lesion, box_of, lesions, measured, prompted, run, save_checkpoint
from bench.paths import CHECKPOINT
from bench.prompting.sam import SamSegmenter
from bench.prompting.sam_model import build_sam, decode, encode
from bench.runtime import Context, context, seeded_initialisation
from bench.schema import Lesions, Optimisation, SamSizes
from bench.settings import load
from bench.training.box_prompts import train_on_boxes
from tests.pretended_gpu import pretended_gpu

SIZES = SamSizes(
    image_size=64,
    patch_size=8,
    embed_dim=32,
    depth=2,
    heads=2,
    window=4,
    global_blocks=[1],
    prompt_dim=32,
    decoder_mlp=32,
)
OPTIMISATION = Optimisation(
    epochs=1, batch_size=2, learning_rate=0.001, betas=[0.9, 0.999], weight_decay=0.0, precision="bf16"
)
SETTINGS: dict[str, Any] = {
    "training": {"seed": 11, "benign": 2, "malignant": 1},
    "held_out": {"seed": 12, "benign": 1, "malignant": 1},
    "sizes": SIZES.model_dump(),
    "optimisation": OPTIMISATION.model_dump(),
    "device": "cpu",
    "threads": 1,
}


@pytest.fixture(scope="module")
def finished(tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("segmenter")
    run(SETTINGS, {}, out)
    return out


def test_the_item_leaves_checkpoint_history_and_measure(finished):
    assert sorted(file.name for file in finished.iterdir()) == [CHECKPOINT, "history.csv", "segmenter.json"]
    found = json.loads((finished / "segmenter.json").read_text(encoding="utf-8"))
    assert found["name"] == "sam_phantom, a small SAM trained on other phantoms and their masks"
    assert found["lesions"] == 2
    assert 0 <= found["mask_iou"] <= 100
    assert 60 < found["ellipse_iou"] < 95


def test_the_same_settings_give_the_same_bytes(finished, tmp_path):
    run(SETTINGS, {}, tmp_path)
    for file in finished.iterdir():
        assert (tmp_path / file.name).read_bytes() == file.read_bytes(), file.name


def test_it_computes_on_a_gpu(finished, tmp_path):
    """On one without values: all is where it must be, from the phantoms to the masks."""
    with pretended_gpu():
        run({**SETTINGS, "device": "cuda"}, {}, tmp_path)
    assert sorted(file.name for file in tmp_path.iterdir()) == sorted(file.name for file in finished.iterdir())


def test_another_seed_gives_another_network(finished, tmp_path):
    run({**SETTINGS, "training": {**SETTINGS["training"], "seed": 13}}, {}, tmp_path)
    assert (tmp_path / CHECKPOINT).read_bytes() != (finished / CHECKPOINT).read_bytes()


def test_a_small_sam_may_be_as_wide_as_an_official_one(tmp_path):
    sizes = SIZES.model_copy(update={"embed_dim": 768, "depth": 1, "global_blocks": [0]})
    save_checkpoint(build_sam(sizes), tmp_path / CHECKPOINT)
    assert SamSegmenter("phantom", tmp_path / CHECKPOINT, tmp_path, "cpu", sizes=sizes).name.startswith("sam_phantom")


def test_the_checkpoint_is_a_plain_state_dict_that_any_sam_loads(finished):
    state = torch.load(finished / CHECKPOINT, weights_only=True)
    model = build_sam(SIZES)
    model.load_state_dict(state, strict=True)
    assert SamSegmenter("phantom", finished / CHECKPOINT, finished, "cpu", sizes=SIZES).name.startswith("sam_phantom")


def test_every_lesion_is_one_prompt(monkeypatch):
    asked = []

    def rendered(category: str, number: int, seed: int) -> Phantom:
        asked.append((category, number, seed))
        image, masks = np.full((4, 6), number, np.uint8), np.eye(2, 24, dtype=bool).reshape(2, 4, 6)
        return Phantom(image, tuple(masks[: 1 + (number == 2)]))

    monkeypatch.setattr("bench.data.phantom.render", rendered)
    found = list(lesions(Lesions(seed=5, benign=3, malignant=1), "test", 1))
    assert sorted(asked) == [("benign", 1, 5), ("benign", 2, 5), ("benign", 3, 5), ("malignant", 1, 5)]
    assert [image[0, 0].tolist() for image, _ in found] == [[1] * 3, [2] * 3, [2] * 3, [3] * 3, [1] * 3]
    assert [box_of(mask) for _, mask in found] == [(0, 0, 0, 0)] * 2 + [(1, 0, 1, 0)] + [(0, 0, 0, 0)] * 2


def test_prompts_are_prepared_as_the_official_predictor_does():
    model, mask = build_sam(SIZES), np.zeros((40, 80), bool)
    mask[10:20, 8:40] = True
    image = np.random.default_rng(0).integers(0, 256, (40, 80, 3), dtype=np.uint8)
    data = prompted([(image, mask)], model, Context(torch.device("cpu"), False))
    predictor = SamPredictor(model)
    for position, shown in enumerate((image, np.ascontiguousarray(image[:, ::-1]))):
        seen = []
        hook = model.image_encoder.register_forward_pre_hook(lambda _, given, seen=seen: seen.append(given[0]))
        predictor.set_image(shown)
        hook.remove()
        assert torch.equal(seen[0][0], data.pixels[position])
    scale = 64 / 80
    assert data.boxes[0].tolist() == pytest.approx([8 * scale, 10 * scale, 39 * scale, 19 * scale])
    assert data.boxes[1].tolist() == pytest.approx([40 * scale, 10 * scale, 71 * scale, 19 * scale])
    assert data.targets.shape == (2, 32, 32)
    assert data.targets[0].sum().item() == pytest.approx(mask.sum() * (32 / 80) ** 2, rel=0.02)
    torch.testing.assert_close(data.targets[0].flip(1), data.targets[1])
    assert not data.targets[:, 16:].any()


def blobs(count: int, seed: int) -> list[Lesion]:
    """Dark tilted ovals on bright ground, far easier than phantoms."""
    rng, found = np.random.default_rng(seed), []
    for _ in range(count):
        height, width = rng.integers(50, 100, 2)
        rows, columns = np.mgrid[:height, :width]
        y, x = rows - rng.uniform(0.35, 0.65) * height, columns - rng.uniform(0.35, 0.65) * width
        a, b = rng.uniform(0.12, 0.3, 2) * min(height, width)
        mask = (x + 0.5 * y) ** 2 / a**2 + y**2 / b**2 < 1
        grey = np.where(mask, 60, 170) + rng.normal(0, 12, mask.shape)
        found.append((np.repeat(np.clip(grey, 0, 255).astype(np.uint8)[..., None], 3, 2), mask))
    return found


@pytest.fixture(scope="module")
def learnt(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The checkpoint of a network that has learnt to outline blobs."""
    where = context("cpu", 2, "fp32")
    with seeded_initialisation("test", 0):
        model = build_sam(SIZES)
    data = prompted(blobs(100, 0), model, where)
    longer = OPTIMISATION.model_copy(update={"epochs": 8, "batch_size": 16, "learning_rate": 0.002})
    answer = lambda pixels, boxes: decode(model, encode(model, pixels, where), boxes)  # noqa: E731
    trained, _ = train_on_boxes("blobs", model, answer, data, longer, 0, context("cpu", 1, "fp32"))
    file = tmp_path_factory.mktemp("learnt") / CHECKPOINT
    save_checkpoint(trained, file)
    return file


def segmenter(file: Path, precision: str) -> SamSegmenter:
    return SamSegmenter("phantom", file, file.parent, "cpu", precision, SIZES)


@pytest.mark.slow
def test_it_learns_to_outline_what_a_true_box_holds(learnt):
    judged = measured(segmenter(learnt, "fp32"), blobs(40, 1))
    print(judged)
    assert judged > 80


@pytest.mark.slow
def test_a_trained_networks_masks_are_the_official_predictors_in_both_precisions(learnt):
    found = blobs(40, 2)
    model = build_sam(SIZES)
    model.load_state_dict(torch.load(learnt, weights_only=True))
    predictor, official = SamPredictor(model), []
    for image, mask in found:
        predictor.set_image(image)
        official.append(predictor.predict(box=np.array(box_of(mask)), multimask_output=False)[0][0])
    prompts = [(image, box_of(mask)) for image, mask in found]
    agreement = {
        precision: [
            float((ours & theirs).sum() / (ours | theirs).sum())
            for ours, theirs in zip(segmenter(learnt, precision).segment_all(prompts), official, strict=True)
        ]
        for precision in ("fp32", "bf16")
    }
    print({precision: (min(values), float(np.mean(values))) for precision, values in agreement.items()})
    assert min(agreement["fp32"]) > 0.99
    assert np.mean(agreement["bf16"]) > 0.99


def test_the_profile_has_phantoms_of_its_own():
    settings = load("phantom")
    assert settings.segmenter is not None
    assert len({settings.data.seed, settings.segmenter.training.seed, settings.segmenter.held_out.seed}) == 3
