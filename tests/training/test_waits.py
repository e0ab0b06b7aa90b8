"""On a GPU an update waits for nothing: only the end of an epoch asks what the losses were."""

import warnings

import pytest
import torch

from bench.runtime import context
from bench.training.segmentation import train_segmentation
from tests.training.test_segmentation import ROWS, WEIGHTS, make_data, settings

pytestmark = pytest.mark.skipif(not torch.cuda.is_available(), reason="there is no GPU")


def waits(size_of_v: int, row: str) -> int:
    """How often the processor waited for the GPU in one epoch, whose updates grow with `size_of_v`."""
    data = ROWS[row]
    longer = make_data(len(data.labelled), None if data.unlabelled is None else len(data.unlabelled), size_of_v)
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        torch.cuda.set_sync_debug_mode("warn")
        try:
            train_segmentation(row, longer, settings(), 0, WEIGHTS, context("cuda", 2, "bf16"))
        finally:
            torch.cuda.set_sync_debug_mode("default")
    return sum("synchroniz" in str(one.message) for one in caught)


@pytest.mark.parametrize("row", ROWS)
def test_more_updates_are_no_more_waits(row):
    waits(8, row)  # what is set up once in a process
    two_updates, three_updates = waits(8, row), waits(12, row)
    # The epoch's losses are asked for, so none at all would mean that nothing was counted.
    assert 0 < two_updates == three_updates
