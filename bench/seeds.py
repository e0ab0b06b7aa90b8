"""The seeds of a run: which split of the images, and which training."""

from typing import NamedTuple

import pandas as pd

# Columns that say to which run a line of a table belongs.
AXES = ["split_seed", "training_seed"]


class Seeds(NamedTuple):
    """The two seeds of one run: of the split into N and K, and of all that is random after it."""

    split: int
    training: int

    @property
    def name(self) -> str:
        """Name of the run's file or folder."""
        return f"split-{self.split}-training-{self.training}"

    @property
    def columns(self) -> dict[str, int]:
        """The run's values of AXES."""
        return dict(zip(AXES, self, strict=True))


def of_run(table: pd.DataFrame, seeds: Seeds) -> pd.DataFrame:
    """The lines of a table with the columns AXES that belong to one run."""
    return table[table[AXES].eq(list(seeds)).all(axis=1)]
