"""Multi-scale CAMs in batches, images together with their mirror images, against one image at a time."""

import contextlib
import io
import os

import numpy as np
import torch

from bench.benchmarks.timing import Comparison, seconds
from bench.cam import plain_cams
from bench.nets.resnet import make_cam_resnet
from bench.runtime import Context, context
from bench.schema import CamNetwork

IMAGES, SIZE, SCALES = 32, 128, [1.0, 0.5, 1.5, 2.0]
ROUNDS = 3
NETWORK = CamNetwork(
    encoder="resnet18",
    width=1.0,
    initialisation="none",
    output_stride=16,
    fixed_batch_norm=False,
    frozen_stem=False,
    cells="official",
)


def measure(images: int | None) -> list[Comparison]:
    """Time both ways over `images` noise images (32 when None); each way's fastest of three rounds in turn."""
    count = images or IMAGES
    where = context("cpu", len(os.sched_getaffinity(0)), "fp32")
    torch.manual_seed(0)
    net = where.place(make_cam_resnet(NETWORK, None).eval())
    shown = np.random.default_rng(0).integers(0, 256, (count, SIZE, SIZE), np.uint8)
    # A progress bar for each single image would count as time.
    with contextlib.redirect_stdout(io.StringIO()):
        _one_by_one(net, shown[:2], where)
        times = [
            (
                seconds(lambda: _one_by_one(net, shown, where)),
                seconds(lambda: plain_cams(net, shown, SCALES, where)),
            )
            for _ in range(ROUNDS)
        ]
    single, batched = (min(column) for column in zip(*times, strict=True))
    work = f"CAMs, {count} images, ResNet18, {SIZE} px"
    return [Comparison(work, "one image at a time", single, "batches", batched)]


def _one_by_one(net: torch.nn.Module, images: np.ndarray, where: Context) -> None:
    for image in images:
        plain_cams(net, image[None], SCALES, where)
