"""The segmentation network: segmentation_models.pytorch's U-Net (METHOD 6.4)."""

from collections.abc import Sequence
from pathlib import Path

import segmentation_models_pytorch as smp
import torch
from segmentation_models_pytorch.decoders.unet.decoder import UnetDecoderBlock
from torch.nn import functional

from bench.errors import UserError
from bench.nets.pretrained import load_state
from bench.nets.width import narrow


class DecoderBlock(UnetDecoderBlock):  # type: ignore[misc]
    """smp's block without attention, for mixed precision on a GPU.

    Autocast there would widen the upsampled maps to fp32, and the skip connection with them. They are copies of values,
    so nothing is lost by leaving them as they are.
    """

    def forward(
        self,
        feature_map: torch.Tensor,
        target_height: int,
        target_width: int,
        skip_connection: torch.Tensor | None = None,
    ) -> torch.Tensor:
        with torch.autocast(feature_map.device.type, enabled=False):
            maps = functional.interpolate(feature_map, (target_height, target_width), mode=self.interpolation_mode)
        if skip_connection is not None:
            maps = torch.cat([maps, skip_connection], 1)
        refined: torch.Tensor = self.conv2(self.conv1(maps))
        return refined


def make_unet(
    encoder: str, decoder_channels: Sequence[int], width: float, weights: str | None, folder: Path
) -> torch.nn.Module:
    """A U-Net with two output channels (background, tumour): (B, 3, H, W) -> logits (B, 2, H, W).

    encoder: a name of smp ("resnet50"). decoder_channels: one number a resolution; with four of them the encoder's
    last stage, whose maps have a 32nd of the size, is left out, with three its last two. width: factor of all channel
    numbers, the decoder's too; 1 with weights. weights: the ImageNet checkpoint of the encoder, by name, or None for
    random weights. folder: where checkpoints lie. Raises UserError for an unknown encoder or missing weights.
    """
    try:
        net: torch.nn.Module = smp.Unet(
            encoder,
            encoder_depth=len(decoder_channels),
            encoder_weights=None,
            classes=2,
            decoder_channels=tuple(decoder_channels),
        )
    except KeyError:
        raise UserError(f"unknown encoder {encoder!r}; segmentation_models.pytorch lists the known ones") from None
    for block in net.get_submodule("decoder.blocks").children():
        # smp takes no other class of blocks; theirs have the same parameters.
        block.__class__ = DecoderBlock
    if weights:
        # The classifier head is not part of an encoder.
        state = {key: value for key, value in load_state(weights, folder).items() if not key.startswith("fc.")}
        net.get_submodule("encoder").load_state_dict(state)
    for number in range(len(decoder_channels), 5):
        # smp keeps the stages that it does not run; the stem is the first of five.
        setattr(net.get_submodule("encoder"), f"layer{number}", torch.nn.Identity())
    if width != 1:
        narrow(net, width)
        # smp has a start of its own for decoder and head.
        net.initialize()  # type: ignore[operator]
    return net
