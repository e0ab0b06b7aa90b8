"""A small report whose words try to be markup."""

import numpy as np
import pandas as pd

from bench.report.cases import Case, CaseRow, Cases, data_uri
from bench.report.drawn import FIGURES
from bench.report.page import Page, Picture
from bench.report.tables import Table
from bench.report.verdict import Claim, Verdict

HOSTILE = "<b onclick=\"alert('x')\">&amp;</b></script>"
IOUS = (40.0, None, 90.0, 65.5)


def small_page(profile: str = "made up") -> Page:
    """Four test images in two classes, two rows (the second without results), one wide table, one figure."""
    picture = np.full((40, 60, 3), 90, np.uint8)
    columns = [f"Column {number}" for number in range(14)]
    cells = [[HOSTILE, "fails", "cannot tell", "holds", "not runnable", *["12.50"] * 9] for _ in range(3)]
    images = [
        Case(f"image {number}", category, (448, 300), data_uri(picture, 70), "M10 10l20 0 0 20z")
        for number, category in enumerate(("benign", "malignant", "benign", "malignant"))
    ]
    outlines = [None if iou is None else "M40 40l90 0 0 90z" for iou in IOUS]
    rows = [
        CaseRow("first", f"First {HOSTILE}", IOUS, outlines, ""),
        CaseRow("second", "Second", [10.0, 20.0, 30.0, 5.0], [None] * 4, "no outlines"),
        CaseRow("third", "Third", [None] * 4, [None] * 4, "not runnable: L is empty"),
    ]
    return Page(
        profile=profile,
        made_with=f"Made with {HOSTILE}.",
        verdict=Verdict("1 of 1 claim fails, none holds.", ["A note."], {"fails": [Claim(HOSTILE, "III", "ours 1.0")]}),
        gaps=["first, split-0-training-0: not runnable: L is empty."],
        tables=[Table("table2", "Table II", "A caption.", columns, cells)],
        pictures=[Picture(FIGURES[0], data_uri(picture, 80), 60, 40)],
        cases=Cases(images, rows, 4),
        row="first",
        facts={"commit": "0" * 40, "GPU": HOSTILE},
        timings=pd.DataFrame([{"stage": "cams", "ended": "2026-01-01", "seconds": 12, "peak_mib": 800}]),
    )
