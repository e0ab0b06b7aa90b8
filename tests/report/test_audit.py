"""The report's section on the data set."""

from pathlib import Path
from typing import Any

import pandas as pd

from bench.report.audit import audit_section, audit_tables
from bench.settings import load

SETTINGS = load("busi", Path(__file__).resolve().parents[2] / "params.yaml")
MASKS = pd.DataFrame(
    [("b1", "benign", 2), ("b2", "benign", 3), ("n1", "normal", 1)], columns=["id", "category", "masks"]
)
LEAKS = {"split-0": {"X": 37, "X_percent": 28.68, "K": 47, "K_percent": 30.13}}


def section(cross_class_pairs: list[list[str]]) -> str:
    classes = {"benign": 437, "malignant": 210, "normal": 133}
    found: dict[str, Any] = {
        "images_by_class": classes,
        "groups": 143,
        "images_in_groups_by_class": {"benign": 217, "malignant": 42, "normal": 67},
        "largest_group": 7,
        "pairs": 227,
        "exact_duplicates": [],
        "cross_class_pairs": cross_class_pairs,
        "colour_by_class": {"benign": 11, "malignant": 1, "normal": 0},
        "annotated_by_class": {"benign": 175, "malignant": 48, "normal": 8},
    }
    return audit_section(audit_tables(SETTINGS, found, MASKS, LEAKS))


def cells(text: str, title: str) -> list[str]:
    (line,) = [line for line in text.splitlines() if line.startswith(f"| {title} ")]
    return [cell.strip() for cell in line.split("|")[2:-1]]


def test_images_are_counted_by_class_and_leaks_by_split():
    text = section([])
    assert cells(text, "All") == ["437", "210", "133", "780"]
    assert cells(text, "With a near-duplicate") == ["217", "42", "67", "326"]
    assert cells(text, "With several masks") == ["2", "0", "0", "2"]
    assert cells(text, "split-0") == ["37 (28.7 %)", "47 (30.1 %)"]
    assert "227 pairs in 143 groups" in text
    assert "(protocol paper)" in text


def test_pairs_are_listed_and_long_lists_are_cut():
    assert "Pairs across classes: none." in section([])
    assert "Pairs across classes: b433 and m145." in section([["b433", "m145"]])
    assert "b19 and m; 5 more in pairs.csv." in section([[f"b{number}", "m"] for number in range(25)])
