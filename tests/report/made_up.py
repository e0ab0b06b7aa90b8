"""A made-up report with every kind of content, hostile names among it."""

from pathlib import Path

import numpy as np
import pandas as pd
from PIL import Image

from bench.report.cases import gather_cases
from bench.report.figures import save_curves
from bench.report.page import Page, pictures
from bench.report.tables import Table
from bench.report.verdict import Claim, Verdict

EVIL = "<script>alert(1)</script>"
FLOOR = "fixed_ellipse"
IMAGES = {"b1": "benign", "b2": "benign", "m1": "malignant"}
SIZE = (60, 40)
# By image, how far a row's prediction lies from the truth.
SHIFTS = {
    "gt_whole": {"b1": 0, "b2": 6, "m1": 3},
    "extra": {"b1": 9, "b2": 1, "m1": 2},
    FLOOR: dict.fromkeys(IMAGES, 4),
}


def box(shift: int) -> np.ndarray:
    mask = np.zeros(SIZE[::-1], bool)
    mask[10:20, 10 + shift : 30 + shift] = True
    return mask


def write_images(folder: Path) -> pd.DataFrame:
    """Write originals of images and masks and the predictions of gt_whole; counts of the rows in SHIFTS."""
    original, truths, predictions = folder / "original", folder / "masks" / "original", folder / "predictions"
    for place in (original, truths, predictions):
        place.mkdir(parents=True, exist_ok=True)
    probabilities = []
    for image_id in IMAGES:
        Image.new("RGB", SIZE, (70, 80, 90)).save(original / f"{image_id}.png")
        Image.fromarray(box(0).astype(np.uint8) * 255).save(truths / f"{image_id}.png")
        probabilities.append(box(SHIFTS["gt_whole"][image_id]).astype(np.float32))
    np.save(predictions / "probabilities.npy", np.array(probabilities))
    pd.DataFrame({"id": list(IMAGES)}).to_csv(predictions / "ids.csv", index=False)
    lines = []
    for row, shifts in SHIFTS.items():
        for image_id, shift in shifts.items():
            predicted, truth = box(shift), box(0)
            tp, fp, fn = ((a & b).sum() for a, b in ((predicted, truth), (predicted, ~truth), (~predicted, truth)))
            lines.append((row, image_id, IMAGES[image_id], tp, fp, fn, truth.size - tp - fp - fn))
    return pd.DataFrame(lines, columns=["row", "id", "category", "tp", "fp", "fn", "tn"])


def made_up_page(folder: Path) -> Page:
    """A page with a wide table, a figure, cases of three images, and EVIL wherever a name or a text may stand."""
    per_image = write_images(folder)
    known = {"gt_whole": (f"GT-Whole {EVIL}", folder / "predictions"), "gt_subset": ("GT-Subset", None)}
    cases = gather_cases(
        per_image, {**known, FLOOR: ("Ellipse", None)}, {"gt_subset": EVIL}, FLOOR, folder, folder / "masks"
    )
    save_curves({"classifiers": {EVIL: pd.DataFrame({"epoch": [1, 2], "total": [1, 0.5]})}}, folder / "training.png")
    verdicts = ("holds", "fails", "cannot tell", "not runnable", EVIL)
    wide = [[f"row {number}", *(["12.34"] * 14), verdict] for number, verdict in enumerate(verdicts)]
    columns = ["Row", *(f"Background IoU ({number})" for number in range(14)), "Verdict"]
    return Page(
        profile="tiny",
        made_with=EVIL,
        verdict=Verdict(EVIL, [EVIL], {"holds": [], "fails": [Claim(EVIL, "I", EVIL)], "cannot tell": []}),
        gaps=[EVIL],
        tables=[Table("table2", "Table II", EVIL, columns, wide)],
        audit=[Table("audit", "What the audit found", EVIL, ["Images", "Total"], [["All", "780"], [EVIL, "1"]])],
        pictures=pictures(folder),
        cases=cases,
        row="gt_whole",
        facts={"commit": EVIL, "lock": "0" * 200},
        timings=pd.DataFrame([("cams", "2026-01-01", 1.5, 20)], columns=["stage", "ended", "seconds", "peak_mib"]),
    )
