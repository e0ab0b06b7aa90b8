"""The page's pieces: the verdict, the tables, the outlines, the gaps; and that whatever is named is shown as text."""

import json
import re
from pathlib import Path

import cv2
import numpy as np
import pandas as pd
import pytest

from bench.captions import substitutes
from bench.errors import UserError
from bench.report.cases import GRID, gather_cases, outline
from bench.report.drawn import FIGURES, sweep_grids
from bench.report.gaps import gaps
from bench.report.page import render
from bench.report.tables import read_tables
from bench.report.verdict import against_paper, conclude
from bench.settings import load
from tests.report.made_up import EVIL, FLOOR, made_up_page, write_images

ROOT = Path(__file__).resolve().parents[2]
COLUMNS = ["Sentence", "Section", "Quoted", "Ours", "95 % interval", "Verdict", "Reason"]
CLAIMS = pd.DataFrame(
    [
        ("the best", "I", "", "-4.8", "-6.1 to -3.2", "fails", ""),
        ("by 7.8", "III", "7.8", "0.4", "-1.6 to 2.4", "fails", ""),
        ("worse", "III", "", "0.2", "-1.0 to 2.0", "cannot tell", "the interval includes 0"),
        ("missing", "III", "", "", "", "cannot tell", "row missing: amr"),
        ("V = L + U", "II", "", "", "", "holds", "about the paper's own numbers"),
    ],
    columns=COLUMNS,
)
METRICS = {
    "table2": {"gt_whole": {"tumor_iou": 45.73}, "gt_subset": {"tumor_iou": None}},
    "table3": {},
    "leaks": {"split-0": {"X": 39, "X_percent": 30.23}},
    "uncertainty": {"images": {"gt_whole": {"tumor_iou": {"low": 40.1, "high": 51.1}}}, "seeds": {}},
}


def settings(profile: str):
    return load(profile, ROOT / "params.yaml")


def test_the_verdict_counts_claims_and_names_what_stands_in_for_the_papers_ingredients():
    found = conclude(settings("busi-small"), "GrabCut (not SAM)", ["top_fraction"], CLAIMS, METRICS, 19.5)
    assert found.headline.startswith(
        "2 of 4 claims fail, 2 cannot be told, none holds; made with GrabCut instead of SAM"
    )
    assert "without pretrained weights" in found.headline and found.headline.endswith("no test of the paper.")
    assert [claim.ours for claim in found.claims["fails"]][1] == "ours 0.4 (-1.6 to 2.4), quoted as 7.8"
    assert "GT-Whole) 45.7 %, a fixed ellipse that ignores the image 19.5 %" in found.notes[0]
    told = [claim.ours for claim in found.claims["cannot tell"]]
    assert told == ["ours 0.2 (-1.0 to 2.0): the interval includes 0", "row missing: amr"]
    assert "39 (30.2 %)" in found.notes[1]
    assert "1 agree with its tables and 0 do not" in found.notes[2]


def test_the_interval_over_seeds_is_told_where_there_is_one():
    over_seeds = CLAIMS.assign(**{"95 % interval, seeds": "-9.0 to 1.0"})
    found = conclude(settings("busi"), "SAM ViT-H", ["threshold"], over_seeds, METRICS, None)
    assert found.claims["fails"][0].ours == "ours -4.8 (-6.1 to -3.2; seeds: -9.0 to 1.0)"


def test_phantoms_are_never_compared_with_the_paper():
    found = conclude(settings("phantom"), "GrabCut (not SAM)", ["top_fraction"], CLAIMS, METRICS, None)
    assert found.headline.startswith("A check of the machinery, never compared with the paper")
    assert found.claims == {}


def test_the_papers_profile_has_no_substitutes():
    assert substitutes(settings("busi"), "SAM ViT-H", ["threshold"]) == []
    assert conclude(settings("busi"), "SAM ViT-H", ["threshold"], CLAIMS, {}, None).headline.endswith(
        "the paper's ingredients."
    )
    assert conclude(settings("busi"), "SAM ViT-H", [], pd.DataFrame(), {}, None).headline.startswith("No claim")


@pytest.mark.parametrize(
    ("intervals", "verdict"),
    [
        ([(40.0, 51.0)], "below the paper"),
        ([(60.0, 61.0), (57.0, 63.0)], "above the paper"),
        ([(40.0, 51.0), (30.0, 60.0)], "cannot tell"),
        ([], "cannot tell"),
    ],
)
def test_every_interval_must_lie_on_one_side_of_the_papers_number(intervals, verdict):
    assert against_paper(56.3, intervals) == verdict


def write_tables(folder: Path, *names: str) -> None:
    listing = []
    for name in names:
        pd.DataFrame(
            [("gt_whole", "45.70", "67.9", "-22.2"), ("gt_subset", "not runnable", "56.3", "")],
            columns=["Row", "Tumor IoU", "Tumor IoU (paper)", "Difference"],
        ).to_csv(folder / f"{name}.csv", index=False)
        listing.append({"name": name, "title": name.upper(), "caption": "Made up."})
    (folder / "tables.json").write_text(json.dumps(listing), encoding="utf-8")


def test_tables_stand_in_the_declared_order_and_others_follow(tmp_path):
    write_tables(tmp_path, "seventh", "claims", "table2", "controls")
    tables = read_tables(tmp_path, METRICS)
    assert [table.name for table in tables] == ["table2", "controls", "claims", "seventh"]
    assert tables[0].rows[0] == ["gt_whole", "45.70", "67.9", "-22.2", "below the paper"]
    assert tables[0].rows[1][-1] == "not runnable"
    assert tables[0].numeric == [False, False, True, True, False]
    assert "Verdict" not in tables[1].columns


def test_a_table_without_its_file_is_named(tmp_path):
    write_tables(tmp_path, "table2")
    (tmp_path / "table2.csv").unlink()
    with pytest.raises(UserError, match=r"table2\.csv is missing - run the stage that makes it"):
        read_tables(tmp_path, METRICS)


def test_gaps_are_named(tmp_path):
    write_tables(tmp_path, "table2")
    reasons = [{"row": "gt_subset", "split_seed": 0, "training_seed": 0, "reason": "L is empty"}]
    metrics = {**METRICS, "table3": {"amr": {}}, "uncertainty": {}}
    names = [figure.name for figure in FIGURES if figure.name != "sweep"]
    found = gaps(settings("busi"), metrics, reasons, read_tables(tmp_path, metrics), names, pd.DataFrame())
    assert found[0] == "gt_subset, split-0-training-0: not runnable: L is empty."
    text = "\n".join(found)
    assert "nothing says why: amr." in text
    assert "One run" in text and "too few: gt_whole." in text and "No table: controls of the selection." in text
    assert "sweep.csv" in text and "No time or memory by stage" in text


def filled(path: str, size: tuple[int, int]) -> np.ndarray:
    """What a path of outline() encloses, as bool (H, W)."""
    image = np.zeros(size, np.uint8)
    for x, y, steps in re.findall(r"M(\d+) (\d+)(?:l([^z]*))?z", path):
        moves = np.array([int(number) for number in re.findall(r"-?\d+", steps)]).reshape(-1, 2)
        corners = np.cumsum(np.vstack([[int(x), int(y)], moves]), axis=0)
        one = np.zeros_like(image)
        cv2.fillPoly(one, [corners.astype(np.int32)], 1)
        image ^= one
    return image.astype(bool)


def test_an_outline_encloses_its_mask_and_leaves_out_its_hole():
    mask = np.zeros((GRID, GRID), bool)
    cv2.circle(view := mask.view(np.uint8), (200, 150), 90, 1, -1)
    view[130:170, 180:220] = 0
    found = filled(outline(mask), mask.shape)
    assert (found & mask).sum() / (found | mask).sum() > 0.95
    assert outline(np.zeros((9, 9), bool)) == ""
    single = np.zeros((9, 9), bool)
    single[4, 4] = True
    assert re.fullmatch(r"M\d+ \d+z", outline(single))


def test_cases_hold_every_row_and_name_what_is_missing(tmp_path):
    per_image = write_images(tmp_path)
    folder = tmp_path / "predictions"
    known = {"gt_whole": ("GT-Whole", folder), "gt_subset": ("GT-Subset", folder / "none"), FLOOR: ("Ellipse", None)}
    found = gather_cases(
        per_image, known, {"gt_subset": "not runnable: L is empty"}, FLOOR, tmp_path, tmp_path / "masks"
    )
    rows = {row.id: row for row in found.rows}
    assert [row.ran for row in found.rows] == [True, False, True, True]
    assert rows["gt_subset"].note == "not runnable: L is empty"
    assert rows["extra"].note == "its predictions are not kept, so no outline is shown"
    assert set(rows["extra"].outlines) == {None}
    assert all(rows["gt_whole"].outlines) and all(rows[FLOOR].outlines)
    assert found.images[0].size == (448, 299)
    one = gather_cases(per_image[per_image["id"] == "b1"], known, {}, FLOOR, tmp_path, tmp_path / "masks")
    assert len(one.images) == one.test_images == 1


def test_a_large_test_set_is_thinned(tmp_path, monkeypatch):
    monkeypatch.setattr("bench.report.cases.MOST", 2)
    per_image = write_images(tmp_path)
    found = gather_cases(per_image, {}, {}, FLOOR, tmp_path, tmp_path / "masks")
    assert (len(found.images), found.test_images) == (2, 3)


def test_what_is_named_is_shown_as_text_and_the_same_page_gives_the_same_bytes(tmp_path):
    page = made_up_page(tmp_path)
    html = render(page)
    assert EVIL not in html and "&lt;script&gt;" in html
    assert html.count("<script") == 2
    assert render(page) == html
    assert not re.search(r"(?:src|href)=\"(?!data:|#)|https?://|url\(", html)


def test_a_sweep_becomes_one_grid_a_measure_and_threshold():
    sweep = pd.DataFrame(
        [(a, b, t, 10 * a, 0.5, None) for a in (5.0, 10.0) for b in (1.0, 2.0, 3.0) for t in (0.5, 0.7)],
        columns=["alpha1", "alpha2", "iou_threshold", "selected", "box_iou_L", "mask_iou_L"],
    )
    grids = sweep_grids(sweep)
    assert [[title for title, _ in row] for row in grids] == [
        ["images in L, IoU > 0.5", "images in L, IoU > 0.7"],
        ["box IoU in L (%), IoU > 0.5", "box IoU in L (%), IoU > 0.7"],
    ]
    assert grids[0][0][1].shape == (3, 2)
    assert grids[0][0][1].loc[1.0, 10.0] == 100
