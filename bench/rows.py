"""The rows of Tables II and III as data, and where their predictions lie."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Literal

from bench.methods import gives, methods
from bench.paths import DIRECT, Paths
from bench.seeds import Seeds


@dataclass(frozen=True)
class Row:
    """One row: what it learns from, and on which images.

    labels: "gt" masks, "pseudo" (the segmenter's masks from the regions), "crf" (a method's CAMs through DenseCRF),
    "oracle" (as crf, cut where training masks say) or "direct" (a method's own masks, no U-Net). images: "whole" (V),
    "subset" (L) or "mean_teacher" (L and U). paper: the paper's tumour IoU, background IoU and mIoU in percent, None
    where it has none. control: the selection that stands in the place of L, "" for L itself.
    """

    id: str
    label: str
    labels: Literal["gt", "pseudo", "crf", "oracle", "direct"]
    images: Literal["whole", "subset", "mean_teacher"]
    paper: tuple[float, float, float] | None
    control: str = ""

    @property
    def needs_selection(self) -> bool:
        """Whether the row trains on L."""
        return self.images != "whole"

    @property
    def method(self) -> str:
        """The method of baselines/ behind a row of Table III or an oracle row; the row that a control row controls."""
        if self.control:
            return self.id.removeprefix(f"{self.control}_")
        return self.id.removeprefix("oracle_").removesuffix("_direct")


OURS = Row("pseudo_mean_teacher", "Pseudo-MeanTeacher", "pseudo", "mean_teacher", (56.3, 91.3, 73.8))
# Table II.
ROWS = (
    Row("gt_whole", "GT-Whole", "gt", "whole", (67.9, 94.8, 81.3)),
    Row("gt_subset", "GT-Subset", "gt", "subset", (56.3, 93.9, 75.1)),
    Row("gt_mean_teacher", "GT-MeanTeacher", "gt", "mean_teacher", (64.0, 94.1, 79.0)),
    Row("pseudo_whole", "Pseudo-Whole", "pseudo", "whole", (48.5, 91.7, 70.1)),
    Row("pseudo_subset", "Pseudo-Subset", "pseudo", "subset", (35.2, 91.1, 63.1)),
    OURS,
)

# Beside an oracle row's predictions: the threshold that was taken, and the IoU of each that was tried.
THRESHOLD, CURVE = "threshold.json", "curve.csv"
# In the place of a row's predictions: why the row could not run.
NOT_RUNNABLE = "not_runnable.txt"


def method_rows(names: Iterable[str]) -> list[Row]:
    """Table III's rows of these methods, in their order: a U-Net on its pseudo-labels, and its own masks."""
    rows = []
    for name in names:
        spec = methods()[name]
        paper = (spec.paper["tumor_iou"], spec.paper["background_iou"], spec.paper["miou"]) if spec.paper else None
        if gives(name, "cams"):
            rows.append(Row(name, spec.label, "crf", "whole", paper))
        if gives(name, "segment"):
            rows.append(Row(f"{name}_direct", f"{spec.label}, its own masks", "direct", "whole", paper))
    return rows


def oracle_rows(names: Sequence[str]) -> list[Row]:
    """Rows of these methods with the threshold that fits the training masks best; in no table of the paper."""
    return [
        Row(f"oracle_{name}", f"{methods()[name].label}, oracle threshold", "oracle", "whole", None) for name in names
    ]


def control_rows(controls: Sequence[str], rows: Sequence[str]) -> list[Row]:
    """These rows of Table II, each on every one of these selections; in no table of the paper."""
    return [
        replace(row, id=f"{control}_{row.id}", label=f"{row.label}, {control}", paper=None, control=control)
        for control in controls
        for row in ROWS
        if row.id in rows
    ]


def selection(paths: Paths, row: Row) -> Path:
    """Folder of the selection tables of a row that needs one."""
    return paths.controls / row.control if row.control else paths.selection


def predictions(paths: Paths, row: Row, seeds: Seeds) -> Path:
    """Folder of one row's predictions, or of its NOT_RUNNABLE note."""
    if row.labels == "direct":
        return paths.cams / row.method / seeds.name / DIRECT
    if row.control:
        return paths.predictions_controls / row.id / seeds.name
    base = {"gt": paths.predictions_gt, "oracle": paths.predictions_oracle}.get(row.labels, paths.predictions_weak)
    return base / row.id / seeds.name
