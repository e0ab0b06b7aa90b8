"""SAM, the official segment-anything package and checkpoints, many images at a time (METHOD 7)."""

from collections.abc import Iterable, Iterator, Sequence
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from segment_anything import sam_model_registry
from segment_anything.utils.transforms import ResizeLongestSide

from bench.artefacts import SAM as CHECKPOINTS
from bench.errors import UserError
from bench.fetch import fetch
from bench.paths import SAM_PHANTOM
from bench.prompting import Box, Prompt, Segmenter, check_prompt
from bench.prompting.embeddings import Embeddings, network_key
from bench.prompting.sam_model import build_sam, decode, encode, use_fused_attention
from bench.runtime import Context
from bench.schema import SamSizes

WIDTHS = {1280: "vit_h", 1024: "vit_l", 768: "vit_b"}
"""Width of the image encoder -> variant."""

PHANTOM = "phantom"
TITLES = {variant: f"SAM ViT-{variant[-1].upper()}" for variant in CHECKPOINTS} | {PHANTOM: SAM_PHANTOM}
PHANTOM_NAME = f"{SAM_PHANTOM}, a small SAM trained on other phantoms and their masks"

# Tokens that are encoded together. One official image holds 4096: enough to fill processor cores, which gain nothing
# from more; four fill a GPU, and a fp32 ViT-H needs 1 GiB an image for the positions of a block without windows.
BATCH_TOKENS = {"cpu": 4096, "cuda": 4 * 4096}


class SamSegmenter(Segmenter):
    """Segment Anything with one box and one mask (multimask_output=False) a prompt.

    variant: vit_h, vit_l, vit_b, or phantom, a small SAM of these `sizes`. checkpoint: a file of that variant, or None
    for the official one, which is downloaded into the folder `weights` and verified. device: a torch device, such as
    "cpu" or "cuda". precision: the image encoder's, fp32 or bf16. cache: folder of image embeddings, None for none.
    Raises UserError when the variant is unknown or its weights are missing, damaged or another variant's.
    """

    def __init__(
        self,
        variant: str,
        checkpoint: Path | None,
        weights: Path,
        device: str,
        precision: str = "fp32",
        sizes: SamSizes | None = None,
        cache: Path | None = None,
    ) -> None:
        if variant not in TITLES:
            raise UserError(f"unknown SAM variant {variant!r} - choose one of {', '.join(TITLES)}")
        self.name = PHANTOM_NAME if variant == PHANTOM else TITLES[variant]
        file = _file(variant, checkpoint, weights)
        self._where = Context(torch.device(device), precision == "bf16")
        self._model = use_fused_attention(_load(variant, file, sizes)).to(device)
        self._resize = ResizeLongestSide(self._model.image_encoder.img_size)
        rows, columns = self._model.prompt_encoder.image_embedding_size
        self._batch = max(1, BATCH_TOKENS[self._where.device.type] // (rows * columns))
        shape = (self._model.prompt_encoder.embed_dim, rows, columns)
        self._kept = Embeddings(cache, network_key(file, self._where), shape) if cache else None

    def segment(self, image: npt.NDArray[np.uint8], box: Box) -> npt.NDArray[np.bool_]:
        """See Segmenter.segment; a batch of one."""
        (mask,) = self.segment_all([(image, box)])
        return mask

    def segment_all(self, prompts: Iterable[Prompt]) -> Iterator[npt.NDArray[np.bool_]]:
        """See Segmenter.segment_all; images of any sizes are encoded and their boxes decoded together."""
        waiting = iter(prompts)
        while batch := list(islice(waiting, self._batch)):
            for image, box in batch:
                check_prompt(image, box)
            yield from self._segment([image for image, _ in batch], [box for _, box in batch])

    @torch.no_grad()
    def _segment(
        self, images: Sequence[npt.NDArray[np.uint8]], boxes: Sequence[Box]
    ) -> Iterator[npt.NDArray[np.bool_]]:
        embeddings = self._kept.through(images, self._embed) if self._kept else self._embed(images)
        prompts = [
            self._resize.apply_boxes(np.asarray(box, dtype=np.float64), image.shape[:2])
            for image, box in zip(images, boxes, strict=True)
        ]
        corners = torch.as_tensor(np.concatenate(prompts), dtype=torch.float32, device=self._where.device)
        logits, _ = decode(self._model, embeddings.to(self._where.device), corners)
        for image, low in zip(images, logits, strict=True):
            old = image.shape[:2]
            new = self._resize.get_preprocess_shape(*old, self._resize.target_length)
            full = self._model.postprocess_masks(low[None, None], new, old)[0, 0]
            mask: npt.NDArray[np.bool_] = (full > self._model.mask_threshold).cpu().numpy()
            yield mask

    def _embed(self, images: Sequence[npt.NDArray[np.uint8]]) -> torch.Tensor:
        """Embeddings, float32 (B, C, h, w), of at most a batch of images."""
        side = self._resize.target_length
        # Always a full batch, so that an image's last bits do not depend on how many others there are.
        pixels = torch.zeros(self._batch, 3, side, side, device=self._where.device)
        for place, image in zip(pixels, images, strict=False):
            resized = torch.as_tensor(self._resize.apply_image(image), device=self._where.device)
            place.copy_(self._model.preprocess(resized.permute(2, 0, 1)))
        return encode(self._model, pixels, self._where)[: len(images)]


def _file(variant: str, checkpoint: Path | None, weights: Path) -> Path:
    if checkpoint is None and variant in CHECKPOINTS:
        return fetch(CHECKPOINTS[variant], weights)
    if checkpoint is None or not checkpoint.is_file():
        if variant == PHANTOM:
            raise UserError(f"{checkpoint or SAM_PHANTOM} is missing - run the segmenter stage (dvc repro)")
        official = CHECKPOINTS[variant].urls[0]
        raise UserError(f"{checkpoint} is missing - put a {TITLES[variant]} checkpoint there, such as {official}")
    return checkpoint


def _build(variant: str, sizes: SamSizes | None) -> torch.nn.Module:
    if variant != PHANTOM:
        model: torch.nn.Module = sam_model_registry[variant](checkpoint=None)
        return model
    if sizes is None:
        raise ValueError(f"{SAM_PHANTOM} needs its sizes")
    return build_sam(sizes)


def _load(variant: str, path: Path, sizes: SamSizes | None) -> torch.nn.Module:
    state = _read(path)
    width = getattr(state.get("image_encoder.pos_embed"), "shape", (0,))[-1]
    held = variant if variant == PHANTOM else WIDTHS.get(width, variant)
    if held != variant:
        raise UserError(f"{path} holds {TITLES[held]}, not {TITLES[variant]} - set the variant to {held}")
    # There a network has shapes but no values, which would be drawn and held only to be replaced.
    with torch.device("meta"):
        model = _build(variant, sizes)
    wrong = _differences(model.state_dict(), state)
    if wrong:
        raise UserError(
            f"{path} is not a {TITLES[variant]} checkpoint - {len(wrong)} tensors are missing, unknown, of "
            f"another shape or no floats, the first is {wrong[0]}"
        )
    state = {name: tensor.contiguous() for name, tensor in state.items()}
    model.load_state_dict(state, strict=True, assign=True)
    return model.float()


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
    """Names that only one side has, whose shapes differ, or under which no dense tensor of floats was found."""
    shapes = {name: tensor.shape for name, tensor in expected.items()}
    others = {str(name): _shape(value) for name, value in found.items()}
    return sorted(name for name in shapes.keys() | others.keys() if shapes.get(name, ...) != others.get(name))


def _shape(value: Any) -> torch.Size | None:
    dense = isinstance(value, torch.Tensor) and value.layout == torch.strided and not value.is_meta
    return value.shape if dense and value.is_floating_point() else None
