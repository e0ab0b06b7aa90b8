"""Where the cells of a convolutional network lie in the image, and their maps brought to the image's pixels.

Every convolution and pooling of a torchvision ResNet is padded to be centred on its input's first pixel, so cell i of
its maps sees the image around pixel stride * i. IRN's code, and with it AMR's and ReCAM's, enlarges maps as if cells
were spread evenly, by which it puts cell i at stride * i + (stride - 1) / 2: half a cell too low; to the right as well,
which for the mirror image is to the left (METHOD part A, `network.cells`).
"""

from collections.abc import Callable, Sequence

import numpy as np
import torch
from torch import nn
from torch.nn import functional

from bench import cam
from bench.runtime import Context
from bench.schema import CamNetwork

Maps = Callable[[torch.Tensor], torch.Tensor]


def resnet_cams(
    maps_of: Maps, images: np.ndarray, scales: Sequence[float], network: CamNetwork, context: Context
) -> np.ndarray:
    """`bench.cam.multi_scale_cams` of a ResNet, its maps enlarged as `network.cells` says."""
    if network.cells == "centred":
        maps_of = centred(maps_of, network.output_stride, images.shape[-1])
    return cam.multi_scale_cams(maps_of, images, scales, context)


def at_pixels(maps: torch.Tensor, pixels: int, stride: int, size: int) -> torch.Tensor:
    """Maps (n, K, h, w) of square images, bilinear, at the pixels of the originals: float32 (n, K, size, size).

    pixels: side of the images that the network saw, scaled from `size`. stride: cell i is centred on their pixel
    stride * i. Beyond the last cells their values go on.
    """
    places = ((torch.arange(size, device=maps.device) + 0.5) * (pixels / size) - 0.5) / stride
    # grid_sample counts from -1 at the first cell to 1 at the last.
    y, x = (2 * places / max(cells - 1, 1) - 1 for cells in maps.shape[-2:])
    grid = torch.stack(torch.meshgrid(x, y, indexing="xy"), -1).expand(len(maps), -1, -1, -1)
    return functional.grid_sample(maps.float(), grid, padding_mode="border", align_corners=True)


def centred(maps_of: Maps, stride: int, size: int) -> Maps:
    """A network's maps at the pixels of images of `size`: as `maps_of`, but every map is (n, K, size, size)."""

    def enlarged(images: torch.Tensor) -> torch.Tensor:
        return at_pixels(maps_of(images), images.shape[-1], stride, size)

    return enlarged


class EvenCells(nn.Module):
    """A network whose class maps are brought to cells that are spread evenly over the image.

    Its forward is that of `net`, (logits, class maps float32 (n, K, h, w)), for maps that are added up or warped cell
    by cell: those of an image and of its mirror image then lie alike. Beyond the last cells their values go on.
    """

    def __init__(self, net: nn.Module, stride: int) -> None:
        super().__init__()
        self.net, self.beyond = net, (stride - 1) / (2 * stride)

    def forward(self, images: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        logits, maps = self.net(images)
        maps = maps.float()
        for axis in (-2, -1):
            first, *rest = maps.split(1, axis)
            maps = maps.lerp(torch.cat([*rest, (rest or [first])[-1]], axis), self.beyond)
        return logits, maps
