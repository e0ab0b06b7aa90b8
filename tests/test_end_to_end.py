"""What the stages of a tiny profile leave, and that two runs leave the same."""

import contextlib
import json
import math
import re
import shutil
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from PIL import Image

from bench.cli import main
from tests.tiny import (
    CONTROL_ROWS,
    CONTROLS,
    DATA,
    EVERYTHING,
    GT_ROWS,
    METHODS,
    NEEDS_L,
    PROFILE,
    REPORTS,
    TABLE3,
    TRAINED,
    WEAK_ROWS,
    WITHOUT_MASKS,
    params,
    read_metrics,
    run,
    write_params,
)


@contextlib.contextmanager
def masks_removed(folder: Path, aside: Path) -> Iterator[None]:
    """Take the masks and the raw data, which holds masks too, out of the folder."""
    for name in ("masks", "raw"):
        shutil.move(folder / DATA / name, aside / name)
    yield
    for name in ("masks", "raw"):
        shutil.move(aside / name, folder / DATA / name)


@pytest.fixture(scope="session")
def repeated(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """All again from scratch in another folder; the weak stages run while no mask is there."""
    folder, aside = tmp_path_factory.mktemp("repeated"), tmp_path_factory.mktemp("aside")
    write_params(folder, params())
    run(folder, "download", "prepare", "audit", "split")
    with masks_removed(folder, aside):
        run(folder, *WITHOUT_MASKS)
    run(folder, "train_gt", "oracle", "controls", "evaluate", "tables")
    return folder


def test_every_stage_leaves_its_outputs(finished):
    seed = "split-0-training-0"
    expected = [
        "images/index.csv",
        "images/store.npy",
        "masks/store.npy",
        "masks/counts.csv",
        *(f"audit/{name}" for name in ("groups.csv", "pairs.csv", "flags.csv", "summary.json")),
        "splits/split-0.csv",
        *(
            f"cams/{method}/{seed}/{name}"
            for method in METHODS
            for name in ("cams.npy", "ids.csv", "classification.csv", "history.csv")
        ),
        *(f"cams/swin_mil/{seed}/direct/{name}" for name in ("probabilities.npy", "ids.csv")),
        *(f"crf/{method}/{seed}/{name}" for method in METHODS for name in ("store.npy", "log.csv")),
        f"selection/{seed}.csv",
        f"selection/{seed}.json",
        *(f"segmenter/sam_phantom/{name}" for name in ("checkpoint.pth", "segmenter.json", "history.csv")),
        *(f"pseudo/{seed}/{name}" for name in ("store.npy", "log.csv", "segmenter.json")),
        *(
            f"predictions/{kind}/{row}/{seed}/{name}"
            for kind, rows in TRAINED.items()
            for row in rows
            for name in ("probabilities.npy", "ids.csv", "history.csv")
        ),
        *(
            f"evaluation/{name}"
            for name in ("per_image.csv", "pseudo.csv", "methods.csv", "not_runnable.json", "diagnostics.json")
        ),
        *(f"evaluation/{name}.csv" for name in ("selection", "stability", "noise", "blob")),
        *(f"controls/{control}/{seed}.{kind}" for control in CONTROLS for kind in ("csv", "json")),
        f"controls/boxes/{seed}.csv",
        *(f"controls/oracle_box/{seed}/{name}" for name in ("log.csv", "segmenter.json")),
    ]
    reports = [f"table{number}.{kind}" for number in (1, 2, 3) for kind in ("md", "csv")]
    names = ("pairs", "seeds", "claims", "controls", "diagnostics")
    reports += [f"{name}.{kind}" for name in names for kind in ("md", "csv")]
    figures = [f"figures/{name}.png" for name in ("baselines", "noise")]
    reports += ["metrics.json", "tables.json", "report.md", "report.html", *figures]
    missing = [name for name in expected if not (finished / DATA / name).is_file()]
    missing += [name for name in reports if not (finished / REPORTS / name).is_file()]
    assert not missing
    assert not list(finished.rglob("*.tmp"))
    assert not list((finished / DATA).rglob("item.json"))  # differs from run to run
    assert not list((finished / ".bench/runs").glob(".*"))


def test_metrics_hold_exactly_the_agreed_keys_and_finite_numbers(finished):
    metrics = read_metrics(finished)
    assert set(metrics) == {"table1", "table2", "table3", "leaks", "uncertainty"}
    assert metrics["leaks"] == {"split-0": {"X": 0, "X_percent": 0.0, "K": 0, "K_percent": 0.0}}
    assert set(metrics["table1"]) == {"entire", "N", "K", "V", "X", "L", "U"}
    for counts in metrics["table1"].values():
        assert set(counts) == {"benign", "malignant", "normal", "total"}
        assert all(isinstance(count, int) for count in counts.values())
        assert counts["benign"] + counts["malignant"] + counts["normal"] == counts["total"]
    assert set(metrics["table2"]) == {*GT_ROWS, *WEAK_ROWS}
    assert set(metrics["table3"]) == set(TABLE3)
    assert metrics["table3"]["pseudo_mean_teacher"] == metrics["table2"]["pseudo_mean_teacher"]
    for scores in (*metrics["table2"].values(), *metrics["table3"].values()):
        assert set(scores) == {"tumor_iou", "background_iou", "miou"}
        assert all(math.isfinite(score) and 0 <= score <= 100 for score in scores.values())


def test_images_of_the_users_groups_are_no_independent_evidence(copied):
    def p_values() -> set[str]:
        return set(pd.read_csv(copied / REPORTS / "pairs.csv", dtype=str)["p"].dropna())

    run(copied, "tables")
    assert p_values() != {"1.0000"}
    content = params()
    content[PROFILE]["split"] = {"protocol": "grouped", "groups": None}
    write_params(copied, content)
    ids = pd.read_csv(copied / DATA / "images/index.csv")["id"]
    pd.DataFrame({"id": ids, "group": 0}).to_csv(copied / DATA / "splits/groups.csv", index=False)
    run(copied, "tables")
    # One group has its signs flipped as a whole, so nothing can be told.
    assert p_values() == {"1.0000"}


def test_phantoms_are_compared_with_no_claim_of_the_paper(finished):
    claims = pd.read_csv(finished / REPORTS / "claims.csv")
    assert set(claims["Verdict"]) == {"not comparable"}
    assert len(claims) > 15


def test_the_sets_of_table_1_fit_together(finished):
    counts = read_metrics(finished)["table1"]
    assert counts["entire"] == {"benign": 20, "malignant": 10, "normal": 14, "total": 44}
    for whole, parts in (("entire", "NK"), ("V", "LU")):
        for name, count in counts[whole].items():
            assert count == sum(counts[part][name] for part in parts)
    for tumours, all_images in (("V", "N"), ("X", "K")):
        assert counts[tumours] == {
            **counts[all_images],
            "normal": 0,
            "total": counts[all_images]["benign"] + counts[all_images]["malignant"],
        }


def test_two_runs_from_scratch_give_the_same_bytes(finished, repeated):
    for name in (
        REPORTS / "metrics.json",
        *(DATA / f"cams/{method}/split-0-training-0/cams.npy" for method in METHODS),
        DATA / "predictions/weak/pseudo_mean_teacher/split-0-training-0/probabilities.npy",
    ):
        assert (finished / name).read_bytes() == (repeated / name).read_bytes(), name


def test_the_segmenter_is_named_wherever_its_masks_stand(finished):
    texts = [
        (finished / REPORTS / name).read_text(encoding="utf-8") for name in ("table2.md", "table3.md", "report.md")
    ]
    assert all(
        "box prompts to sam_phantom, a small SAM trained on other phantoms and their masks" in text for text in texts
    )
    assert "with true boxes on 4 unseen lesions" in texts[2]
    assert not any("GrabCut" in text or "ViT" in text for text in texts)


def test_oracle_rows_stand_in_the_report_and_in_no_table(finished):
    reports = {file.name: file.read_text(encoding="utf-8") for file in (finished / REPORTS).glob("*.md")}
    assert [name for name, text in sorted(reports.items()) if "oracle_oaa_cam" in text] == ["report.md"]
    assert "use pixel labels" in reports["report.md"]
    folder = finished / DATA / "predictions/oracle/oracle_oaa_cam/split-0-training-0"
    threshold = json.loads((folder / "threshold.json").read_text(encoding="utf-8"))["threshold"]
    assert f"| {threshold:g} " in reports["report.md"]
    assert (folder / "curve.csv").is_file()
    judged = (finished / DATA / "evaluation/per_image.csv").read_text(encoding="utf-8")
    assert "oracle_oaa_cam" in judged


def test_nothing_weak_needs_a_mask(copied, tmp_path, capsys):
    """Even the pseudo-masks come from images alone; what needs masks says so."""
    with masks_removed(copied, tmp_path):
        shutil.rmtree(copied / ".bench")
        for name in ("cams", "selection", "segmenter", "pseudo", "crf", "predictions"):
            shutil.rmtree(copied / DATA / name)
        run(copied, *WITHOUT_MASKS)
        capsys.readouterr()
        for stage in ("train_gt", "oracle", "controls"):
            with contextlib.chdir(copied):
                assert main([stage, "--profile", PROFILE]) == 2
            assert "masks" in capsys.readouterr().err


def test_mean_teacher_rows_are_not_runnable_when_u_is_empty(copied, capsys):
    content = params()
    content[PROFILE]["select"].update(EVERYTHING)
    content[PROFILE]["train"]["rows"] = {"pseudo_subset": {}, "pseudo_mean_teacher": {}}
    write_params(copied, content)
    run(copied, "select", "pseudo", "train_weak", "evaluate", "tables")
    table = read_metrics(copied)["table2"]
    assert table["pseudo_subset"]["miou"] is not None
    assert table["pseudo_mean_teacher"] == {"tumor_iou": None, "background_iou": None, "miou": None}
    assert "U is empty" in (copied / REPORTS / "table2.md").read_text(encoding="utf-8")


def test_rows_without_a_large_enough_l_are_not_runnable_and_the_others_are(copied):
    content = params()
    content[PROFILE]["select"].update(rule="threshold", iou_threshold=0.9999, fallback="none")
    write_params(copied, content)
    run(copied, "select", "pseudo", "train_gt", "train_weak", "controls", "evaluate", "tables", "report")
    table2 = read_metrics(copied)["table2"]
    lines = (copied / REPORTS / "table2.md").read_text(encoding="utf-8").splitlines()
    for row in (*GT_ROWS, *WEAK_ROWS):
        (line,) = [line for line in lines if line.startswith(f"| {row} ")]
        if row in NEEDS_L:
            assert set(table2[row].values()) == {None}
            assert "not runnable" in line
        else:
            assert all(math.isfinite(score) for score in table2[row].values())
            assert "not runnable" not in line
    controls = pd.read_csv(copied / REPORTS / "controls.csv").set_index("Row")
    assert set(controls.loc[list(CONTROL_ROWS), "Tumor IoU"]) == {"not runnable"}
    assert set(controls.loc[list(CONTROL_ROWS), "Verdict"]) == {"cannot tell"}
    diagnostics = pd.read_csv(copied / REPORTS / "diagnostics.csv").set_index("Quantity")
    assert diagnostics.loc["pseudo-mask IoU, L (%)", "Value"] == "none: no image"
    assert "nan" not in (copied / REPORTS / "diagnostics.md").read_text(encoding="utf-8")


def test_each_control_is_trained_like_its_row_on_another_selection(finished):
    chosen = pd.read_csv(finished / DATA / "selection/split-0-training-0.csv").set_index("id")
    for control in CONTROLS:
        table = pd.read_csv(finished / DATA / f"controls/{control}/split-0-training-0.csv").set_index("id")
        assert list(table.index) == list(chosen.index)
        assert table["selected"].sum() == chosen["selected"].sum()
        assert (table["selected"] != chosen["selected"]).any()
    predictions = [
        finished / DATA / f"predictions/controls/{row}/split-0-training-0/probabilities.npy" for row in CONTROL_ROWS
    ]
    predictions.append(finished / DATA / "predictions/weak/pseudo_subset/split-0-training-0/probabilities.npy")
    assert len({file.read_bytes() for file in predictions}) == len(predictions)


def test_a_control_of_the_same_images_gives_the_bytes_of_its_row(copied):
    """Everything selected: whatever the control, it learns from the images of pseudo_subset in the same order."""
    content = params()
    content[PROFILE]["select"].update(EVERYTHING)
    content[PROFILE]["controls"]["selections"] = ["random_subset"]
    write_params(copied, content)
    run(copied, "select", "pseudo", "train_weak", "controls")
    one = copied / DATA / "predictions/weak/pseudo_subset/split-0-training-0/probabilities.npy"
    other = copied / DATA / "predictions/controls/random_subset_pseudo_subset/split-0-training-0/probabilities.npy"
    assert one.read_bytes() == other.read_bytes()


def test_controls_stand_in_a_table_of_their_own(finished):
    controls = pd.read_csv(finished / REPORTS / "controls.csv", keep_default_na=False).set_index("Row")
    bounds = ["oracle_box", "filled_box", "fixed_ellipse", "whole_image"]
    assert list(controls.index) == ["pseudo_subset", *CONTROL_ROWS, *bounds]
    assert set(controls.loc[list(CONTROL_ROWS), "Against"]) == {"pseudo_subset"}
    for row, line in controls.iterrows():
        assert 0 <= float(line["Tumor IoU"]) <= 100, row
        assert (line["Difference"] != "") == (row in CONTROL_ROWS)
    assert float(controls.loc["whole_image", "Tumor IoU"]) < float(controls.loc["filled_box", "Tumor IoU"])
    # The printed IoU is that of the masks on disk.
    made = finished / DATA / "controls/oracle_box/split-0-training-0/original"
    truth = finished / DATA / "masks/original"
    ious = []
    for file in sorted(made.iterdir()):
        one, other = (np.array(Image.open(folder / file.name)) > 0 for folder in (made, truth))
        ious.append(100 * (one & other).sum() / (one | other).sum())
    assert float(controls.loc["oracle_box", "Tumor IoU"]) == pytest.approx(np.mean(ious), abs=0.006)
    for name in ("table1", "table2", "table3", "pairs", "claims"):
        text = (finished / REPORTS / f"{name}.md").read_text(encoding="utf-8")
        assert not any(row in text for row in (*CONTROL_ROWS, *bounds))


def test_controls_that_are_not_trained_are_named(copied):
    content = params()
    content[PROFILE]["controls"]["rows"] = []
    write_params(copied, content)
    run(copied, "controls", "evaluate", "tables", "report")
    text = (copied / REPORTS / "controls.md").read_text(encoding="utf-8")
    assert f"Not trained, by the settings (controls): {', '.join(CONTROLS)}." in text
    assert text.count("not trained") >= len(CONTROLS)
    assert "pseudo-mask IoU, noise_cam (%)" in (copied / REPORTS / "diagnostics.md").read_text(encoding="utf-8")


def test_a_sweep_judges_no_masks_of_other_boxes(copied, monkeypatch):
    """The pipeline's masks lie there still when the selection alone has been made anew."""
    monkeypatch.chdir(copied)
    content = params()
    before = content[PROFILE]["select"]["alpha1"]
    content[PROFILE]["select"]["alpha1"] = 30.0
    write_params(copied, content)
    run(copied, "select")
    assert main(["sweep", "select", "--profile", PROFILE, "--alpha1", str(before), "--alpha2", "5"]) == 0
    table = pd.read_csv(copied / REPORTS / "sweep.csv")
    assert {*table["alpha1"]} > {before, 30.0}
    assert {*table.loc[table["mask_iou_V"].notna(), "alpha1"]} == {before}


def test_a_sweep_needs_no_training_and_feeds_no_stage(copied, capsys, monkeypatch):
    monkeypatch.chdir(copied)
    grid = ["sweep", "select", "--profile", PROFILE, "--alpha1", "30", "--alpha2", "5", "--iou-threshold", "0.5"]
    assert main([*grid, "--masks"]) == 0
    # The profile's own alpha1 is in the store; the paper's and 30 % are new.
    assert re.search(r"^3 items, 1 of them already in the store$", capsys.readouterr().out, re.MULTILINE)
    table = pd.read_csv(copied / REPORTS / "sweep.csv")
    profile = params()[PROFILE]["select"]
    own = table[(table["alpha1"] == profile["alpha1"]) & (table["alpha2"] == profile["alpha2"])]
    assert own["ranked"].iloc[0] == pd.read_csv(copied / DATA / "selection/split-0-training-0.csv")["selected"].sum()
    assert table["mask_iou_V"].notna().all()
    assert "Impossible, because alpha2 must be smaller than alpha1:" in (copied / REPORTS / "sweep.md").read_text()
    run(copied, "report")
    assert (copied / REPORTS / "figures/sweep.png").is_file()
    table.assign(basis="of other CAMs").to_csv(copied / REPORTS / "sweep.csv", index=False)
    run(copied, "report")
    assert not (copied / REPORTS / "figures/sweep.png").exists()
    assert "there is no sweep.csv of these CAMs" in (copied / REPORTS / "report.html").read_text(encoding="utf-8")
    table.assign(split_seed=9).to_csv(copied / REPORTS / "sweep.csv", index=False)
    run(copied, "report")
    assert not (copied / REPORTS / "figures/sweep.png").exists()
    with pytest.raises(SystemExit) as refused:
        main([*grid, "--alpha2", "100"])
    assert refused.value.code == 2
