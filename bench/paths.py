"""Where a profile's files lie. The masks' place is not here: only bench.data.masks and bench.data.raw know it."""

from dataclasses import dataclass
from pathlib import Path

DATA = Path("data")
REPORTS = Path("reports")
# What `python -m bench sweep select` leaves beside a profile's tables, where the report looks for it.
SWEEP = "sweep.csv"
# Archives from the network.
DOWNLOADS = Path(".bench/downloads")
# A method's trained network, which rests with its item in the run store; no later stage reads it.
NET = "net.safetensors"
# The small SAM that the segmenter stage trains: its folder, and its checkpoint in the layout of the official ones.
SAM_PHANTOM, CHECKPOINT = "sam_phantom", "checkpoint.pth"
# Tables of boxes that prompt the segmenter, beside the selections.
BOXES = "boxes"
# Masks that the segmenter makes of the true boxes of X: a folder, and a row.
ORACLE_BOX = "oracle_box"
# In a method's folder of CAMs: its own masks of X.
DIRECT = "direct"


@dataclass(frozen=True)
class Paths:
    """Folders and files of one profile, relative to the project's folder."""

    profile: str

    @property
    def data(self) -> Path:
        """Everything of the profile that DVC keeps."""
        return DATA / self.profile

    @property
    def images(self) -> Path:
        """Prepared images and image-level labels."""
        return self.data / "images"

    @property
    def audit(self) -> Path:
        """groups.csv, pairs.csv, flags.csv, summary.json."""
        return self.data / "audit"

    @property
    def splits(self) -> Path:
        """split-<seed>.csv: id, category, set."""
        return self.data / "splits"

    @property
    def groups(self) -> Path:
        """id, group: what the protocol `grouped` kept on one side; there is none under `paper`."""
        return self.splits / "groups.csv"

    def split(self, seed: int) -> Path:
        """The manifest of one split."""
        return self.splits / f"split-{seed}.csv"

    @property
    def cams(self) -> Path:
        """<method>/<run>/: cams.npy, ids.csv, classification.csv, history.csv, direct/."""
        return self.data / "cams"

    @property
    def selection(self) -> Path:
        """<run>.csv, <run>.json and boxes/<run>.csv."""
        return self.data / "selection"

    @property
    def segmenter(self) -> Path:
        """sam_phantom/: checkpoint.pth, segmenter.json, history.csv; or note.txt where another segmenter is used."""
        return self.data / "segmenter"

    @property
    def pseudo(self) -> Path:
        """<run>/: store.npy, log.csv, segmenter.json, original/."""
        return self.data / "pseudo"

    @property
    def crf(self) -> Path:
        """<method>/<run>/: store.npy, log.csv, original/."""
        return self.data / "crf"

    @property
    def predictions_gt(self) -> Path:
        """<row>/<run>/: probabilities.npy, ids.csv, history.csv."""
        return self.data / "predictions" / "gt"

    @property
    def predictions_weak(self) -> Path:
        """As predictions_gt, for the rows that never see a mask."""
        return self.data / "predictions" / "weak"

    @property
    def predictions_oracle(self) -> Path:
        """As predictions_gt, for the rows whose threshold is chosen on training masks."""
        return self.data / "predictions" / "oracle"

    @property
    def predictions_controls(self) -> Path:
        """As predictions_gt, for the rows that learn on another selection than L."""
        return self.data / "predictions" / "controls"

    @property
    def controls(self) -> Path:
        """<selection>/<run>.csv and .json, boxes/<run>.csv, oracle_box/<run>/ as in pseudo."""
        return self.data / "controls"

    @property
    def evaluation(self) -> Path:
        """per_image.csv and the diagnostics that need masks."""
        return self.data / "evaluation"

    @property
    def reports(self) -> Path:
        """Tables, metrics.json, report and figures."""
        return REPORTS / self.profile
