"""On a GPU an update waits for nothing: only the end of an epoch asks what the losses were."""

import warnings
from collections.abc import Iterator
from contextlib import contextmanager

import numpy as np
import pytest
import torch

from bench.runtime import context
from bench.training.batch_norm import settle
from bench.training.segmentation import train_segmentation
from tests.training.test_segmentation import ROWS, WEIGHTS, make_data, settings

pytestmark = pytest.mark.skipif(not torch.cuda.is_available(), reason="there is no GPU")


@contextmanager
def counted_waits() -> Iterator[list[warnings.WarningMessage]]:
    """Inside, PyTorch warns each time the processor waits for the GPU."""
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        torch.cuda.set_sync_debug_mode("warn")
        try:
            yield caught
        finally:
            torch.cuda.set_sync_debug_mode("default")


def number_of(caught: list[warnings.WarningMessage]) -> int:
    return sum("synchroniz" in str(one.message) for one in caught)


def waits(size_of_v: int, row: str) -> int:
    """How often the processor waited for the GPU in one epoch, whose updates grow with `size_of_v`."""
    data = ROWS[row]
    longer = make_data(len(data.labelled), None if data.unlabelled is None else len(data.unlabelled), size_of_v)
    with counted_waits() as caught:
        train_segmentation(row, longer, settings(), 0, WEIGHTS, context("cuda", 2, "bf16"))
    return number_of(caught)


def test_more_batches_to_settle_are_no_more_waits():
    net = torch.nn.Sequential(torch.nn.Conv2d(3, 4, 3), torch.nn.BatchNorm2d(4)).cuda().train()
    where = context("cuda", 2, "bf16")

    def waits_of(count: int) -> int:
        with counted_waits() as caught:
            settle(net, np.zeros((count, 32, 32), np.uint8), net, 4, 0, where)
        return number_of(caught)

    waits_of(8)
    assert waits_of(8) == waits_of(16)


@pytest.mark.parametrize("row", ROWS)
def test_more_updates_are_no_more_waits(row):
    waits(8, row)  # what is set up once in a process
    two_updates, three_updates = waits(8, row), waits(12, row)
    # The epoch's losses are asked for, so none at all would mean that nothing was counted.
    assert 0 < two_updates == three_updates
