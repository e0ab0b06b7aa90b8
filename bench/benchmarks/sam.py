"""Segment Anything as the pseudo stage loads and runs it, in batches, against SamPredictor image by image in fp32."""

import os
import tempfile
from collections.abc import Callable, Iterable
from functools import partial
from pathlib import Path

import cv2
import numpy as np
import torch
from segment_anything import SamPredictor, sam_model_registry
from segment_anything.modeling import Sam

from bench.benchmarks.timing import Comparison, seconds
from bench.data.phantom import render
from bench.precision import resolve
from bench.progress import say
from bench.prompting import Prompt
from bench.prompting.sam import TITLES, SamSegmenter
from bench.runtime import context

TYPICAL_SIZE = (560, 500)  # width, height of a BUSI image
# A GPU takes seconds for so many; a processor takes seconds for each.
IMAGES = {"cpu": 4, "cuda": 128}
# What each way does before its time counts: a GPU loads and picks kernels for the first batch.
WARM_UP = {"cpu": 0, "cuda": 4}
VARIANT = {"cpu": "vit_b", "cuda": "vit_h"}


def measure(images: int | None) -> list[Comparison]:
    """Time both ways over `images` phantoms (4 when None, 128 on a GPU) and compare the masks.

    Ours in fp32, and in bf16 where the device multiplies it itself. The weights are random, at the official sizes: the
    time is that of the official checkpoint. How many pixels a rounding turns over depends on the weights, so the
    agreement does not carry over.
    """
    device = "cuda" if torch.cuda.is_available() else "cpu"
    variant, count = VARIANT[device], images or IMAGES[device]
    context(device, len(os.sched_getaffinity(0)), "fp32")
    torch.manual_seed(0)
    model = _random_sam(variant).to(device)
    prompts = [_prompt(number) for number in range(1, count + 1)]
    _one_by_one(SamPredictor(model), prompts[: WARM_UP[device]])
    plain, plain_seconds = _timed(partial(_one_by_one, SamPredictor(model)), prompts)
    say(f"SamPredictor: {count / plain_seconds:.2f} images/s")
    work = f"{TITLES[variant]}, {count} images, {TYPICAL_SIZE[0]} x {TYPICAL_SIZE[1]}, {device}"
    found = []
    with tempfile.TemporaryDirectory() as folder:
        checkpoint = Path(folder) / "random.pth"
        torch.save(model.state_dict(), checkpoint)
        found.append(_loading(variant, checkpoint, device))
        for precision in dict.fromkeys(["fp32", resolve("auto", device)]):
            segmenter = SamSegmenter(variant, checkpoint, Path(folder), device, precision)
            list(segmenter.segment_all(prompts[: WARM_UP[device]]))
            ours, our_seconds = _timed(segmenter.segment_all, prompts)
            same = [float((one == other).mean()) for one, other in zip(plain, ours, strict=True)]
            lowest = f"{100 * min(same):.2f} in one image"
            say(f"{precision}: {100 * np.mean(same):.2f} % of the masks' pixels agree, {lowest}")
            way = f"batches, fused attention, {precision}"
            found.append(Comparison(work, "SamPredictor, fp32", plain_seconds, way, our_seconds))
    return found


def _loading(variant: str, checkpoint: Path, device: str) -> Comparison:
    """What passes before the first image, the file's bytes in the memory; nothing else is read from a disk."""
    official = seconds(lambda: sam_model_registry[variant](checkpoint=str(checkpoint)).to(device))
    ours = seconds(lambda: SamSegmenter(variant, checkpoint, checkpoint.parent, device))
    return Comparison(f"{TITLES[variant]}, loading it", "sam_model_registry", official, "SamSegmenter", ours)


def _timed(
    way: Callable[[list[Prompt]], Iterable[np.ndarray]], prompts: list[Prompt]
) -> tuple[list[np.ndarray], float]:
    """The masks of the prompts, bool (H, W) each, and the seconds that they took."""
    masks: list[np.ndarray] = []
    return masks, seconds(lambda: masks.extend(way(prompts)))


def _random_sam(variant: str) -> Sam:
    """An untrained SAM of the official size; its relative positions, which start at zero, are drawn too."""
    model = sam_model_registry[variant](checkpoint=None)
    for name, parameter in model.named_parameters():
        if "rel_pos" in name:
            torch.nn.init.normal_(parameter, std=0.02)
    return model


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
