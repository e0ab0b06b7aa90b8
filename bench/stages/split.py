"""Split the images into N and K, one manifest a seed (paper, section II step 1)."""

from bench.data.images import INDEX, read_table
from bench.data.splits import PROTOCOLS
from bench.files import replacing_folder
from bench.paths import Paths, seed_name
from bench.settings import Settings


def run(paths: Paths, settings: Settings) -> None:
    """Write seed-<s>.csv (id, category, set) for every seed."""
    index = read_table(paths.images / INDEX)
    with replacing_folder(paths.splits) as out:
        for seed in settings.seeds:
            split = PROTOCOLS[settings.split.protocol](list(index["id"]), list(index["category"]), seed)
            split.to_csv(out / f"{seed_name(seed)}.csv", index=False)
