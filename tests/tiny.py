"""A tiny phantom profile, stage by stage through the command line."""

import contextlib
import json
from pathlib import Path
from typing import Any

import yaml

from bench.cli import main

PROFILE = "tiny"
DATA, REPORTS = Path("data") / PROFILE, Path("reports") / PROFILE
GT_ROWS = ("gt_whole", "gt_subset", "gt_mean_teacher")
WEAK_ROWS = ("pseudo_whole", "pseudo_subset", "pseudo_mean_teacher")
NEEDS_L = {"gt_subset", "gt_mean_teacher", "pseudo_subset", "pseudo_mean_teacher"}
# Of the six baselines: one that gives segmentations too, one that remembers its training images, and ours.
METHODS = ("oaa_cam", "swin_mil", "amr")
TABLE3 = (*METHODS, "swin_mil_direct", "pseudo_mean_teacher")
CONTROLS = ("random_subset", "noise_cam", "inverted", "oracle_subset")
CONTROL_ROWS = tuple(f"{control}_pseudo_subset" for control in CONTROLS)
TRAINED = {
    "gt": GT_ROWS,
    "weak": (*WEAK_ROWS, *METHODS),
    "oracle": ("oracle_oaa_cam",),
    "controls": CONTROL_ROWS,
}
# Settings of Algorithm 1 under which L is V: below the paper's 250 a CAM may have no region, and then it is not in L.
EVERYTHING = {"top_fraction": 1.0, "upper_level": 255}
WITHOUT_MASKS = ("cams", "select", "segmenter", "pseudo", "crf", "train_weak")


def params() -> dict[str, Any]:
    """The phantom profile, smaller in every respect."""
    original = yaml.safe_load((Path(__file__).resolve().parents[1] / "params.yaml").read_text(encoding="utf-8"))
    profile = json.loads(json.dumps(original["phantom"]))  # without YAML's shared nodes
    profile["data"].update(benign=20, malignant=10, normal=14)
    profile["prepare"]["image_size"] = 32
    # Not as many processes as the machine has cores.
    profile["engine"]["kind"] = "inline"
    shorter = {"epochs": 2, "batch_size": 8, "precision": "fp32"}
    # The demo's classifiers compute in bfloat16, and must repeat themselves there too.
    profile["cams"] = {method: profile["cams"][method] for method in METHODS}
    for method in METHODS:
        profile["cams"][method]["optimisation"].update(shorter, precision="bf16")
    profile["oracle"] = ["oaa_cam"]
    profile["select"]["rule"] = "top_fraction"
    segmenter = profile["segmenter"]
    segmenter["training"].update(benign=8, malignant=4)
    segmenter["held_out"].update(benign=2, malignant=2)
    segmenter["sizes"].update(image_size=64, embed_dim=32, heads=2, depth=2, window=4, prompt_dim=32, decoder_mlp=32)
    segmenter["optimisation"].update(shorter, precision="bf16")
    profile["pseudo"].update(precision="bf16", embedding_cache=True)
    profile["controls"].update(rows=["pseudo_subset"], noise={"maps": 20, "sigmas": [0.05, 0.2]})
    common = profile["train"]["common"]
    common["optimisation"].update(shorter)
    common["mean_teacher"]["labelled_per_batch"] = 4
    return {"profiles": [PROFILE], PROFILE: profile}


def write_params(folder: Path, content: dict[str, Any]) -> None:
    (folder / "params.yaml").write_text(yaml.safe_dump(content), encoding="utf-8")


def run(folder: Path, *stages: str) -> None:
    with contextlib.chdir(folder):
        for stage in stages:
            assert main([stage, "--profile", PROFILE]) == 0, stage


def read_metrics(folder: Path) -> dict[str, Any]:
    return json.loads((folder / REPORTS / "metrics.json").read_text(encoding="utf-8"))
