from collections.abc import Mapping
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image
from scipy.ndimage import binary_dilation

from bench.data import phantom as phantom_module
from bench.data.bmode import envelope
from bench.data.phantom import Phantom, render, render_all, write

COUNT = 24


@pytest.fixture(scope="module")
def phantoms() -> Mapping[str, list[Phantom]]:
    categories = ("benign", "malignant", "normal")
    return {category: [render(category, index, 7) for index in range(1, COUNT + 1)] for category in categories}


@pytest.fixture(scope="module")
def lesions(phantoms: Mapping[str, list[Phantom]]) -> list[Phantom]:
    return phantoms["benign"] + phantoms["malignant"]


def test_a_phantom_depends_on_seed_category_and_index_alone(phantoms: Mapping[str, list[Phantom]]) -> None:
    again = render("malignant", 3, 7)
    np.testing.assert_array_equal(again.image, phantoms["malignant"][2].image)
    np.testing.assert_array_equal(again.masks, phantoms["malignant"][2].masks)
    others = [render("malignant", 3, 8), render("malignant", 4, 7), render("benign", 3, 7)]
    assert all(not np.array_equal(other.image, again.image) for other in others)


def test_processes_render_the_same_in_order(phantoms: Mapping[str, list[Phantom]], monkeypatch) -> None:
    monkeypatch.setattr(phantom_module, "PROCESS_JOBS", 2)
    jobs = [(category, index) for index in (2, 1) for category in ("normal", "malignant", "benign")]
    rendered = list(render_all(jobs, 7, 2))
    for (category, index), one in zip(jobs, rendered, strict=True):
        np.testing.assert_array_equal(one.image, phantoms[category][index - 1].image)
        assert len(one.masks) == len(phantoms[category][index - 1].masks)


def test_an_unknown_category_is_refused() -> None:
    with pytest.raises(ValueError):
        render("cyst", 1, 7)


def test_image_sizes_and_types(phantoms: Mapping[str, list[Phantom]]) -> None:
    ratios = []
    for phantom in [phantom for group in phantoms.values() for phantom in group]:
        height, width = phantom.image.shape
        assert 120 <= height <= 220 and 150 <= width <= 260
        assert phantom.image.dtype == np.uint8
        assert all(mask.shape == phantom.image.shape and mask.dtype == bool for mask in phantom.masks)
        ratios.append(width / height)
    assert np.std(ratios) > 0.15
    assert np.mean(np.array(ratios) > 1) > 0.6


def test_masks_are_small_whole_and_only_in_lesions(phantoms: Mapping[str, list[Phantom]]) -> None:
    assert all(phantom.masks == () for phantom in phantoms["normal"])
    for phantom in phantoms["benign"] + phantoms["malignant"]:
        assert len(phantom.masks) in (1, 2)
        for mask in phantom.masks:
            assert 0.02 <= mask.mean() <= 0.15
            assert not (mask[[0, -1]].any() or mask[:, [0, -1]].any())


def test_two_lesions_lie_apart(lesions: list[Phantom]) -> None:
    pairs = [phantom for phantom in lesions if len(phantom.masks) == 2]
    assert 1 <= len(pairs) <= 0.2 * len(lesions)
    for phantom in pairs:
        assert not (binary_dilation(phantom.masks[0], iterations=2) & phantom.masks[1]).any()


def test_write_lays_the_folder_out_as_busi(tmp_path: Path, phantoms: Mapping[str, list[Phantom]]) -> None:
    pair = next(i for i, phantom in enumerate(phantoms["benign"], 1) if len(phantom.masks) == 2)
    raw = tmp_path / "raw"
    raw.mkdir()
    (raw / "stale.png").touch()
    write(raw, {"normal": 2, "benign": pair}, 7)
    names = {path.name for path in (raw / "normal").iterdir()}
    assert names == {"normal (1).png", "normal (1)_mask.png", "normal (2).png", "normal (2)_mask.png"}
    assert sorted(path.name for path in raw.iterdir()) == ["benign", "normal"]
    assert not _read(raw / "normal/normal (1)_mask.png").any()
    benign = phantoms["benign"][pair - 1]
    np.testing.assert_array_equal(_read(raw / f"benign/benign ({pair}).png"), benign.image)
    for suffix, mask in zip(("_mask", "_mask_1"), benign.masks, strict=True):
        np.testing.assert_array_equal(_read(raw / f"benign/benign ({pair}){suffix}.png"), mask * np.uint8(255))


def test_a_failed_write_leaves_the_old_folder(tmp_path: Path) -> None:
    raw = tmp_path / "raw"
    raw.mkdir()
    (raw / "kept.png").touch()
    with pytest.raises(ValueError):
        write(raw, {"cyst": 1}, 7)
    assert [path.name for path in tmp_path.rglob("*")] == ["raw", "kept.png"]


def test_speckle_of_homogeneous_tissue_is_rayleigh() -> None:
    rng = np.random.default_rng(0)
    magnitude = envelope(np.zeros((400, 500), dtype=np.float32), rng, 0.8, (1.2, 2.0))
    assert magnitude.mean() / magnitude.std() == pytest.approx(1.913, abs=0.04)
    for third in np.array_split(magnitude, 3):
        assert np.mean(third**2) == pytest.approx(2, rel=0.1)


def test_speckle_is_finer_along_the_beam_and_broadens_with_depth() -> None:
    rng = np.random.default_rng(0)
    magnitude = envelope(np.zeros((400, 500), dtype=np.float32), rng, 0.8, (1.2, 2.0))
    top, bottom = magnitude[:130], magnitude[-130:]
    assert _similarity(top[1:], top[:-1]) < _similarity(top[:, 1:], top[:, :-1])
    assert _similarity(top[:, 1:], top[:, :-1]) < _similarity(bottom[:, 1:], bottom[:, :-1])


def test_benign_lesions_lie_flat_and_malignant_ones_stand(phantoms: Mapping[str, list[Phantom]]) -> None:
    aspects = {
        category: np.mean([np.log(np.divide(*_extent(phantom.masks[0]))) for phantom in phantoms[category]])
        for category in ("benign", "malignant")
    }
    assert aspects["benign"] > 0.3
    assert aspects["malignant"] < 0


def test_sound_is_enhanced_below_benign_and_shadowed_below_malignant(
    phantoms: Mapping[str, list[Phantom]],
) -> None:
    assert np.nanmean([_posterior(phantom) for phantom in phantoms["benign"]]) > 10
    assert np.nanmean([_posterior(phantom) for phantom in phantoms["malignant"]]) < -10


def test_lesions_are_darker_than_their_surround_but_no_threshold_finds_them(lesions: list[Phantom]) -> None:
    differences, overlaps = [], []
    for phantom in lesions:
        mask, image = phantom.masks[0], phantom.image.astype(float)
        ring = binary_dilation(mask, iterations=9) & ~binary_dilation(mask, iterations=2)
        differences.append(image[ring].mean() - image[mask].mean())
        dark = image <= np.quantile(image, mask.mean())
        overlaps.append((dark & mask).sum() / (dark | mask).sum())
    assert np.mean(differences) > 20
    assert np.std(differences) > 8
    assert np.mean(overlaps) < 0.5


def test_nothing_outside_the_lesion_tells_the_category(phantoms: Mapping[str, list[Phantom]]) -> None:
    tops = {
        category: [phantom.image[: len(phantom.image) // 12].mean() for phantom in group]
        for category, group in phantoms.items()
    }
    spread = np.std(np.concatenate(list(tops.values())))
    means = [float(np.mean(values)) for values in tops.values()]
    assert np.ptp(means) < 4 * spread / np.sqrt(COUNT)


def _read(path: Path) -> NDArray[np.uint8]:
    with Image.open(path) as image:
        assert image.mode == "L"
        return np.asarray(image)


def _similarity(one: NDArray[np.floating], other: NDArray[np.floating]) -> float:
    return float(np.corrcoef(one.ravel(), other.ravel())[0, 1])


def _extent(mask: NDArray[np.bool_]) -> tuple[float, float]:
    return float(mask.any(axis=0).sum()), float(mask.any(axis=1).sum())


def _posterior(phantom: Phantom) -> float:
    """Grey level in the strip below the first lesion less that beside the strip; NaN without room."""
    rows, columns = np.nonzero(phantom.masks[0])
    below = phantom.image[rows.max() + 3 : rows.max() + 20].astype(float)
    if len(below) < 6:
        return float("nan")
    quarter = int(np.ptp(columns)) // 4
    beneath = below[:, columns.min() + quarter : columns.max() - quarter + 1].mean()
    sides = [below[:, max(0, columns.min() - 20) : columns.min()], below[:, columns.max() : columns.max() + 20]]
    return float(beneath - np.concatenate(sides, axis=1).mean())
