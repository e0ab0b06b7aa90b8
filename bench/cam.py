"""Class activation maps at several scales, each image with its mirror image (METHOD 5.1)."""

from collections.abc import Callable, Iterator, Sequence

import numpy as np
import torch
from torch.nn import functional

from bench.methods import TUMOUR
from bench.progress import track
from bench.runtime import Context, without_kernel_search
from bench.training.augment import normalise, to_float

BATCH = 32
EPSILON = 1e-5


def with_mirror(images: torch.Tensor) -> torch.Tensor:
    """(B, C, H, W) -> (2B, C, H, W): every image followed by its mirror image."""
    return torch.stack([images, images.flip(-1)], 1).flatten(0, 1)


def mirror_sum(maps: torch.Tensor) -> torch.Tensor:
    """Inverse of `with_mirror` for maps: (2B, K, h, w) -> (B, K, h, w), image plus mirrored mirror image."""
    return maps[0::2] + maps[1::2].flip(-1)


def _batches(images: np.ndarray, what: str | None, context: Context) -> Iterator[torch.Tensor]:
    """Batches of uint8 grey images as float (b, 1, S, S) on the device; progress is shown as `what`, if at all.

    On a GPU it is the progress of giving work to it, which is ahead of what is done.
    """
    # One transfer for all: each waits until the GPU has done what it was given, other processes' turns included.
    batches = torch.split(torch.from_numpy(images).to(context.device), BATCH)
    for batch in track(batches, what) if what else batches:
        yield to_float(batch)


@torch.no_grad()
@without_kernel_search()
def multi_scale_cams(
    maps_of: Callable[[torch.Tensor], torch.Tensor],
    images: np.ndarray,
    scales: Sequence[float],
    context: Context,
) -> np.ndarray:
    """Multi-scale CAMs of uint8 grey images (n, S, S): float32 (n, K, S, S), each divided by its maximum.

    maps_of: normalised RGB (2b, 3, s, s), images and mirror images in turn -> tumour-class maps after ReLU
    (2b, K, h, w) of K branches. Maps of all scales are upsampled bilinearly to S and summed; a map that is zero
    everywhere stays zero.
    """
    size = images.shape[-1]
    parts = []
    for batch in _batches(images, "CAMs", context):
        total: torch.Tensor | float = 0.0
        for scale in scales:
            # With antialias the filter is Pillow's bicubic, which IRN's code takes (METHOD 5.1).
            scaled = functional.interpolate(batch, size=round(size * scale), mode="bicubic", antialias=True)
            with context.autocast():
                maps = maps_of(normalise(with_mirror(scaled)))
            summed = mirror_sum(maps.float())
            total = total + functional.interpolate(summed, size=size, mode="bilinear", align_corners=False)
        assert isinstance(total, torch.Tensor)
        parts.append(total / (total.amax((2, 3), keepdim=True) + EPSILON))
    return _joined(parts)


def plain_cams(net: torch.nn.Module, images: np.ndarray, scales: Sequence[float], context: Context) -> np.ndarray:
    """Multi-scale CAMs of the tumour class of a network whose forward gives (logits, class maps): (n, S, S)."""

    def maps_of(batch: torch.Tensor) -> torch.Tensor:
        maps: torch.Tensor = net(batch)[1]
        return maps[:, TUMOUR : TUMOUR + 1].relu()

    return multi_scale_cams(maps_of, images, scales, context)[:, 0]


@torch.no_grad()
def feature_maps(net: torch.nn.Module, images: np.ndarray, context: Context) -> tuple[torch.Tensor, torch.Tensor]:
    """Maps and logits of uint8 grey images (n, S, S) at one scale, each the sum over image and mirror image.

    net: its forward gives (logits, class maps). The maps, float32 (n, h, w), are the tumour class's after ReLU at the
    network's resolution, not normalised; logits float32 (n, 2). Both stay on the device.
    """
    maps, logits = [], []
    for batch in _batches(images, None, context):
        with context.autocast():
            batch_logits, batch_maps = net(normalise(with_mirror(batch)))
        maps.append(mirror_sum(batch_maps.float()[:, TUMOUR : TUMOUR + 1].relu())[:, 0])
        logits.append(batch_logits[0::2].float() + batch_logits[1::2].float())
    return torch.cat(maps), torch.cat(logits)


@torch.no_grad()
@without_kernel_search()
def mirrored_logits(
    logits_of: Callable[[torch.Tensor], torch.Tensor], images: np.ndarray, context: Context
) -> np.ndarray:
    """Class logits of uint8 grey images (n, S, S), averaged over image and mirror image: float32 (n, C)."""
    parts = []
    for batch in _batches(images, "logits", context):
        with context.autocast():
            logits = logits_of(normalise(with_mirror(batch)))
        parts.append((logits[0::2].float() + logits[1::2].float()) / 2)
    return _joined(parts)


@torch.no_grad()
@without_kernel_search()
def probabilities(maps_of: Callable[[torch.Tensor], torch.Tensor], images: np.ndarray, context: Context) -> np.ndarray:
    """Maps in [0, 1] of uint8 grey images (n, S, S) at their own size: float32 (n, S, S).

    maps_of: normalised RGB (b, 3, S, S) -> maps (b, S, S).
    """
    parts = []
    for batch in _batches(images, "maps", context):
        with context.autocast():
            maps = maps_of(normalise(batch))
        parts.append(maps.float())
    return _joined(parts)


def _joined(parts: list[torch.Tensor]) -> np.ndarray:
    joined: np.ndarray = torch.cat(parts).cpu().numpy()
    return joined
