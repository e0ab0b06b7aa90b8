"""Noise is as smooth as it says, the estimate finds that again, and Algorithm 1 does with it what METHOD C says."""

import numpy as np
import pytest

from bench.noise import PAPER_RULE, Rule, box_ious, compact_blob, matched_sigma, smooth_noise, smoothness, sweep
from bench.schema import Noise

SIZES = [(560, 470), (500, 400)]
OWN = Rule(10.0, 7.0, 250, 0.7)


def noise(sigma: float, count: int = 100, side: int = 64, seed: int = 0) -> np.ndarray:
    return smooth_noise(np.random.default_rng(seed), count, side, sigma)


def test_noise_is_of_its_seed():
    assert noise(0.1).shape == (100, 64, 64)
    assert np.array_equal(noise(0.1), noise(0.1))
    assert not np.array_equal(noise(0.1), noise(0.1, seed=1))


def test_noise_correlates_like_a_gaussian_field():
    maps, lag = noise(0.05, count=400), 6
    found = (maps[:, :, lag:] * maps[:, :, :-lag]).mean() / (maps**2).mean()
    assert found == pytest.approx(np.exp(-((lag / 64 / 0.05) ** 2) / 4), abs=0.03)


def test_opposite_edges_of_a_map_know_nothing_of_each_other():
    maps = noise(0.1, count=400)
    assert abs((maps[:, :, 0] * maps[:, :, -1]).mean()) < 0.1 * (maps**2).mean()


@pytest.mark.parametrize("sigma", [0.02, 0.04, 0.06])
def test_the_estimate_finds_the_sigma_of_noise_that_is_small_beside_the_map(sigma):
    assert np.median(smoothness(noise(sigma))) == pytest.approx(sigma, rel=0.05)


@pytest.mark.parametrize("sigma", [0.05, 0.12, 0.2])
def test_the_sigma_that_is_matched_is_that_of_noise(sigma):
    assert matched_sigma(noise(sigma, seed=5), [0.02, 0.05, 0.1, 0.2, 0.3], 100) == pytest.approx(sigma, rel=0.1)


def test_smoothness_does_not_depend_on_scale_offset_or_resolution():
    maps = noise(0.1)
    assert np.allclose(smoothness(3 * maps - 7), smoothness(maps), rtol=1e-4)
    assert np.median(smoothness(noise(0.1, side=128))) == pytest.approx(np.median(smoothness(maps)), rel=0.05)


def test_a_constant_map_is_as_smooth_as_any():
    constant = np.ones((3, 32, 32), np.float16)
    assert np.isinf(smoothness(constant)).all()
    assert matched_sigma(constant, [0.05, 0.2], 5) == 0.2


@pytest.mark.parametrize("rule", [PAPER_RULE, OWN, Rule(5.0, 2.5, 250, 0.7)])
def test_one_compact_blob_has_the_ratio_of_the_alphas_as_box_iou_and_is_rejected(rule):
    iou = rule.apply(compact_blob(256), (256, 256)).iou
    assert iou == pytest.approx(rule.alpha2 / rule.alpha1, abs=0.03)
    assert not iou > rule.iou_threshold


def test_a_compact_blob_passes_where_the_alphas_are_close():
    assert Rule(10.0, 9.0, 250, 0.7).apply(compact_blob(256), (256, 256)).iou > 0.7


def test_box_ious_stand_by_rule_and_map_at_the_sizes_in_turn():
    maps = noise(0.08, count=5)
    table = box_ious([PAPER_RULE, OWN], maps, SIZES)
    assert list(table["map"]) == [*range(5)] * 2
    assert table.loc[2, "iou"] == PAPER_RULE.apply(maps[2], SIZES[0]).iou
    assert table.loc[8, "iou"] == OWN.apply(maps[3], SIZES[1]).iou


def test_the_papers_rule_accepts_rough_noise_and_rejects_smooth_noise():
    table = sweep([PAPER_RULE, OWN], Noise(maps=60, sigmas=[0.02, 0.06, 0.3]), 64, SIZES)
    assert list(table["sigma"]) == [0.02, 0.02, 0.06, 0.06, 0.3, 0.3]
    paper = table[table["alpha1"] == 2.5]["accepted"].to_numpy() / 60
    assert paper[0] > 0.7
    assert 0.2 < paper[1] < 0.5
    assert paper[2] < 0.2
    assert (table["accepted"] + table["without_regions"] <= table["maps"]).all()
