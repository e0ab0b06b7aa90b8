"""The split stage: which groups it takes, and that the paper's split needs none."""

import hashlib
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from bench.data.categories import CATEGORIES
from bench.data.splits import ENTIRE
from bench.errors import UserError
from bench.paths import Paths
from bench.schema import OwnFile, SeedAxes, Split
from bench.settings import Settings, load
from bench.stages import split as split_stage

PARAMS = Path(__file__).resolve().parents[2] / "params.yaml"
PATHS = Paths("phantom")
IDS = [f"{category} ({number})" for category in CATEGORIES for number in range(1, 31)]


@pytest.fixture(autouse=True)
def project(tmp_path, monkeypatch):
    """A prepared index of thirty images a class."""
    monkeypatch.chdir(tmp_path)
    PATHS.images.mkdir(parents=True)
    write_index(IDS)


def write_index(ids: list[str]) -> None:
    table = pd.DataFrame({"id": ids, "category": [image_id.split(" ")[0] for image_id in ids]})
    table.to_csv(PATHS.images / "index.csv", index=False)


def with_split(protocol: str, groups: OwnFile | None = None) -> Settings:
    split = Split.model_validate({"protocol": protocol, "groups": groups})
    return load("phantom", PARAMS).model_copy(update={"split": split, "seeds": SeedAxes(split=[0, 1], training=[0, 1])})


def own(content: str, sha256: str | None = None) -> OwnFile:
    file = Path("own.csv")
    file.write_text(content)
    return OwnFile(file=str(file), sha256=sha256 or hashlib.sha256(content.encode()).hexdigest())


def manifests() -> list[pd.DataFrame]:
    return [pd.read_csv(PATHS.splits / f"split-{seed}.csv") for seed in (0, 1)]


def torn(table: pd.DataFrame, groups: list[int]) -> int:
    return int((table["set"].groupby(np.asarray(groups)).nunique() > 1).sum())


def test_the_papers_split_of_busi_keeps_its_bytes():
    write_index([f"{category} ({number})" for category in CATEGORIES for number in range(1, ENTIRE[category] + 1)])
    split_stage.run(PATHS, with_split("paper"))
    assert [hashlib.sha256((PATHS.splits / f"split-{seed}.csv").read_bytes()).hexdigest() for seed in (0, 1)] == [
        "91cc3197d010d4a7216869989cc281ab80980ad951414252a7583286868b844d",
        "7228c008a8c2ee9df73ccd233fd7938d47c78834a0af4acc41c56a35464d8538",
    ]


def test_the_papers_split_does_not_read_the_audit():
    split_stage.run(PATHS, with_split("paper"))
    before = manifests()
    PATHS.audit.mkdir()
    (PATHS.audit / "groups.csv").write_text("no table of groups")
    split_stage.run(PATHS, with_split("paper"))
    assert all(one.equals(other) for one, other in zip(before, manifests(), strict=True))


def test_the_grouped_split_takes_the_groups_of_the_audit():
    groups = [number // 2 for number in range(len(IDS))]
    PATHS.audit.mkdir()
    pd.DataFrame({"id": IDS, "group": groups}).to_csv(PATHS.audit / "groups.csv", index=False)
    split_stage.run(PATHS, with_split("grouped"))
    first, second = manifests()
    assert (torn(first, groups), torn(second, groups)) == (0, 0)
    assert not first.equals(second)


def test_the_grouped_split_without_an_audit_says_so():
    with pytest.raises(UserError, match=r"audit/groups\.csv is missing - run the stage"):
        split_stage.run(PATHS, with_split("grouped"))


def test_groups_of_ones_own_take_the_place_of_the_audits():
    patients = "id,group\n" + "".join(f"{image_id},P{number % 45}\n" for number, image_id in enumerate(IDS))
    split_stage.run(PATHS, with_split("grouped", own(patients)))
    expected = [number % 45 for number in range(len(IDS))]
    assert [torn(table, expected) for table in manifests()] == [0, 0]
    # For the statistics, which resample whole groups.
    kept = pd.read_csv(PATHS.groups)
    assert list(kept["id"]) == IDS
    assert list(pd.factorize(kept["group"])[0]) == expected


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("id,patient\nbenign (1),3\n", r"own\.csv needs the columns id and group"),
        ("id,group\nbenign (99),3\n", r"own\.csv names images that the data set lacks: benign \(99\)"),
        ("id,group\na,1\nb,1,2,3\n", r"own\.csv must be a CSV file"),
        ("", r"own\.csv must be a CSV file"),
    ],
)
def test_a_wrong_file_is_refused_and_nothing_is_written(content, message):
    with pytest.raises(UserError, match=message) as caught:
        split_stage.run(PATHS, with_split("grouped", own(content)))
    assert "\n" not in str(caught.value)
    assert not PATHS.splits.exists()


def test_another_file_under_the_same_name_is_refused():
    with pytest.raises(UserError, match=r"phantom\.split\.groups\.sha256: own\.csv has the SHA-256"):
        split_stage.run(PATHS, with_split("grouped", own("id,group\n", "0" * 64)))
    Path("own.csv").unlink()
    with pytest.raises(UserError, match=r"phantom\.split\.groups\.file: own\.csv does not exist"):
        split_stage.run(PATHS, with_split("grouped", OwnFile(file="own.csv", sha256="0" * 64)))
