"""Near-duplicates: planted among phantoms, and those of BUSI against the published list."""

import os
import re
from collections.abc import Callable
from pathlib import Path

import cv2
import numpy as np
import pandas as pd
import pytest
from PIL import Image

from bench.data.audit import TILE, Survey, correlations, groups, near_duplicates, summary, survey
from bench.data.decode import read_rgb
from bench.data.phantom import render
from bench.data.raw import image_files, mask_files
from bench.data.splits import group_numbers, grouped_split, leaks, paper_split
from bench.errors import UserError
from bench.settings import load

BUSI = load("busi").audit
# A narrower search than BUSI's, which takes a third of the time.
SIDE, CROP, NCC = 24, 0.16, 0.97
Change = Callable[[np.ndarray], np.ndarray]


def compressed(image: np.ndarray) -> np.ndarray:
    return cv2.imdecode(cv2.imencode(".jpg", image, [cv2.IMWRITE_JPEG_QUALITY, 50])[1], cv2.IMREAD_GRAYSCALE)


def rescaled(factor: float) -> Change:
    return lambda image: cv2.resize(image, None, fx=factor, fy=factor, interpolation=cv2.INTER_AREA)


def cropped(top: float = 0, bottom: float = 0, left: float = 0, right: float = 0) -> Change:
    def change(image: np.ndarray) -> np.ndarray:
        height, width = image.shape
        rows = slice(round(top * height), round((1 - bottom) * height))
        return image[rows, round(left * width) : round((1 - right) * width)]

    return change


def with_calipers(image: np.ndarray) -> np.ndarray:
    drawn = image.copy()
    height, width = image.shape
    for x, y in ((0.3, 0.4), (0.6, 0.4), (0.45, 0.3), (0.45, 0.55)):
        cv2.drawMarker(drawn, (round(x * width), round(y * height)), 230, cv2.MARKER_CROSS, 11, 2)
    return drawn


SAME: dict[str, Change] = {
    "a copy": lambda image: image,
    "darker, with less contrast": lambda image: (0.6 * image + 15).astype(np.uint8),
    "brighter and clipped": lambda image: np.clip(1.2 * image + 20, 0, 255).astype(np.uint8),
    "compressed": compressed,
    "smaller": rescaled(0.6),
    "larger": rescaled(1.7),
    "cropped at one edge": cropped(right=0.1),
    "cropped by a sixth": cropped(left=0.16),
    "cropped at all edges": cropped(0.08, 0.08, 0.08, 0.08),
    "cropped between the steps": cropped(top=0.06, left=0.1),
    "with calipers": with_calipers,
    "smaller, cropped, compressed": lambda image: compressed(rescaled(0.8)(cropped(bottom=0.06)(image))),
}
OTHER: dict[str, Change] = {
    "mirrored": lambda image: image[:, ::-1],
    "upside down": lambda image: image[::-1],
    "turned": lambda image: image[::-1, ::-1],
    "negative": lambda image: 255 - image,
    "cropped by far more": cropped(left=0.5, top=0.5),
}
BASES = [("benign", 1), ("malignant", 2), ("normal", 3)]


def audited(images: dict[str, np.ndarray], folder: Path, categories: list[str] | None = None) -> Survey:
    for name, image in images.items():
        Image.fromarray(np.ascontiguousarray(image)).save(folder / f"{name}.png")
    return survey([folder / f"{name}.png" for name in images], categories or ["benign"] * len(images), SIDE)


def pairs_of(found: Survey, crop: float = CROP) -> pd.DataFrame:
    return near_duplicates(correlations(found.tiles, SIDE, crop), found.digests, found.flags, NCC)


@pytest.fixture(scope="module")
def planted(tmp_path_factory: pytest.TempPathFactory) -> Survey:
    """Three phantoms with all their changed copies, and twelve phantoms without any."""
    images = {}
    for category, index in BASES:
        image = render(category, index, 11).image
        images[category] = image
        images |= {f"{category}, {name}": change(image) for name, change in (SAME | OTHER).items()}
    images |= {f"other {index}": render("benign", index, 12).image for index in range(12)}
    return audited(images, tmp_path_factory.mktemp("planted"))


@pytest.fixture(scope="module")
def planted_pairs(planted: Survey) -> pd.DataFrame:
    return pairs_of(planted)


@pytest.fixture(scope="module")
def found(planted_pairs: pd.DataFrame) -> set[tuple[str, str]]:
    return set(zip(planted_pairs["first"], planted_pairs["second"], strict=True))


@pytest.mark.parametrize("base", [category for category, _ in BASES])
@pytest.mark.parametrize("change", SAME)
def test_a_changed_copy_is_found(found, base, change):
    assert (base, f"{base}, {change}") in found


@pytest.mark.parametrize("base", [category for category, _ in BASES])
@pytest.mark.parametrize("change", OTHER)
def test_what_is_not_looked_for_is_not_found(found, base, change):
    assert not [pair for pair in found if f"{base}, {change}" in pair]


def test_every_group_holds_one_phantom_and_others_stand_alone(planted, planted_pairs):
    grouped = groups(list(planted.flags["id"]), planted_pairs).set_index("id")["group"]
    for category, _ in BASES:
        assert {grouped[f"{category}, {name}"] for name in SAME} == {grouped[category]}
    assert grouped.value_counts().to_dict()[grouped["other 0"]] == 1
    assert grouped.nunique() == len(BASES) * (1 + len(OTHER)) + 12


def test_only_a_copy_of_every_pixel_is_exact(planted_pairs):
    exact = planted_pairs[planted_pairs["exact"]]
    assert set(zip(exact["first"], exact["second"], strict=True)) == {(name, f"{name}, a copy") for name, _ in BASES}
    assert set(exact["ncc"]) == {1.0}


def test_it_does_not_matter_which_of_the_two_was_cropped(tmp_path):
    image = render("benign", 1, 11).image
    cut = SAME["cropped at one edge"](image)
    for name, images in (("first", {"a": cut, "b": image}), ("second", {"a": image, "b": cut})):
        (tmp_path / name).mkdir()
        assert pairs_of(audited(images, tmp_path / name))["second"].tolist() == ["b"]


def test_without_crops_the_cropped_are_missed(planted):
    pairs = pairs_of(planted, crop=0.0)
    assert "benign, cropped at one edge" not in set(pairs["second"])
    assert "benign, compressed" in set(pairs["second"])


def test_correlation_is_that_of_thumbnails():
    tiles = np.random.default_rng(0).random((4, TILE * 8, TILE * 8)).astype(np.float32)
    found = correlations(tiles, 8, 0.0)
    small = [np.asarray(Image.fromarray(tile).resize((8, 8), Image.Resampling.BILINEAR)).ravel() for tile in tiles]
    assert found == pytest.approx(np.corrcoef(small), abs=1e-3)
    assert (found == found.T).all()


def test_an_image_of_one_grey_level_is_a_duplicate_only_of_its_copy(tmp_path):
    flat = np.full((40, 50), 7, np.uint8)
    found = audited({"flat": flat, "copy": flat, "other": flat + 1, "image": render("benign", 1, 1).image}, tmp_path)
    assert pairs_of(found)[["first", "second", "exact"]].to_numpy().tolist() == [["flat", "copy", True]]


def test_the_same_bytes_in_another_shape_are_no_duplicate(tmp_path):
    image = np.arange(60, dtype=np.uint8)
    found = audited({"a": image.reshape(6, 10), "b": image.reshape(10, 6)}, tmp_path)
    assert found.digests[0] != found.digests[1]


def pairs(*names: tuple[str, str], exact: bool = False, same_class: bool = True) -> pd.DataFrame:
    rows = [(first, second, 0.98, exact, same_class) for first, second in names]
    return pd.DataFrame(rows, columns=["first", "second", "ncc", "exact", "same_class"])


def test_groups_are_joined_over_others_and_numbered_by_their_first_image():
    grouped = groups(list("abcdef"), pairs(("b", "e"), ("c", "e"), ("d", "f")))
    assert grouped.to_numpy().tolist() == [["a", 0], ["b", 1], ["c", 1], ["d", 2], ["e", 1], ["f", 2]]


def test_without_pairs_every_image_is_a_group():
    assert groups(list("abc"), pairs())["group"].tolist() == [0, 1, 2]


def test_the_summary_counts_by_class():
    flags = pd.DataFrame(
        {
            "id": list("abcd"),
            "category": ["benign", "malignant", "normal", "normal"],
            "colour": [True, False, False, False],
            "annotated": [True, True, False, False],
        }
    )
    both = pd.concat([pairs(("a", "b"), exact=True, same_class=False), pairs(("b", "c"), same_class=False)])
    counts = summary(both, groups(list("abcd"), both), flags)
    assert counts["images_by_class"] == {"benign": 1, "malignant": 1, "normal": 2}
    assert counts["images_in_groups_by_class"] == {"benign": 1, "malignant": 1, "normal": 1}
    assert (counts["groups"], counts["images_in_groups"], counts["largest_group"], counts["pairs"]) == (1, 3, 3, 2)
    assert counts["exact_duplicates"] == [["a", "b"]]
    assert counts["cross_class_pairs"] == [["a", "b"], ["b", "c"]]
    assert counts["annotated_by_class"] == {"benign": 1, "malignant": 1, "normal": 0}


def test_pairs_across_classes_are_marked(tmp_path):
    image = render("benign", 1, 1).image
    found = audited({"a": image, "b": image, "c": image}, tmp_path, ["benign", "malignant", "benign"])
    assert pairs_of(found)[["first", "second", "same_class"]].to_numpy().tolist() == [
        ["a", "b", False],
        ["a", "c", True],
        ["b", "c", False],
    ]


def test_a_missing_image_is_named(tmp_path):
    with pytest.raises(UserError, match=r"gone\.png is missing"):
        survey([tmp_path / "gone.png"], ["benign"], SIDE)


@pytest.fixture(scope="module")
def busi(busi_raw: Path) -> tuple[list[Path], Survey]:
    files = image_files(busi_raw)
    return files, survey(files, [file.parent.name for file in files], BUSI.thumbnail)


@pytest.fixture(scope="module")
def busi_pairs(busi: tuple[list[Path], Survey]) -> pd.DataFrame:
    found = busi[1]
    correlation = correlations(found.tiles, BUSI.thumbnail, BUSI.crop)
    return near_duplicates(correlation, found.digests, found.flags, BUSI.ncc)


@pytest.fixture(scope="module")
def published() -> list[set[str]]:
    """The groups of the list that BUSI_NEAR_DUPLICATES names: `b1 b318;b42 b131 m51:mc`, comments after #."""
    source = os.environ.get("BUSI_NEAR_DUPLICATES")
    if not source:
        pytest.skip("BUSI_NEAR_DUPLICATES names no list of near-duplicates")
    lines = [line for line in Path(source).read_text(encoding="utf-8").splitlines() if not line.startswith("#")]
    listed = [re.findall(r"([bmn])(\d+)", entry) for line in lines for entry in line.split(";")]
    names = {"b": "benign", "m": "malignant", "n": "normal"}
    return [{f"{names[kind]} ({number})" for kind, number in group} for group in listed if len(group) > 1]


def members(pairs: pd.DataFrame, ids: list[str]) -> list[set[str]]:
    grouped = groups(ids, pairs)
    return [set(part["id"]) for _, part in grouped.groupby("group") if len(part) > 1]


def within(parts: list[set[str]]) -> set[tuple[str, str]]:
    return {(one, other) for part in parts for one in part for other in part if one < other}


@pytest.mark.busi
@pytest.mark.slow
def test_busi_holds_the_duplicates_of_a_plainer_search(busi, busi_pairs):
    """Correlation of 64-pixel thumbnails without crops, written anew: 110 groups of 250 images (METHOD 8.4)."""
    files, found = busi
    ids = list(found.flags["id"])
    small = [Image.fromarray(read_rgb(file)).convert("L").resize((64, 64), Image.Resampling.BILINEAR) for file in files]
    first, second = np.nonzero(np.triu(np.corrcoef(np.stack(small).reshape(len(ids), -1)) > 0.97, 1))
    plain = members(pairs(*((ids[one], ids[other]) for one, other in zip(first, second, strict=True))), ids)
    assert (len(plain), sum(map(len, plain))) == (110, 250)
    assert within(plain) <= within(members(busi_pairs, ids))


@pytest.mark.busi
@pytest.mark.slow
def test_what_busi_holds(busi, busi_pairs, busi_raw):
    _, found = busi
    counts = summary(busi_pairs, groups(list(found.flags["id"]), busi_pairs), found.flags)
    assert counts["exact_duplicates"] == [["benign (433)", "malignant (145)"]]
    assert len(counts["cross_class_pairs"]) == 11
    assert counts["colour_by_class"] == {"benign": 11, "malignant": 1, "normal": 0}
    assert counts["annotated_by_class"] == {"benign": 175, "malignant": 48, "normal": 8}
    assert sum(len(beside) > 1 for beside in mask_files(image_files(busi_raw))) == 17


@pytest.mark.busi
@pytest.mark.slow
def test_busi_against_the_published_list(busi, busi_pairs, published):
    ids = list(busi[1].flags["id"])
    found, listed = members(busi_pairs, ids), within(published)
    assert (len(published), sum(map(len, published))) == (153, 346)
    right = within(found) & listed
    print(f"pairs: recall {len(right) / len(listed):.3f}, precision {len(right) / len(within(found)):.3f}")
    assert len(right) / len(listed) >= 0.98
    assert len(right) / len(within(found)) >= 0.97
    whole = sum(any(group <= one for one in found) for group in published)
    inside = sum(any(one <= group for group in published) for one in found)
    assert (len(found), sum(map(len, found)), inside, whole) == (150, 341, 149, 150)


@pytest.mark.busi
@pytest.mark.slow
def test_what_leaks_on_busi(busi, busi_pairs):
    flags = busi[1].flags
    ids, categories = list(flags["id"]), list(flags["category"])
    grouped = groups(ids, busi_pairs)
    numbers = group_numbers(grouped, ids, "audit")
    paper = [leaks(paper_split(ids, categories, seed), grouped)["X_percent"] for seed in range(20)]
    assert 30 < np.mean(paper) < 36
    for seed in range(3):
        split = grouped_split(ids, categories, numbers, seed)
        assert leaks(split, grouped)["K"] == 0
        assert split[split["set"] == "K"]["category"].value_counts().to_dict() == {
            "benign": 80,
            "malignant": 49,
            "normal": 27,
        }
