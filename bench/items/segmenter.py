"""The small SAM: train it on phantoms of its own, save it as an official checkpoint, measure it on further phantoms.

The masks used here are of phantoms rendered from seeds that belong to this item alone, never the data set's.
"""

import io
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import numpy.typing as npt
import pandas as pd
import torch
from segment_anything.utils.transforms import ResizeLongestSide

from bench.data.phantom import render_all
from bench.files import write_json
from bench.metrics import counts, mean_scores
from bench.paths import CHECKPOINT, SAM_PHANTOM
from bench.precision import of_item
from bench.progress import say, track
from bench.prompting import Box, Prompt, Segmenter
from bench.prompting.sam import SamSegmenter
from bench.prompting.sam_model import build_sam, decode, encode
from bench.prompting.shapes import EllipseSegmenter
from bench.runtime import Context, context, seeded_initialisation
from bench.schema import Lesions, PhantomSam
from bench.store import checkpoints_beside
from bench.training.box_prompts import Prompted, train_on_boxes

Lesion = tuple[npt.NDArray[np.uint8], npt.NDArray[np.bool_]]
"""An image, uint8 (H, W, 3), and one lesion on it, bool (H, W)."""


def run(settings: dict[str, Any], inputs: dict[str, Path], out: Path) -> None:
    """Fill `out`: CHECKPOINT, history.csv and segmenter.json.

    segmenter.json: name, how many lesions were held out, and the mean IoU in percent that their true boxes give: of the
    network's masks (mask_iou) and of the ellipses in the boxes (ellipse_iou). settings: a PhantomSam, device, threads,
    auto_precision. inputs: none.
    """
    recipe = PhantomSam.model_validate({name: settings[name] for name in PhantomSam.model_fields})
    precision = of_item(recipe.optimisation.precision, settings)
    where = context(settings["device"], settings["threads"], precision, checkpoints_beside(out))
    seed = recipe.training.seed
    with seeded_initialisation(SAM_PHANTOM, "weights", seed):
        model = build_sam(recipe.sizes).to(where.device)
    processes = settings["threads"]
    data = prompted(list(lesions(recipe.training, "phantoms to train on", processes)), model, where)
    trained, history = train_on_boxes(
        SAM_PHANTOM,
        model,
        lambda pixels, boxes: decode(model, encode(model, pixels, where), boxes),
        data,
        recipe.optimisation,
        seed,
        where,
    )
    history.to_csv(out / "history.csv", index=False)
    save_checkpoint(trained, out / CHECKPOINT)
    segmenter = SamSegmenter("phantom", out / CHECKPOINT, out, settings["device"], sizes=recipe.sizes)
    unseen = list(lesions(recipe.held_out, "phantoms to measure on", processes))
    judged = {"mask_iou": measured(segmenter, unseen), "ellipse_iou": measured(EllipseSegmenter(), unseen)}
    say(f"{SAM_PHANTOM}: mask IoU {judged['mask_iou']:.1f} % with true boxes on {len(unseen)} unseen lesions")
    write_json(out / "segmenter.json", {"name": segmenter.name, "lesions": len(unseen), **judged})


def lesions(wanted: Lesions, what: str, processes: int) -> Iterator[Lesion]:
    """Render the phantoms of a seed, by up to so many processes; one that has two lesions is given twice."""
    kinds = {"benign": wanted.benign, "malignant": wanted.malignant}
    jobs = [(category, number) for category, count in kinds.items() for number in range(1, count + 1)]
    for phantom in track(render_all(jobs, wanted.seed, processes), what, len(jobs)):
        image = np.repeat(phantom.image[..., None], 3, axis=2)
        for mask in phantom.masks:
            yield image, mask


def box_of(mask: npt.NDArray[np.bool_]) -> Box:
    """The smallest box around a mask, inclusive pixels."""
    rows, columns = np.nonzero(mask)
    return int(columns.min()), int(rows.min()), int(columns.max()), int(rows.max())


def prompted(found: list[Lesion], model: Any, where: Context) -> Prompted:
    """Lesions and their mirror images with true boxes, prepared as SamSegmenter prepares its images."""
    resize = ResizeLongestSide(model.image_encoder.img_size)
    side, cells = resize.target_length, model.prompt_encoder.mask_input_size
    both = [pair for image, mask in found for pair in ((image, mask), (image[:, ::-1], mask[:, ::-1]))]
    pixels = torch.empty(len(both), 3, side, side)
    targets = np.empty((len(both), *cells), np.float32)
    boxes = np.empty((len(both), 4))
    for position, (image, mask) in enumerate(both):
        resized = resize.apply_image(np.ascontiguousarray(image))
        height, width = resized.shape[:2]
        pixels[position] = model.preprocess(torch.as_tensor(resized, device=where.device).permute(2, 0, 1)).cpu()
        padded = np.zeros((side, side), np.float32)
        padded[:height, :width] = cv2.resize(mask.astype(np.float32), (width, height), interpolation=cv2.INTER_AREA)
        targets[position] = cv2.resize(padded, cells[::-1], interpolation=cv2.INTER_AREA)
        boxes[position] = resize.apply_boxes(np.array(box_of(mask), float), mask.shape)[0]
    return Prompted(
        pixels=pixels.to(where.device),
        boxes=torch.as_tensor(boxes, dtype=torch.float32, device=where.device),
        targets=torch.from_numpy(targets).to(where.device),
    )


def save_checkpoint(model: torch.nn.Module, file: Path) -> None:
    """Write the state dict as the official checkpoints hold it; the same network always gives the same bytes."""
    # Written to a file, the archive would carry the file's name in all its entries.
    stream = io.BytesIO()
    torch.save({name: tensor.detach().cpu().contiguous() for name, tensor in model.state_dict().items()}, stream)
    file.write_bytes(stream.getvalue())


def measured(segmenter: Segmenter, found: list[Lesion]) -> float:
    """Mean IoU in percent, at the original size, of the masks that the lesions' true boxes give."""
    prompts: list[Prompt] = [(image, box_of(mask)) for image, mask in found]
    judged = [counts(answer, mask) for answer, (_, mask) in zip(segmenter.segment_all(prompts), found, strict=True)]
    return round(mean_scores(pd.DataFrame(judged)).tumor_iou, 2)
