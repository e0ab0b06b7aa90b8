"""Pictures are chosen by rule and drawn from any size of image."""

import numpy as np
import pandas as pd
from PIL import Image

from bench.report.figures import Panel, quantile_picks, save_curves, save_grid


def test_picks_are_the_values_nearest_to_the_quantiles():
    values = pd.Series([5.0, 1.0, np.nan, 3.0, 4.0, 2.0], index=list("abcdef"))
    assert quantile_picks(values, (1.0, 0.5, 0.0)) == [0, 3, 1]


def test_one_position_is_picked_once_and_none_from_nothing():
    assert quantile_picks(pd.Series([2.0]), (1.0, 0.5, 0.0)) == [0]
    assert quantile_picks(pd.Series([np.nan]), (0.5,)) == []


def test_a_grid_of_unequal_rows_is_drawn(tmp_path):
    image = np.full((40, 60, 3), 90, np.uint8)
    mask = np.zeros((40, 60), bool)
    mask[10:20, 10:30] = True
    rows = [
        [Panel(image, "a", outlines=[("#35b263", mask)], boxes=[("#e0463a", (10, 10, 29, 19))])],
        [Panel(image, "b"), Panel(image, "c", cam=np.ones((40, 60), np.float32))],
    ]
    save_grid(rows, tmp_path / "grid.png")
    with Image.open(tmp_path / "grid.png") as drawn:
        pixels = np.asarray(drawn.convert("L"))
    height, width = pixels.shape
    # The quarters' centres: three panels of grey, and white where the first row has no second.
    found = pixels[height // 4 :: height // 2, width // 4 :: width // 2]
    assert (found < 255).tolist() == [[True, False], [True, True]]
    assert found[1, 0] == 90
    save_grid(rows, tmp_path / "again.png")
    assert (tmp_path / "grid.png").read_bytes() == (tmp_path / "again.png").read_bytes()


def test_a_hole_is_outlined_too(tmp_path):
    ring = np.zeros((60, 60), bool)
    ring[5:55, 5:55] = True
    ring[20:40, 20:40] = False
    save_grid([[Panel(np.full((60, 60, 3), 90, np.uint8), outlines=[("#ff0000", ring)])]], tmp_path / "ring.png")
    with Image.open(tmp_path / "ring.png") as drawn:
        red = (np.asarray(drawn.convert("RGB")).astype(int) @ [1, -1, 0]) > 100
    across = red[red.shape[0] // 2]
    assert np.count_nonzero(np.diff(across.astype(int)) == 1) == 4  # both sides of the ring and of its hole


def test_curves_of_classifiers_and_rows_are_drawn(tmp_path):
    history = pd.DataFrame({"epoch": [1, 2], "total": [1.0, 0.5]})
    save_curves({"classifiers": {"amr": history}, "segmentation": {"gt_whole": history}}, tmp_path / "curves.png")
    assert (tmp_path / "curves.png").stat().st_size > 1000
