"""The network of Swin MIL (METHOD 4), on torchvision's Swin transformer blocks and weights."""

from pathlib import Path

import torch
from torch import nn
from torch.nn import functional
from torchvision.models.swin_transformer import SwinTransformer

from bench.nets.pretrained import load_into
from bench.schema import SwinNetwork

PATCH = 4
# Weights of the three sides' probabilities in the fusion.
FUSION = (0.3, 0.4, 0.3)
GM_EPSILON = 1e-6


def generalised_mean(maps: torch.Tensor, power: float) -> torch.Tensor:
    """GM(p) = (mean(p^r) + 1e-6)^(1/r) over the pixels, float32 (B, K), of probability maps (B, K, H, W) (METHOD 4)."""
    scores: torch.Tensor = (maps.float().pow(power).mean((2, 3)) + GM_EPSILON).pow(1 / power)
    return scores


class SwinMil(nn.Module):
    """Swin transformer of three stages with a side output each, and their fusion (METHOD 4).

    `forward` takes normalised RGB, float (B, 3, H, W), and gives float32 probabilities (B, 4, H, W): stages 1 to 3
    (at strides 4, 8 and 16, upsampled), then the fusion. The fourth stage is left out: nothing reads it.
    """

    def __init__(self, network: SwinNetwork, gm_power: float) -> None:
        super().__init__()
        self.gm_power = gm_power
        self.features = SwinTransformer(
            [PATCH, PATCH],
            network.embed_dim,
            network.depths,
            network.heads,
            [network.window, network.window],
            stochastic_depth_prob=network.stochastic_depth,
        ).features
        widths = [network.embed_dim * 2**stage for stage in range(len(network.depths))]
        self.norms = nn.ModuleList(nn.LayerNorm(width) for width in widths)
        self.heads = nn.ModuleList(nn.Conv2d(width, 1, 1) for width in widths)
        for head in self.heads:
            nn.init.xavier_uniform_(head.weight)  # type: ignore[arg-type]
            nn.init.zeros_(head.bias)  # type: ignore[arg-type]

    def stages(self, images: torch.Tensor) -> list[torch.Tensor]:
        """Normalised features of the three stages, (B, C, H / 4, W / 4), (B, 2C, H / 8, W / 8) and so on."""
        features, outputs = images, []
        for position, layer in enumerate(self.features):
            features = layer(features)
            # Even positions are the patch embedding and the mergings.
            if position % 2:
                outputs.append(self.norms[position // 2](features).permute(0, 3, 1, 2))
        return outputs

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        sides = []
        for head, features in zip(self.heads, self.stages(images), strict=True):
            logits = head(features).float()
            size = images.shape[-2:]
            sides.append(functional.interpolate(logits, size=size, mode="bilinear", align_corners=True).sigmoid())
        fusion = torch.stack([weight * side for weight, side in zip(FUSION, sides, strict=True)]).sum(0)
        return torch.cat([*sides, fusion], 1)

    def bags(self, maps: torch.Tensor) -> torch.Tensor:
        """Scores of whole images, float32 (B, K) in (0, 1], of maps (B, K, H, W)."""
        return generalised_mean(maps, self.gm_power)


def make_swin_mil(network: SwinNetwork, gm_power: float, weights: Path | None) -> SwinMil:
    """The network of the settings; ImageNet weights, where they ask for them, from folder `weights`.

    weights None: random ones, for a network that is about to be loaded.
    """
    net = SwinMil(network, gm_power)
    if network.initialisation == "imagenet" and weights:
        load_into(net.features, "swin_t", weights, "features.")
    return net
