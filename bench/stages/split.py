"""Split the images into N and K, one manifest a seed (paper, section II step 1)."""

import pandas as pd

from bench.data.images import INDEX, read_table
from bench.data.splits import group_numbers, grouped_split, paper_split
from bench.errors import UserError
from bench.files import own_file, replacing_folder
from bench.paths import Paths
from bench.settings import Settings


def run(paths: Paths, settings: Settings) -> None:
    """Write split-<seed>.csv (id, category, set) for every seed of the split.

    `grouped` reads groups, and writes every image's group number to groups.csv (id, group).
    """
    index = read_table(paths.images / INDEX)
    ids, categories = list(index["id"]), list(index["category"])
    groups = _groups(paths, settings, ids) if settings.split.protocol == "grouped" else None
    with replacing_folder(paths.splits) as out:
        if groups is not None:
            pd.DataFrame({"id": ids, "group": groups}).to_csv(out / paths.groups.name, index=False)
        for seed in settings.seeds.split:
            if groups is None:
                split = paper_split(ids, categories, seed)
            else:
                split = grouped_split(ids, categories, groups, seed)
            split.to_csv(out / paths.split(seed).name, index=False)


def _groups(paths: Paths, settings: Settings, ids: list[str]) -> list[int]:
    """The group of every image: the audit's, or those of the user's own CSV file."""
    own = settings.split.groups
    if own is None:
        file = paths.audit / "groups.csv"
        return group_numbers(read_table(file), ids, str(file))
    file = own_file(own.file, own.sha256, f"{paths.profile}.split.groups")
    try:
        table = pd.read_csv(file, dtype={"id": str})
    except ValueError as error:
        raise UserError(
            f"{file} must be a CSV file with columns id and group: {' '.join(str(error).split())}"
        ) from error
    return group_numbers(table, ids, str(file))
