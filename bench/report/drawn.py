"""The figures of a report: what each shows, and drawing those that the results allow. Reads masks to show the truth."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from bench.data import masks
from bench.data.images import read_table
from bench.files import read_json
from bench.metrics import per_image_iou
from bench.paths import SWEEP, Paths
from bench.report.figures import Score, save_curves, save_grid, save_heat_maps, save_scores
from bench.report.gallery import extremes, predictions, regions, roads
from bench.report.noise import save_noise
from bench.rows import Row, method_rows
from bench.rows import predictions as predictions_folder
from bench.schema import BusiData
from bench.seeds import Seeds, of_run
from bench.settings import Settings
from bench.sweep import basis

FIGURE_3_ROWS = ("pseudo_subset", "pseudo_whole", "pseudo_mean_teacher")
# Of a sweep: what is drawn of it.
SWEPT = {"selected": "images in L", "box_iou_L": "box IoU in L (%)", "mask_iou_L": "mask IoU in L (%)"}
HISTORY = "history.csv"


@dataclass(frozen=True)
class Figure:
    """name: of the PNG. absent: why a report may lack it."""

    name: str
    title: str
    caption: str
    absent: str


FIGURES = (
    Figure(
        "figure1",
        "Regions and pseudo-masks (the paper's Fig. 1)",
        "Regions of interest (blue: alpha1, red: alpha2), CAM, truth and pseudo-mask, from the most stable image of V "
        "to the least (quantiles of the box IoU).",
        "no image of V has both regions",
    ),
    Figure(
        "figure3",
        "Predictions (the paper's Fig. 3)",
        "Test images at the 90, 70, 50, 30 and 10 % quantiles of the last row's tumour IoU: truth in green, "
        "predictions in yellow.",
        "none of its rows ran",
    ),
    Figure(
        "cases",
        "Best and worst cases",
        "The three test images with the highest and the three with the lowest tumour IoU of the last row: truth in "
        "green, predictions in yellow.",
        "none of its rows ran",
    ),
    Figure(
        "scores",
        "Tumour IoU by row",
        "Every test image of the first run (blue), their mean (black; of a single run with its 95 % interval over "
        "images) and the paper's number (red diamond, where ours may be compared with it); dotted: the fixed ellipse, "
        "which ignores the image.",
        "no row ran",
    ),
    Figure(
        "baselines",
        "CAMs and pseudo-labels of the baselines",
        "CAMs of the baselines and the outline of the pseudo-label that DenseCRF makes of each (yellow); the truth "
        "(green); at the 90, 70, 50, 30 and 10 % quantiles of the lesion's share of the image.",
        "no baseline gives CAMs",
    ),
    Figure(
        "noise",
        "Algorithm 1 on noise",
        "Algorithm 1 on smooth Gaussian noise. Left: the share it accepts by the noise's smoothness; stars: the CAMs "
        "of V at the sigma that fits them. Right: the box IoUs of these CAMs and of noise as smooth.",
        "no run was evaluated",
    ),
    Figure(
        "training", "Training curves", "Mean training loss by epoch; each method has its own loss.", "no training ran"
    ),
    Figure(
        "sweep",
        "Sensitivity to alpha and the IoU threshold",
        "What Algorithm 1 selects at other settings: images in L, and how well their boxes fit the truth; a panel for "
        "every IoU threshold.",
        f"there is no {SWEEP} of these CAMs, which `python -m bench sweep select` makes",
    ),
)


@dataclass(frozen=True)
class Results:
    """What the figures of the first run are drawn from.

    per_image: counts of that run. folders: where the predictions of the rows of Table II that ran lie. metrics:
    content of metrics.json. floor: the row of the fixed ellipse.
    """

    paths: Paths
    settings: Settings
    per_image: pd.DataFrame
    folders: Mapping[Row, Path]
    metrics: Mapping[str, Any]
    floor: str

    @property
    def seeds(self) -> Seeds:
        """Of the first run."""
        return self.settings.seeds.runs[0]

    @property
    def baselines(self) -> list[Row]:
        """Rows of Table III that are trained on DenseCRF's masks."""
        return [row for row in method_rows(self.settings.cams) if row.labels == "crf"]


def draw(results: Results, out: Path) -> None:
    """Draw FIGURES into the folder `out`, without those whose results are not there."""
    _draw_images(results, out)
    _draw_scores(results, out / "scores.png")
    _draw_noise(results, out / "noise.png")
    _draw_curves(results, out / "training.png")
    _draw_sweep(results, out / "sweep.png")


def _draw_images(results: Results, out: Path) -> None:
    paths, run = results.paths, results.seeds.name
    truth, cams = masks.folder(paths), paths.cams / results.settings.select.cams / run
    selection = read_table(paths.selection / f"{run}.csv")
    shown = regions(selection, cams, paths.pseudo / run, paths.images, truth)
    if shown:
        save_grid(shown, out / "figure1.png")
    folders = {row: folder for row, folder in results.folders.items() if row.id in FIGURE_3_ROWS}
    if folders:
        labels = {row.label: folder for row, folder in folders.items()}
        reference = list(folders)[-1].id
        save_grid(predictions(results.per_image, labels, reference, paths.images, truth), out / "figure3.png")
        save_grid(extremes(results.per_image, labels, reference, paths.images, truth), out / "cases.png")
    if results.baselines:
        places = {row.label: (paths.cams / row.id / run, paths.crf / row.id / run) for row in results.baselines}
        save_grid(roads(selection, places, paths.images, truth), out / "baselines.png")


def _draw_scores(results: Results, file: Path) -> None:
    settings, per_image = results.settings, results.per_image
    # The intervals are those of the means over all runs.
    intervals = results.metrics.get("uncertainty", {}).get("images", {}) if len(settings.seeds.runs) == 1 else {}
    with_paper = isinstance(settings.data, BusiData)
    scores = []
    for row in [*results.folders, *method_rows(settings.cams)]:
        iou = _tumor_iou(per_image, row.id)
        if len(iou):
            found = intervals.get(row.id, {}).get("tumor_iou")
            interval = (found["low"], found["high"]) if found else None
            paper = row.paper[0] if row.paper and with_paper else None
            scores.append(Score(row.label, iou, float(iou.mean()), interval, paper))
    if scores:
        floor = _tumor_iou(per_image, results.floor)
        title = f"tumour IoU of the test images in percent, {results.seeds.name}"
        save_scores(scores, float(floor.mean()) if len(floor) else None, title, file)


def _tumor_iou(per_image: pd.DataFrame, row: str) -> np.ndarray:
    """Of one row on every image, in percent."""
    return per_image_iou(per_image[per_image["row"] == row])["tumor_iou"].to_numpy()


def _draw_noise(results: Results, file: Path) -> None:
    folder = results.paths.evaluation
    boxes = of_run(read_table(folder / "stability.csv"), results.seeds)
    sigma = of_diagnostics(folder, results.seeds)["noise_sigma_V"]
    save_noise(read_table(folder / "noise.csv"), boxes, sigma, file)


def of_diagnostics(evaluation: Path, seeds: Seeds) -> dict[str, Any]:
    """What diagnostics.json says of one run."""
    entries: list[dict[str, Any]] = read_json(evaluation / "diagnostics.json")
    return next(entry for entry in entries if seeds.columns.items() <= entry.items())


def _draw_curves(results: Results, file: Path) -> None:
    paths, seeds = results.paths, results.seeds
    trained = {row.id: folder for row, folder in results.folders.items()}
    trained |= {row.id: predictions_folder(paths, row, seeds) for row in results.baselines}
    curves = {
        "classifiers": _histories({name: paths.cams / name / seeds.name for name in results.settings.cams}),
        "segmentation": _histories(trained),
    }
    if any(curves.values()):
        save_curves({title: found for title, found in curves.items() if found}, file)


def _histories(folders: Mapping[str, Path]) -> dict[str, pd.DataFrame]:
    """The training curves that there are."""
    return {name: read_table(folder / HISTORY) for name, folder in folders.items() if (folder / HISTORY).is_file()}


def _draw_sweep(results: Results, file: Path) -> None:
    sweep = results.paths.reports / SWEEP
    if not sweep.is_file():
        return
    select = results.settings.select
    lines = of_run(read_table(sweep), results.seeds)
    # A sweep is no stage's output: it may be older than the CAMs.
    current = basis(results.paths.cams / select.cams / results.seeds.name, select.upper_level)
    if len(lines) and set(lines.get("basis", [""])) == {current}:
        save_heat_maps(sweep_grids(lines), file)


def sweep_grids(sweep: pd.DataFrame) -> Sequence[Sequence[tuple[str, pd.DataFrame]]]:
    """A sweep as titled grids of alpha2 by alpha1: a row a measure, a column an IoU threshold."""
    return [
        [
            (f"{title}, IoU > {threshold:g}", part.pivot(index="alpha2", columns="alpha1", values=measure))
            for threshold, part in sweep.groupby("iou_threshold")
        ]
        for measure, title in SWEPT.items()
        if sweep[measure].notna().any()
    ]
