"""Maps that a network remembers of its training images, as buffers, so that they are saved with it."""

from collections.abc import Sequence

import torch
from torch import nn

from bench.seeding import seed_for


class MapMemory(nn.Module):
    """One map an image, by image id. keys: int64 (n,), from the ids. maps: float32 (n, h, w)."""

    keys: torch.Tensor
    maps: torch.Tensor

    def __init__(self) -> None:
        super().__init__()
        self.register_buffer("keys", torch.empty(0, dtype=torch.int64))
        self.register_buffer("maps", torch.empty(0, 0, 0))

    def remember(self, ids: Sequence[str], maps: torch.Tensor) -> None:
        """Keep exactly these maps, float32 (n, h, w), in the place of all earlier ones."""
        self.keys = torch.tensor([seed_for(image_id) for image_id in ids], dtype=torch.int64, device=maps.device)
        self.maps = maps

    def recall(self, ids: Sequence[str], otherwise: torch.Tensor) -> torch.Tensor:
        """The maps of images in the order of `ids`, float32 (n, h, w); an unknown image gets its one of `otherwise`."""
        rows = {key: row for row, key in enumerate(self.keys.tolist())}
        found = otherwise.clone()
        for position, key in enumerate(map(seed_for, ids)):
            if key in rows:
                found[position] = self.maps[rows[key]]
        return found
