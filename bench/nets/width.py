"""Convolutional networks with fewer channels than their usual ones, for processors."""

from torch import nn

# The channels of an image and those of the two classes are no width.
FIXED = 3


def scaled(channels: int, width: float) -> int:
    """`channels` times `width`, rounded, one at least."""
    return max(round(channels * width), 1)


def narrow(net: nn.Module, width: float) -> None:
    """Give every convolution and BatchNorm of `net` the share `width` of its channels and new values, in place.

    Images (three channels) and logits (two) keep theirs. Convolutions start as torchvision's ResNets do, from He's
    normal distribution of their outputs; biases from zero.
    """
    for module in list(net.modules()):
        for name, child in list(module.named_children()):
            if isinstance(child, nn.Conv2d):
                setattr(module, name, _convolution(child, width))
            elif isinstance(child, nn.BatchNorm2d):
                setattr(module, name, nn.BatchNorm2d(scaled(child.num_features, width)))


def _convolution(usual: nn.Conv2d, width: float) -> nn.Conv2d:
    inputs, outputs = (
        channels if channels <= FIXED else scaled(channels, width)
        for channels in (usual.in_channels, usual.out_channels)
    )
    narrower = nn.Conv2d(
        inputs,
        outputs,
        usual.kernel_size,  # type: ignore[arg-type]
        usual.stride,  # type: ignore[arg-type]
        usual.padding,  # type: ignore[arg-type]
        usual.dilation,  # type: ignore[arg-type]
        bias=usual.bias is not None,
    )
    nn.init.kaiming_normal_(narrower.weight, mode="fan_out", nonlinearity="relu")
    if narrower.bias is not None:
        nn.init.zeros_(narrower.bias)
    return narrower
