"""What each step learnt, as one table: classifier, pseudo-masks and prompts, the stability score, Algorithm 1 on noise.

Every value is of the evaluate stage and uses masks somewhere; nothing is trained or chosen on it (METHOD C).
"""

import warnings
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import numpy as np
import pandas as pd
from scipy import stats

from bench.auroc import auroc
from bench.noise import RULE
from bench.seeding import seed_for
from bench.seeds import AXES, Seeds, of_run
from bench.statistics import FEWEST_GROUPS, LEVEL, Interval, group_names, mean_estimate

# The AUROC costs a ranking a resample.
AUROC_RESAMPLES = 2000
NOTE = (
    "These use masks and are never trained on. Prompt: the broad region's box against the box around the truth, IoU 0 "
    "without a region. Stability: the box IoU of an image's two regions, lowest without both; its AUROC is the chance "
    "that of two images, one with a pseudo-mask above V's median IoU and one not, it is higher for the first (0.5: it "
    "says nothing). Noise: smooth Gaussian noise, sigma in shares of the image's side; as smooth as the CAMs: by the "
    "median of variance over squared slope. 95 % intervals: of means and of the AUROC by resampling groups "
    "of images, of shares Wilson's, which takes every image as independent."
)

Groups = Mapping[str, str]
Line = dict[str, str]


def diagnostics_frame(
    learnt: Sequence[Mapping[str, Any]],
    selection: pd.DataFrame,
    stability: pd.DataFrame,
    noise: pd.DataFrame,
    blob: pd.DataFrame,
    groups: Groups,
) -> pd.DataFrame:
    """For printing: run, part, quantity, images, value and 95 % interval; a value that cannot be given says why.

    The evaluate stage's diagnostics.json, selection.csv, stability.csv, noise.csv and blob.csv. groups: image id ->
    its group, resampled as one.
    """
    lines: list[Line] = []
    for found in learnt:
        run = Seeds(*(found[axis] for axis in AXES))
        chosen, boxes = of_run(selection, run), of_run(stability, run)
        parts = (_network(found), _quality(chosen, groups), _score(chosen, groups), _on_maps(found, boxes))
        lines += [{"Run": run.name, **line} for part in parts for line in part]
    lines += [{"Run": "", **line} for part in (_on_blob(blob), _on_noise(noise)) for line in part]
    return pd.DataFrame(lines)


def _line(
    part: str,
    quantity: str,
    value: str,
    images: int | None = None,
    interval: Interval | None = None,
    digits: int = 1,
) -> Line:
    shown = "" if images is None else str(images)
    ends = "" if interval is None else f"{interval[0]:.{digits}f} to {interval[1]:.{digits}f}"
    return {"Part": part, "Quantity": quantity, "Images": shown, "Value": value, "95 % interval": ends}


def _network(found: Mapping[str, Any]) -> Iterator[Line]:
    names = {
        "classifier_accuracy_K": "accuracy on K (%)",
        "larger_class_K": "accuracy on K if all were called the larger class (%)",
        "classifier_auc_K": "AUC on K (%)",
        "cam_peak_in_lesion_V": "CAM peak inside the lesion, V (%)",
    }
    for key, text in names.items():
        yield _line("classifier", text, "none: K has one class alone" if found[key] is None else f"{found[key]:.1f}")


def _quality(selection: pd.DataFrame, groups: Groups) -> Iterator[Line]:
    """Pseudo-masks and prompts against the truth, in V, L, U and what the controls take."""
    chosen = selection["selected"]
    columns = [*AXES, "id", "category", "selected", "reason", "stability", "prompt_iou", "mask_iou"]
    sets = {"V": chosen | ~chosen, "L": chosen, "U": ~chosen}
    sets |= {control: selection[control] for control in selection.columns if control not in columns}
    for quantity, column in (("pseudo-mask IoU", "mask_iou"), ("prompt's box IoU", "prompt_iou")):
        for name, members in sets.items():
            part = selection[members]
            if part.empty:
                yield _line("pseudo-labels", f"{quantity}, {name} (%)", "none: no image", 0)
                continue
            found = mean_estimate(part[column], part["id"], groups)
            yield _line("pseudo-labels", f"{quantity}, {name} (%)", f"{found.value:.1f}", len(part), found.images)


def _score(selection: pd.DataFrame, groups: Groups) -> Iterator[Line]:
    """Whether the stability score tells good pseudo-masks from bad ones; the reasons for the selection."""
    good = (selection["mask_iou"] > selection["mask_iou"].median()).to_numpy()
    scores = selection["stability"].fillna(-1.0).to_numpy()
    area = auroc(scores, good)
    value = "none: all pseudo-masks are equally good" if area is None else f"{area:.3f}"
    interval = _auroc_interval(scores, good, group_names(selection["id"], groups))
    yield _line("stability", "AUROC for a good pseudo-mask, V", value, len(selection), interval, digits=3)
    for reason, count in selection["reason"].value_counts().items():
        yield _line("stability", f"reason: {reason} (% of V)", f"{100 * count / len(selection):.1f}", int(count))


def _auroc_interval(scores: np.ndarray, positive: np.ndarray, names: pd.Series) -> Interval | None:
    """BCa interval of the AUROC over images, whole groups at a time; None below FEWEST_GROUPS or for one class."""
    members = list(names.reset_index(drop=True).groupby(names.to_numpy()).indices.values())
    if len(members) < FEWEST_GROUPS or positive.all() or not positive.any():
        return None

    def resampled(drawn: np.ndarray) -> float:
        taken = np.concatenate([members[group] for group in drawn])
        area = auroc(scores[taken], positive[taken])
        return np.nan if area is None else area

    with warnings.catch_warnings():
        # SciPy warns of a statistic that never varies or is not finite; both have their answer below.
        warnings.simplefilter("ignore", RuntimeWarning)
        found = stats.bootstrap(
            (np.arange(len(members)),),
            resampled,
            n_resamples=AUROC_RESAMPLES,
            vectorized=False,
            confidence_level=LEVEL,
            method="BCa",
            rng=np.random.default_rng(seed_for("bootstrap of the AUROC")),
        )
    if np.ptp(found.bootstrap_distribution) == 0:
        return float(found.bootstrap_distribution[0]), float(found.bootstrap_distribution[0])
    low, high = found.confidence_interval
    return (float(low), float(high)) if np.isfinite([low, high]).all() else None


def _on_maps(found: Mapping[str, Any], boxes: pd.DataFrame) -> Iterator[Line]:
    """Algorithm 1 on the CAMs of V and on noise as smooth as they are."""
    yield _line("Algorithm 1", "smoothness of the CAMs, median of V", f"{found['cam_smoothness_V']:.3f}")
    yield _line("Algorithm 1", "sigma of noise as smooth as the CAMs", f"{found['noise_sigma_V']:.3f}")
    names = {"cams": "CAMs", "noise": "noise as smooth as the CAMs"}
    for rule, of_rule in boxes.groupby(RULE, sort=False):
        for source, maps in of_rule.groupby("source", sort=False):
            quantity = f"{names[str(source)]}: {_accepted(rule)} (%)"
            hits = int((maps["iou"] > maps["iou_threshold"]).sum())
            yield _line("Algorithm 1", quantity, f"{100 * hits / len(maps):.1f}", len(maps), _share(hits, len(maps)))
        both = of_rule.dropna(subset="iou")
        above = auroc(both["iou"].to_numpy(), (both["source"] == "cams").to_numpy())
        quantity = f"chance that a CAM's box IoU exceeds noise's, of those with both regions at {_alphas(rule)}"
        value = "none: no CAM, or no noise, has both" if above is None else f"{above:.3f}"
        yield _line("Algorithm 1", quantity, value, len(both))


def _share(hits: int, total: int) -> Interval:
    """Wilson's interval in percent."""
    ends = stats.binomtest(hits, total).proportion_ci(confidence_level=LEVEL, method="wilson")
    return 100 * float(ends.low), 100 * float(ends.high)


def _on_blob(blob: pd.DataFrame) -> Iterator[Line]:
    """Algorithm 1 on one compact blob, whatever the data."""
    for rule, lines in blob.groupby(RULE, sort=False):
        iou, threshold = lines["iou"].iloc[0], lines["iou_threshold"].iloc[0]
        value = "none: a region is missing" if np.isnan(iou) else f"{iou:.2f}"
        quantity = f"box IoU of one compact blob at {_alphas(rule)} (alpha2 / alpha1 is {_ratio(rule):.2f})"
        yield _line("Algorithm 1", quantity, f"{value}: {'accepted' if iou > threshold else 'rejected'}")


def _on_noise(noise: pd.DataFrame) -> Iterator[Line]:
    """Algorithm 1 on noise, at the roughest and the smoothest."""
    for rule, lines in noise.groupby(RULE, sort=False):
        shares = 100 * lines["accepted"] / lines["maps"]
        ends = [f"{shares.iloc[end]:.1f} at {lines['sigma'].iloc[end]:g}" for end in (0, -1)]
        yield _line("Algorithm 1", f"noise by sigma: {_accepted(rule)} (%)", ", ".join(ends))


def _alphas(rule: Any) -> str:
    return f"alpha {rule[0]:g} / {rule[1]:g} %"


def _ratio(rule: Any) -> float:
    return float(rule[1] / rule[0])


def _accepted(rule: Any) -> str:
    return f"box IoU > {rule[3]:g} at {_alphas(rule)}"
