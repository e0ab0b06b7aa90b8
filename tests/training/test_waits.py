"""On a GPU an update waits for nothing: only the end of an epoch asks what the losses were."""

import warnings
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch

from bench.methods import ImageSet, method_module, methods
from bench.runtime import Context, context
from bench.schema import Optimisation
from bench.training.batch_norm import settle
from bench.training.box_prompts import Prompted, train_on_boxes
from bench.training.segmentation import train_segmentation
from tests.pretended_gpu import pretended_gpu
from tests.test_conformance import IMAGES, short_settings
from tests.training.test_segmentation import ROWS, WEIGHTS, make_data, settings

Action = Callable[[Context], object]
Waits = Callable[[Action], int]


def real_waits(action: Action) -> int:
    where = context("cuda", 2, "bf16")
    action(where)  # what is set up once in a process
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        torch.cuda.set_sync_debug_mode("warn")
        try:
            action(where)
        finally:
            torch.cuda.set_sync_debug_mode("default")
    return sum("synchroniz" in str(one.message) for one in caught)


def pretended_waits(action: Action) -> int:
    with pretended_gpu() as gpu:
        action(context("cuda", 2, "bf16"))
    return gpu.waits


needs_gpu = pytest.mark.skipif(not torch.cuda.is_available(), reason="there is no GPU")


@pytest.fixture(
    params=[pytest.param(real_waits, marks=needs_gpu, id="real"), pytest.param(pretended_waits, id="pretended")]
)
def waits(request: pytest.FixtureRequest) -> Waits:
    """How often the processor waits for the GPU in an action."""
    chosen: Waits = request.param
    return chosen


def test_more_batches_to_settle_are_no_more_waits(waits):
    def settled(count: int) -> Action:
        def action(where: Context) -> None:
            net = where.place(torch.nn.Sequential(torch.nn.Conv2d(3, 4, 3), torch.nn.BatchNorm2d(4))).train()
            settle(net, np.zeros((count, 32, 32), np.uint8), net, 4, 0, where)

        return action

    assert waits(settled(8)) == waits(settled(16))


@pytest.mark.parametrize("row", ROWS)
def test_more_updates_of_a_row_are_no_more_waits(row, waits):
    def epoch(size_of_v: int) -> Action:
        data = ROWS[row]
        longer = make_data(len(data.labelled), None if data.unlabelled is None else len(data.unlabelled), size_of_v)
        return lambda where: train_segmentation(row, longer, settings(), 0, WEIGHTS, where)

    two_updates, three_updates = waits(epoch(8)), waits(epoch(12))
    # The epoch's losses are asked for, so none at all would mean that nothing was counted.
    assert 0 < two_updates == three_updates


@pytest.mark.parametrize("method", methods())
def test_more_updates_of_a_method_are_no_more_waits(method, waits):
    def fit(count: int) -> Action:
        images = np.resize(IMAGES.images, (count, *IMAGES.images.shape[1:]))
        some = ImageSet([f"image {number}" for number in range(count)], images, np.resize(IMAGES.labels, count))
        options = short_settings(method)
        return lambda where: method_module(method).fit(options, some, 0, Path("unused"), where)

    two_updates, four_updates = waits(fit(8)), waits(fit(16))
    assert 0 < two_updates == four_updates


def test_more_updates_with_box_prompts_are_no_more_waits(waits):
    recipe = Optimisation(
        epochs=1, batch_size=2, learning_rate=0.1, betas=[0.9, 0.999], weight_decay=0.0, precision="bf16"
    )

    def epoch(count: int) -> Action:
        def action(where: Context) -> None:
            net = where.place(torch.nn.Conv2d(3, 1, 1))
            pixels, boxes, targets = (
                torch.zeros(count, *shape, device=where.device) for shape in ((3, 16, 16), (4,), (16, 16))
            )

            def answer(pixels: torch.Tensor, boxes: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
                return net(pixels)[:, 0], boxes[:, 0]

            train_on_boxes("test", net, answer, Prompted(pixels, boxes, targets), recipe, 0, where)

        return action

    two_updates, four_updates = waits(epoch(4)), waits(epoch(8))
    assert 0 < two_updates == four_updates
