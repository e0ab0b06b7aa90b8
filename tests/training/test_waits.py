"""On a GPU an update waits for nothing: only the end of an epoch asks what the losses were."""

import warnings
from collections.abc import Callable

import numpy as np
import pytest
import torch

from bench.runtime import context
from bench.training.batch_norm import settle
from bench.training.segmentation import train_segmentation
from tests.training.test_segmentation import ROWS, WEIGHTS, make_data, settings

pytestmark = pytest.mark.skipif(not torch.cuda.is_available(), reason="there is no GPU")


def waits(action: Callable[[], object]) -> int:
    """How often the processor waits for the GPU in an action."""
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        torch.cuda.set_sync_debug_mode("warn")
        try:
            action()
        finally:
            torch.cuda.set_sync_debug_mode("default")
    return sum("synchroniz" in str(one.message) for one in caught)


def waits_of_an_epoch(size_of_v: int, row: str) -> int:
    """Those of one epoch, whose updates grow with `size_of_v`."""
    data = ROWS[row]
    longer = make_data(len(data.labelled), None if data.unlabelled is None else len(data.unlabelled), size_of_v)
    return waits(lambda: train_segmentation(row, longer, settings(), 0, WEIGHTS, context("cuda", 2, "bf16")))


def test_more_batches_to_settle_are_no_more_waits():
    net = torch.nn.Sequential(torch.nn.Conv2d(3, 4, 3), torch.nn.BatchNorm2d(4)).cuda().train()
    where = context("cuda", 2, "bf16")

    def waits_of(count: int) -> int:
        return waits(lambda: settle(net, np.zeros((count, 32, 32), np.uint8), net, 4, 0, where))

    waits_of(8)  # what is set up once in a process
    assert waits_of(8) == waits_of(16)


@pytest.mark.parametrize("row", ROWS)
def test_more_updates_are_no_more_waits(row):
    waits_of_an_epoch(8, row)  # what is set up once in a process
    two_updates, three_updates = waits_of_an_epoch(8, row), waits_of_an_epoch(12, row)
    # The epoch's losses are asked for, so none at all would mean that nothing was counted.
    assert 0 < two_updates == three_updates
