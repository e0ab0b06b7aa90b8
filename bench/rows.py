"""The six rows of Table II as data, and where their predictions lie."""

from dataclasses import dataclass
from pathlib import Path

from bench.paths import Paths, seed_name
from bench.schema import RowId


@dataclass(frozen=True)
class Row:
    """One ablation row: labels "gt" or "pseudo"; images "whole" (V), "subset" (L) or "mean_teacher" (L and U).

    paper: the paper's tumour IoU, background IoU and mIoU in percent (Table II).
    """

    id: RowId
    label: str
    labels: str
    images: str
    paper: tuple[float, float, float]

    @property
    def needs_selection(self) -> bool:
        """Whether the row trains on L."""
        return self.images != "whole"


ROWS = (
    Row("gt_whole", "GT-Whole", "gt", "whole", (67.9, 94.8, 81.3)),
    Row("gt_subset", "GT-Subset", "gt", "subset", (56.3, 93.9, 75.1)),
    Row("gt_mean_teacher", "GT-MeanTeacher", "gt", "mean_teacher", (64.0, 94.1, 79.0)),
    Row("pseudo_whole", "Pseudo-Whole", "pseudo", "whole", (48.5, 91.7, 70.1)),
    Row("pseudo_subset", "Pseudo-Subset", "pseudo", "subset", (35.2, 91.1, 63.1)),
    Row("pseudo_mean_teacher", "Pseudo-MeanTeacher", "pseudo", "mean_teacher", (56.3, 91.3, 73.8)),
)

# The image-blind floor that evaluate judges beside the rows.
FIXED_ELLIPSE = "fixed_ellipse"
# In the place of a row's predictions: why the row could not run.
NOT_RUNNABLE = "not_runnable.txt"


def predictions(paths: Paths, row: Row, seed: int) -> Path:
    """Folder of one row's predictions, or of its NOT_RUNNABLE note."""
    base = paths.predictions_gt if row.labels == "gt" else paths.predictions_weak
    return base / row.id / seed_name(seed)
