"""Training of gt_whole's U-Net against the usual shape: a Dataset that augments image by image, fp32, NCHW, Adam."""

import math
import os
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import torch
from torch.utils.data import DataLoader, Dataset
from torchvision.transforms import InterpolationMode
from torchvision.transforms.v2 import functional as transforms

from bench.benchmarks.timing import Comparison, epochs
from bench.nets.unet import make_unet
from bench.precision import resolve
from bench.progress import say
from bench.runtime import context
from bench.schema import Segmentation
from bench.settings import PARAMS, load
from bench.sources import ROOT
from bench.training.augment import IMAGENET_MEAN, IMAGENET_STD
from bench.training.losses import supervised_loss
from bench.training.segmentation import TrainingSet, train_segmentation

ROUNDS = 4
# The profile whose network, image size and batch both ways train, how many images an epoch has, and the epochs of a
# round that count, after one that warms up.
PROFILE = {"cpu": "busi-small", "cuda": "busi-scratch"}
IMAGES = {"cpu": 96, "cuda": 640}
EPOCHS = {"cpu": 2, "cuda": 5}
# PyTorch's own default lets cuDNN round what a convolution multiplies.
FP32 = {"cpu": "fp32", "cuda": "fp32 (TF32 in convolutions)"}
# Trains for a number of epochs and gives the seconds of each.
Way = Callable[[int], list[float]]


class ImageByImage(Dataset[tuple[torch.Tensor, torch.Tensor]]):
    """Random flips and rotation of one image and its mask at a time, on the processor."""

    def __init__(self, data: TrainingSet, degrees: float) -> None:
        self.images, self.masks, self.degrees = data.labelled, data.labels, degrees

    def __len__(self) -> int:
        return len(self.images)

    def __getitem__(self, index: int) -> tuple[torch.Tensor, torch.Tensor]:
        """Normalised RGB float32 (3, S, S) and mask int64 (S, S)."""
        image = torch.from_numpy(self.images[index]).expand(3, -1, -1).float() / 255
        mask = torch.from_numpy(self.masks[index]).unsqueeze(0)
        for flip in (transforms.horizontal_flip, transforms.vertical_flip):
            if torch.rand(()) < 0.5:
                image, mask = flip(image), flip(mask)
        angle = float(torch.empty(()).uniform_(-self.degrees, self.degrees))
        image = transforms.rotate(image, angle, InterpolationMode.BILINEAR)
        mask = transforms.rotate(mask, angle, InterpolationMode.NEAREST)
        return transforms.normalize(image, list(IMAGENET_MEAN), list(IMAGENET_STD)), mask.squeeze(0).long()


def measure(images: int | None, compile_mode: str | None = None) -> list[Comparison]:
    """Time an epoch of `images` noise images (96 when None, 640 on a GPU), rounded up to full batches, in both ways.

    The fastest epoch of four rounds counts, past the first of each. The usual shape gets the better of loading in the
    training's process and of one worker a core; on a GPU, which the first would starve, the second alone.
    compile_mode: one more comparison, with ours through torch.compile.
    """
    device = "cuda" if torch.cuda.is_available() else "cpu"
    cores = len(os.sched_getaffinity(0))
    settings = load(PROFILE[device], ROOT / PARAMS)
    recipe, size = settings.row("gt_whole"), settings.prepare.image_size
    # Full batches only: then an epoch is as many images in both ways.
    batches = math.ceil((images or IMAGES[device]) / recipe.optimisation.batch_size)
    data = _noise(batches * recipe.optimisation.batch_size, size)
    precision = resolve(recipe.optimisation.precision, device)
    usual = {
        f"DataLoader with {workers} workers, {FP32[device]}, NCHW": _usual(data, recipe, device, cores, workers)
        for workers in ([cores] if device == "cuda" else [0, cores])
    }
    ours = {
        f"on the device, {precision}, NHWC{f', compiled ({mode})' if mode else ''}": _ours(
            data, recipe.model_copy(update={"compile": mode}), device, cores
        )
        for mode in dict.fromkeys([None, compile_mode])
    }
    fastest = _fastest({**usual, **ours}, EPOCHS[device], len(data.labelled))
    plain = min(usual, key=fastest.__getitem__)
    work = f"{recipe.encoder} U-Net, {size} px, an epoch of {len(data.labelled)} images, {device}"
    return [Comparison(work, plain, fastest[plain], way, fastest[way]) for way in ours]


def _fastest(ways: dict[str, Way], count: int, images: int) -> dict[str, float]:
    """Seconds of each way's fastest epoch; said at once, because a later way may fail."""
    found: dict[str, float] = {}
    for number in range(1, ROUNDS + 1):
        for name, way in ways.items():
            taken = min(way(1 + count)[1:])
            found[name] = min(taken, found.get(name, taken))
            say(f"round {number}: {name}: {images / taken:.1f} images/s")
    return found


def _noise(count: int, size: int) -> TrainingSet:
    draw = np.random.default_rng(0)
    images = draw.integers(0, 256, (count, size, size), np.uint8)
    labels = np.zeros_like(images)
    labels[:, size // 4 : size // 2, size // 4 : size // 2] = 1
    return TrainingSet(images, labels, None, count)


def _ours(data: TrainingSet, recipe: Segmentation, device: str, cores: int) -> Way:
    def train(count: int) -> None:
        where = context(device, cores, resolve(recipe.optimisation.precision, device))
        train_segmentation("ours", data, recipe.with_optimisation(epochs=count), 0, Path(), where)

    return lambda count: epochs(train, count)


def _usual(data: TrainingSet, recipe: Segmentation, device: str, cores: int, workers: int) -> Way:
    settings = recipe.optimisation

    def train(count: int) -> list[float]:
        torch.set_num_threads(cores)
        torch.use_deterministic_algorithms(False)
        torch.backends.cudnn.allow_tf32, torch.backends.cudnn.benchmark = True, False
        torch.manual_seed(0)
        net = make_unet(recipe.encoder, recipe.decoder_channels, recipe.width, None, Path()).to(device).train()
        optimiser = torch.optim.Adam(net.parameters(), lr=settings.learning_rate)
        dataset = ImageByImage(data, recipe.augmentation.rotation_degrees)
        loader = DataLoader(
            dataset,
            settings.batch_size,
            shuffle=True,
            num_workers=workers,
            persistent_workers=workers > 0,
            pin_memory=device == "cuda",
        )
        taken = []
        for _ in range(count):
            start = time.perf_counter()
            for batch, target in loader:
                loss = supervised_loss(net(batch.to(device)), target.to(device))
                optimiser.zero_grad()
                loss.backward()  # type: ignore[no-untyped-call]
                optimiser.step()
                loss.item()
            taken.append(time.perf_counter() - start)
        return taken

    return train
