"""SAM, the official segment-anything package and checkpoints (METHOD 7)."""

import hashlib
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from segment_anything import SamPredictor, sam_model_registry

from bench.artefacts import SAM as CHECKPOINTS
from bench.errors import UserError
from bench.fetch import fetch
from bench.prompting import Box, check_prompt

WIDTHS = {1280: "vit_h", 1024: "vit_l", 768: "vit_b"}
"""Width of the image encoder -> variant."""


class SamSegmenter:
    """Segment Anything with one box and one mask (multimask_output=False) a prompt.

    variant: vit_h, vit_l or vit_b. checkpoint: a file of that variant, or None for the official one, which is
    downloaded into the folder `weights` and verified. device: a torch device, such as "cpu" or "cuda".
    Raises UserError when the variant is unknown or its weights are missing, damaged or another variant's.
    """

    def __init__(self, variant: str, checkpoint: Path | None, weights: Path, device: str) -> None:
        if variant not in CHECKPOINTS:
            raise UserError(f"unknown SAM variant {variant!r} - choose one of {', '.join(CHECKPOINTS)}")
        self.name = _title(variant)
        self._predictor = SamPredictor(_load(variant, _file(variant, checkpoint, weights)).to(device))
        self._embedded = b""

    def segment(self, image: npt.NDArray[np.uint8], box: Box) -> npt.NDArray[np.bool_]:
        """See Segmenter.segment; the last image's embedding is kept, so further boxes on it are cheap."""
        check_prompt(image, box)
        content = hashlib.sha256(repr(image.shape).encode() + image.tobytes()).digest()
        if content != self._embedded:
            self._predictor.set_image(image, image_format="RGB")
            self._embedded = content
        masks, _, _ = self._predictor.predict(box=np.asarray(box, dtype=np.float64), multimask_output=False)
        mask: npt.NDArray[np.bool_] = masks[0]
        return mask


def _title(variant: str) -> str:
    return f"SAM ViT-{variant[-1].upper()}"


def _file(variant: str, checkpoint: Path | None, weights: Path) -> Path:
    if checkpoint is None:
        return fetch(CHECKPOINTS[variant], weights)
    if not checkpoint.is_file():
        official = CHECKPOINTS[variant].urls[0]
        raise UserError(f"{checkpoint} is missing - put a {_title(variant)} checkpoint there, such as {official}")
    return checkpoint


def _load(variant: str, path: Path) -> torch.nn.Module:
    state = _read(path)
    width = getattr(state.get("image_encoder.pos_embed"), "shape", (0,))[-1]
    held = WIDTHS.get(width, variant)
    if held != variant:
        raise UserError(f"{path} holds {_title(held)}, not {_title(variant)} - set the variant to {held}")
    model: torch.nn.Module = sam_model_registry[variant](checkpoint=None)
    wrong = _differences(model.state_dict(), state)
    if wrong:
        raise UserError(
            f"{path} is not a {_title(variant)} checkpoint - {len(wrong)} tensors are missing, unknown or of "
            f"another shape, the first is {wrong[0]}"
        )
    model.load_state_dict(state, strict=True)
    return model


def _read(path: Path) -> dict[str, Any]:
    """A state dict of plain tensors on the CPU; weights_only, so that nothing foreign is unpickled."""
    try:
        state = torch.load(path, map_location="cpu", weights_only=True)
    except MemoryError:
        raise
    except Exception as error:  # a damaged pickle can raise nearly anything
        raise UserError(
            f"{path} is damaged or no checkpoint of PyTorch ({type(error).__name__}) - replace it"
        ) from error
    if not isinstance(state, dict):
        raise UserError(f"{path} holds no state dict but a {type(state).__name__} - give a SAM checkpoint")
    return state


def _differences(expected: dict[str, Any], found: dict[str, Any]) -> list[str]:
    """Names that only one side has, or whose shapes differ."""
    shapes = [{name: getattr(value, "shape", None) for name, value in side.items()} for side in (expected, found)]
    names = sorted(map(str, shapes[0].keys() | shapes[1].keys()))
    return [name for name in names if shapes[0].get(name) != shapes[1].get(name)]
