"""The oracle threshold against masks that are known."""

import json

import numpy as np
import pandas as pd
import pytest

from bench.items.oracle import mean_iou, run


def test_the_lowest_best_threshold_is_found(tmp_path):
    y, x = np.mgrid[:32, :32]
    cam = np.clip(1 - np.hypot(x - 16, y - 16) / 16, 0, 1)
    truth = np.zeros((3, 32, 32), np.uint8)
    truth[2], truth[0] = cam > 0.42, cam > 0.42
    (tmp_path / "cams").mkdir()
    np.save(tmp_path / "cams" / "cams.npy", np.stack([cam, cam]).astype(np.float16))
    pd.DataFrame({"id": ["c", "a"]}).to_csv(tmp_path / "cams" / "ids.csv", index=False)
    pd.DataFrame({"id": ["a", "b", "c"]}).to_csv(tmp_path / "index.csv", index=False)
    np.save(tmp_path / "labels.npy", truth)
    inputs = {"index": tmp_path / "index.csv", "cams": tmp_path / "cams", "labels": tmp_path / "labels.npy"}
    run({}, inputs, tmp_path)
    assert json.loads((tmp_path / "threshold.json").read_text())["threshold"] == pytest.approx(0.4)
    curve = pd.read_csv(tmp_path / "curve.csv").set_index("threshold")["tumor_iou"]
    expected = 100 * (cam.astype(np.float16) > 0.4).sum() ** -1.0 * truth[0].sum()
    assert curve[0.4] == pytest.approx(expected)
    assert curve.idxmax() == 0.4


def test_the_mean_iou_is_over_images_and_nothing_against_nothing_is_right():
    masks, truth = np.zeros((3, 2, 2), bool), np.zeros((3, 2, 2), bool)
    masks[0, 0], truth[0, :, 0] = True, True  # one of three pixels
    truth[1, 0, 0] = True  # missed
    assert mean_iou(masks, truth) == pytest.approx((1 / 3 + 0 + 1) / 3)
