"""Segment Anything as the pseudo stage runs it, in batches, against SamPredictor image by image in fp32."""

import os
import tempfile
from pathlib import Path

import cv2
import numpy as np
import torch
from segment_anything import SamPredictor, sam_model_registry

from bench.benchmarks.timing import Comparison, seconds
from bench.data.phantom import render
from bench.precision import resolve
from bench.progress import say
from bench.prompting import Prompt
from bench.prompting.sam import TITLES, SamSegmenter
from bench.runtime import context

TYPICAL_SIZE = (560, 500)  # width, height of a BUSI image
# As many as make eight batches of a GPU; on processor cores each image takes seconds.
IMAGES = {"cpu": 4, "cuda": 32}
# What each way does before its time counts: a GPU loads and picks kernels for the first batch.
WARM_UP = {"cpu": 0, "cuda": 4}
VARIANT = {"cpu": "vit_b", "cuda": "vit_h"}


def measure(images: int | None) -> Comparison:
    """Time both ways over `images` phantoms (4 when None, 32 on a GPU) and compare the masks.

    The weights are random, at the official sizes: the time is that of the official checkpoint. How many pixels a
    rounding turns over depends on the weights, so the agreement does not carry over.
    """
    device = "cuda" if torch.cuda.is_available() else "cpu"
    precision = resolve("auto", device)
    variant, count = VARIANT[device], images or IMAGES[device]
    context(device, len(os.sched_getaffinity(0)), "fp32")
    torch.manual_seed(0)
    model = sam_model_registry[variant](checkpoint=None).to(device)
    prompts = [_prompt(number) for number in range(1, count + 1)]
    _one_by_one(SamPredictor(model), prompts[: WARM_UP[device]])
    plain: list[np.ndarray] = []
    plain_seconds = seconds(lambda: plain.extend(_one_by_one(SamPredictor(model), prompts)))
    with tempfile.TemporaryDirectory() as folder:
        torch.save(model.state_dict(), Path(folder) / "random.pth")
        segmenter = SamSegmenter(variant, Path(folder) / "random.pth", Path(folder), device, precision)
    list(segmenter.segment_all(prompts[: WARM_UP[device]]))
    ours: list[np.ndarray] = []
    our_seconds = seconds(lambda: ours.extend(segmenter.segment_all(prompts)))
    agreement = [(one & other).sum() / max(1, (one | other).sum()) for one, other in zip(plain, ours, strict=True)]
    say(f"agreement of the masks: IoU {np.mean(agreement):.3f}, lowest {min(agreement):.3f} (random weights)")
    work = f"{TITLES[variant]}, {count} images, {TYPICAL_SIZE[0]} x {TYPICAL_SIZE[1]}, {device}"
    return Comparison(work, "SamPredictor, fp32", plain_seconds, f"batches, fused attention, {precision}", our_seconds)


def _prompt(number: int) -> Prompt:
    """A phantom enlarged to the typical size of BUSI's images, and a box in its middle."""
    image = cv2.resize(render("benign", number, 0).image, TYPICAL_SIZE, interpolation=cv2.INTER_CUBIC)
    width, height = TYPICAL_SIZE
    box = (width // 4, height // 4, 3 * width // 4, 3 * height // 4)
    return np.repeat(np.asarray(image, np.uint8)[..., None], 3, axis=2), box


def _one_by_one(predictor: SamPredictor, prompts: list[Prompt]) -> list[np.ndarray]:
    masks = []
    for image, box in prompts:
        predictor.set_image(image)
        masks.append(predictor.predict(box=np.asarray(box, dtype=np.float64), multimask_output=False)[0][0])
    return masks
