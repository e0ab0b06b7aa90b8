"""The training loop: which images an update sees, what is minimised, what is written down."""

from itertools import islice, pairwise

import pandas as pd
import pytest
import torch

from bench.schema import Optimisation
from bench.training.loop import EndlessBatches, joined, optimise


def draw(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def settings(epochs: int = 2, **changes: float) -> Optimisation:
    values = {"batch_size": 2, "learning_rate": 0.05, "betas": [0.9, 0.999], "weight_decay": 0.0, "precision": "fp32"}
    return Optimisation(epochs=epochs, **{**values, **changes})


@pytest.mark.parametrize(("count", "size"), [(12, 4), (10, 4), (3, 8), (5, 5), (1, 3)])
def test_batches_have_the_exact_size_and_every_index_once_a_pass(count, size):
    passes = 4
    batches = list(islice(EndlessBatches(count, size, draw()), passes * count))
    assert all(batch.shape == (size,) for batch in batches)
    sequence = torch.cat(batches)
    for start in range(0, passes * count, count):
        assert sorted(sequence[start : start + count].tolist()) == list(range(count))


def test_the_order_changes_from_pass_to_pass_and_depends_on_the_seed_alone():
    first, second = islice(EndlessBatches(30, 30, draw()), 2)
    assert not torch.equal(first, second)
    assert torch.equal(first, next(EndlessBatches(30, 30, draw())))
    assert not torch.equal(first, next(EndlessBatches(30, 30, draw(1))))


@pytest.mark.parametrize("drawn", [0, 1, 4, 5])
def test_an_order_goes_on_from_its_state_in_the_middle_of_a_pass(drawn):
    order, other = EndlessBatches(10, 4, draw()), EndlessBatches(10, 4, draw(1))
    for _ in range(drawn):
        next(order)
    other.load_state_dict(order.state_dict())
    assert torch.equal(torch.cat(list(islice(order, 7))), torch.cat(list(islice(other, 7))))


def test_a_state_stays_as_it_was_and_holds_no_more_than_is_waiting():
    order = EndlessBatches(10, 4, draw())
    next(order)
    state = order.state_dict()
    expected = torch.cat(list(islice(order, 7)))
    assert state["waiting"].untyped_storage().nbytes() == 8 * 6
    order.load_state_dict(state)
    assert torch.equal(torch.cat(list(islice(order, 7))), expected)


def test_there_must_be_something_to_draw_from():
    with pytest.raises(ValueError, match="no images"):
        EndlessBatches(0, 4, draw())


def test_a_quadratic_is_minimised():
    point = torch.nn.Parameter(torch.tensor([3.0, -2.0]))
    goal = torch.tensor([1.0, 1.0])
    optimise("bowl", [point], lambda update: {"total": ((point - goal) ** 2).sum()}, settings(20), 20)
    assert torch.allclose(point.detach(), goal, atol=0.05)


def test_history_holds_the_mean_of_every_named_loss_by_epoch():
    point = torch.nn.Parameter(torch.zeros(()))

    def losses(update: int) -> dict[str, torch.Tensor]:
        return {"total": 0 * point + update, "other": torch.tensor(10.0 * update)}

    history = optimise("counting", [point], losses, settings(2), 3)
    assert list(history.columns) == ["epoch", "total", "other"]
    assert history["epoch"].tolist() == [1, 2]
    assert history["total"].tolist() == [1.0, 4.0]  # means of 0, 1, 2 and of 3, 4, 5
    assert history["other"].tolist() == [10.0, 40.0]


def test_only_the_total_is_minimised_and_only_by_trainable_parameters():
    moved, frozen = torch.nn.Parameter(torch.ones(())), torch.nn.Parameter(torch.ones(()), requires_grad=False)
    aside = torch.nn.Parameter(torch.ones(()))
    optimise(
        "three", [moved, frozen, aside], lambda update: {"total": moved * frozen, "aside": aside**2}, settings(1), 4
    )
    assert moved.item() < 1
    assert frozen.item() == 1
    assert aside.item() == 1


def test_the_first_step_has_the_length_of_the_learning_rate():
    point = torch.nn.Parameter(torch.zeros(2))
    optimise("step", [point], lambda update: {"total": 7 * point[0] - 0.01 * point[1]}, settings(1), 1)
    assert point.tolist() == pytest.approx([-0.05, 0.05], rel=1e-3)


def test_after_every_update_the_given_function_is_called():
    point, seen = torch.nn.Parameter(torch.ones(())), []
    optimise(
        "calls",
        [point],
        lambda update: {"total": point**2},
        settings(2),
        3,
        after_update=lambda: seen.append(point.item()),
    )
    assert len(seen) == 6
    assert all(later < earlier for earlier, later in pairwise(seen))


@pytest.mark.parametrize("broken", [float("nan"), float("inf")])
def test_a_loss_that_is_not_finite_stops_the_training_and_names_the_epoch(broken):
    point = torch.nn.Parameter(torch.ones(()))

    def losses(update: int) -> dict[str, torch.Tensor]:
        return {"total": point * (broken if update == 3 else 1.0)}

    with pytest.raises(FloatingPointError, match=r"the row: .*not finite in epoch 2"):
        optimise("the row", [point], losses, settings(4), 2)


def test_joined_histories_number_their_epochs_on():
    first = pd.DataFrame({"epoch": [1, 2], "total": [3.0, 2.0]})
    second = pd.DataFrame({"epoch": [1], "total": [1.0], "other": [5.0]})
    history = joined(first, second)
    assert history["epoch"].tolist() == [1, 2, 3]
    assert history["total"].tolist() == [3.0, 2.0, 1.0]
    assert history["other"].isna().tolist() == [True, True, False]
    assert second["epoch"].tolist() == [1]
