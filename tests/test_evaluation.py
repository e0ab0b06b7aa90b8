"""Judging the masks that no network made, boxes of prompts, and the classifier."""

import numpy as np
import pandas as pd
import pytest
from PIL import Image

from bench.data.images import ORIGINALS
from bench.evaluation import classifier_auc, filled_box, judge_bounds, larger_class, prompt_iou, true_box
from bench.metrics import per_image_iou
from bench.selection import CORNERS


def lesions() -> np.ndarray:
    """Two lesions, 40 wide and 60 high."""
    truth = np.zeros((60, 40), bool)
    truth[10:20, 5:15] = truth[30:40, 20:30] = True
    return truth


@pytest.fixture
def masks(tmp_path):
    """A masks folder with one image of two lesions and one without any."""
    (tmp_path / ORIGINALS).mkdir()
    Image.fromarray(lesions()).save(tmp_path / ORIGINALS / "two.png")
    Image.fromarray(np.zeros((60, 40), bool)).save(tmp_path / ORIGINALS / "none.png")
    return tmp_path


def test_the_box_goes_around_all_lesions():
    assert true_box(lesions()) == (5, 10, 29, 39)
    assert filled_box(lesions()).sum() == 25 * 30
    assert filled_box(lesions())[10:40, 5:30].all()


def test_no_lesion_has_no_box():
    nothing = np.zeros((60, 40), bool)
    assert true_box(nothing) is None
    assert not filled_box(nothing).any()


def test_bounds_are_judged_at_the_original_size(masks):
    judged = judge_bounds(pd.DataFrame({"id": ["two"], "category": ["benign"]}), masks)
    ious = per_image_iou(judged).set_axis(judged["row"])["tumor_iou"]
    assert ious["filled_box"] == pytest.approx(100 * 200 / (25 * 30))
    assert ious["whole_image"] == pytest.approx(100 * 200 / 2400)
    assert set(ious.index) == {"fixed_ellipse", "filled_box", "whole_image"}


def test_prompts_are_held_against_the_true_box(masks):
    boxes = [("two", 5, 10, 29, 39), ("two", 5, 10, 29, 24), ("two", *[np.nan] * 4), ("none", 0, 0, 9, 9)]
    found = prompt_iou(pd.DataFrame(boxes, columns=["id", *CORNERS]), masks)
    assert found == [100.0, pytest.approx(50.0), 0.0, 0.0]


def classified(folder, labels, logits):
    table = {"set": "K", "label": labels, "logit_normal": 0.0, "logit_tumour": logits}
    pd.DataFrame(table).to_csv(folder / "classification.csv", index=False)
    return folder


def test_the_auc_ranks_by_the_logits_difference(tmp_path):
    folder = classified(tmp_path, [0, 0, 1, 1], [-2.0, 1.0, 0.5, 3.0])
    assert classifier_auc(folder) == 75.0
    assert larger_class(folder) == 50.0


def test_one_class_alone_has_no_auc(tmp_path):
    folder = classified(tmp_path, [1, 1, 1], [-2.0, 1.0, 0.5])
    assert classifier_auc(folder) is None
    assert larger_class(folder) == 100.0
