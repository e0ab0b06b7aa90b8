"""Checkpoints: an interrupted training ends as an undisturbed one, and a file that cannot serve is never believed."""

import errno
import os
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pandas as pd
import pytest
import torch
from torch import nn

import bench.training.checkpoint
from bench.errors import UserError
from bench.files import read_json
from bench.runtime import Context, context, generator
from bench.schema import Optimisation
from bench.store import CHECKPOINT_SECONDS
from bench.training.checkpoint import Checkpoint
from bench.training.loop import EndlessBatches, optimise

EPOCHS, UPDATES = 4, 3
SETTINGS = Optimisation(
    epochs=EPOCHS, batch_size=2, learning_rate=0.05, betas=[0.9, 0.999], weight_decay=0.0, precision="fp32"
)
CPU = torch.device("cpu")


class InterruptError(Exception):
    """In the place of a kill."""


class Training:
    """A tiny training that draws from everywhere: an order of batches, noise, and dropout's global generator."""

    def __init__(self, where: Context, width: int = 6, what: str = "a row, first") -> None:
        torch.manual_seed(7)
        self.net = nn.Sequential(nn.Linear(3, width), nn.BatchNorm1d(width), nn.Dropout(0.5), nn.Linear(width, 1))
        self.images = torch.randn(5, 3)
        self.order = EndlessBatches(5, 4, generator(CPU, "order", 0))
        self.noise = generator(CPU, "noise", 0)
        self.updates = 0
        self.what = what
        parts = {"net": self.net, "order": self.order, "noise": self.noise}
        self.checkpoint = Checkpoint(what, where, parts)

    def losses(self, update: int) -> dict[str, torch.Tensor]:
        self.updates += 1
        images = self.images[next(self.order)]
        noisy = images + torch.randn(images.shape, generator=self.noise)
        return {"total": (self.net(noisy) - images.sum(1, keepdim=True)).square().mean()}

    def run(self, interrupted_after: int = EPOCHS + 1) -> pd.DataFrame:
        """Train; an exception ends it in the first update after so many epochs."""

        def losses(update: int) -> dict[str, torch.Tensor]:
            if update == interrupted_after * UPDATES + 1:
                raise InterruptError
            return self.losses(update)

        parameters = self.net.parameters()
        return optimise(self.what, parameters, losses, SETTINGS, UPDATES, checkpoint=self.checkpoint)

    def weights(self) -> list[bytes]:
        return [value.numpy().tobytes() for value in self.net.state_dict().values()]


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return tmp_path / "checkpoints"


@pytest.fixture
def where(folder: Path) -> Context:
    return context("cpu", 1, "fp32", folder)


@pytest.fixture
def pace() -> Iterator[None]:
    """A pace at which only a training's end is kept."""
    token = CHECKPOINT_SECONDS.set(1e6)
    yield
    CHECKPOINT_SECONDS.reset(token)


def undisturbed() -> tuple[list[bytes], pd.DataFrame]:
    training = Training(context("cpu", 1, "fp32"))
    history = training.run()
    return training.weights(), history


def interrupted(folder: Path, after: int) -> Training:
    training = Training(context("cpu", 1, "fp32", folder))
    with pytest.raises(InterruptError):
        training.run(interrupted_after=after)
    return training


@pytest.mark.parametrize("after", [1, 2, 3])
def test_an_interrupted_training_ends_with_the_bits_of_an_undisturbed_one(folder, after, capsys):
    weights, history = undisturbed()
    interrupted(folder, after)
    again = Training(context("cpu", 1, "fp32", folder))
    torch.manual_seed(1000)  # the surroundings play no part
    assert again.run().equals(history)
    assert again.weights() == weights
    assert again.updates == (EPOCHS - after) * UPDATES
    assert f"a row, first: going on after epoch {after}\n" in capsys.readouterr().out


def test_what_follows_an_interrupted_training_draws_what_it_would_have_drawn(folder):
    undisturbed()
    expected = torch.rand(3)
    interrupted(folder, 2)
    Training(context("cpu", 1, "fp32", folder)).run()
    assert torch.equal(torch.rand(3), expected)


def test_an_interruption_in_the_first_epoch_begins_anew(folder):
    weights, history = undisturbed()
    interrupted(folder, 0)
    assert not folder.exists()
    again = Training(context("cpu", 1, "fp32", folder))
    assert again.run().equals(history)
    assert again.weights() == weights


def test_a_training_that_ended_is_loaded_and_not_repeated(where, folder):
    first = Training(where)
    history = first.run()
    draws = torch.rand(3)
    again = Training(context("cpu", 1, "fp32", folder))
    torch.manual_seed(1000)
    assert again.run().equals(history)
    assert again.updates == 0
    assert again.weights() == first.weights()
    assert torch.equal(torch.rand(3), draws)


def test_keeping_checkpoints_changes_nothing(where):
    weights, history = undisturbed()
    training = Training(where)
    assert training.run().equals(history)
    assert training.weights() == weights


def test_without_a_place_nothing_is_kept(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    for _ in range(2):  # nor are names compared
        Training(context("cpu", 1, "fp32")).run()
    assert list(tmp_path.rglob("*")) == []


def test_the_latest_alone_is_kept_and_how_far_it_is_can_be_read_without_loading_it(folder):
    for after in (1, 3):
        interrupted(folder, after)
        assert sorted(file.name for file in folder.iterdir()) == ["a-row-first.json", "a-row-first.pt"]
        assert read_json(folder / "a-row-first.json") == {"what": "a row, first", "epoch": after, "epochs": EPOCHS}


def test_the_end_is_kept_without_the_optimiser(where, folder):
    interrupted(folder, 2)
    middle = torch.load(folder / "a-row-first.pt", weights_only=True)
    Training(where).run()
    end = torch.load(folder / "a-row-first.pt", weights_only=True)
    assert set(middle["parts"]) - set(end["parts"]) == {"optimiser"}
    assert len(end["history"]) == EPOCHS


def test_at_a_slow_pace_the_middle_is_not_kept_but_the_end_is(where, folder, pace):
    interrupted(folder, 3)
    assert not folder.exists()
    Training(where).run()
    assert read_json(folder / "a-row-first.json")["epoch"] == EPOCHS


def test_the_pace_counts_from_the_last_checkpoint(where, folder, monkeypatch):
    times = iter([0, 20, 35, 36, 65, 65, 99])  # the beginning, epoch 1, epoch 2 and its end, 3, 4 and its end
    monkeypatch.setattr(bench.training.checkpoint, "time", SimpleNamespace(monotonic=lambda: next(times)))
    token = CHECKPOINT_SECONDS.set(30.0)
    kept = []
    monkeypatch.setattr(bench.training.checkpoint, "write_json", lambda file, value: kept.append(value["epoch"]))
    try:
        Training(where).run()
    finally:
        CHECKPOINT_SECONDS.reset(token)
    assert kept == [2, 4]  # 29 s after the last it is too early


def test_two_trainings_of_one_item_need_names_of_their_own(where):
    Training(where)
    Training(where, what="a row, second")
    with pytest.raises(ValueError, match="two trainings of one item are called 'a row, first'"):
        Training(where)


def flip(content: bytes, position: int) -> bytes:
    return content[:position] + bytes([content[position] ^ 1]) + content[position + 1 :]


def in_a_tensor(content: bytes, folder: Path) -> int:
    """Where the first value of a network's weights lies."""
    value = torch.load(folder / "a-row-first.pt", weights_only=True)["parts"]["net"]["0.weight"]
    return content.index(value.numpy().tobytes())


DAMAGES = {
    "empty": lambda content, folder: b"",
    "truncated": lambda content, folder: content[: len(content) // 2],
    "its end is missing": lambda content, folder: content[:-1],
    "a bit of a weight": lambda content, folder: flip(content, in_a_tensor(content, folder)),
    "its beginning": lambda content, folder: flip(content, 0),
    "something else": lambda content, folder: b"not a checkpoint",
}


@pytest.mark.parametrize("damage", DAMAGES)
def test_a_damaged_checkpoint_is_said_in_one_line_and_the_training_begins_anew(folder, damage, capsys):
    weights, history = undisturbed()
    interrupted(folder, 2)
    file = folder / "a-row-first.pt"
    file.write_bytes(DAMAGES[damage](file.read_bytes(), folder))
    capsys.readouterr()
    again = Training(context("cpu", 1, "fp32", folder))
    assert again.run().equals(history)
    assert again.weights() == weights
    (line,) = capsys.readouterr().out.splitlines()
    assert line.startswith(f"a row, first: the checkpoint {file} is damaged (")
    assert line.endswith("; the training begins anew")
    assert len(line) < len(str(file)) + 300


class Planted:
    """Ends the test's process, or would, when it is unpickled."""

    def __reduce__(self) -> tuple[Any, tuple[int]]:
        return os._exit, (3,)


def test_nothing_in_a_checkpoint_is_run(folder, capsys):
    folder.mkdir()
    torch.save({"history": [], "parts": Planted()}, folder / "a-row-first.pt")
    Training(context("cpu", 1, "fp32", folder)).run()
    assert "is damaged" in capsys.readouterr().out


@pytest.mark.parametrize("change", ["shapes", "parts"])
def test_a_checkpoint_of_another_training_is_refused_in_one_line(folder, change):
    interrupted(folder, 2)
    again = Training(context("cpu", 1, "fp32", folder), width=7 if change == "shapes" else 6)
    if change == "parts":
        del again.checkpoint.parts["noise"]
    with pytest.raises(
        UserError, match=r"a-row-first\.pt is of another training \(.* - delete it and run again"
    ) as caught:
        again.run()
    assert "\n" not in str(caught.value)


def test_a_kill_while_a_checkpoint_is_written_leaves_the_one_before_and_no_rubbish(folder, monkeypatch):
    weights, _ = undisturbed()
    save, calls = torch.save, []

    def killed_at_the_third(content: Any, file: Path) -> None:
        calls.append(file)
        save(content, file)
        if len(calls) == 3:
            file.write_bytes(file.read_bytes()[:100])
            monkeypatch.setattr(Path, "unlink", lambda *_, **__: None)  # a kill lets nothing be tidied
            raise InterruptError

    monkeypatch.setattr(torch, "save", killed_at_the_third)
    with pytest.raises(InterruptError):
        Training(context("cpu", 1, "fp32", folder)).run()
    monkeypatch.undo()
    assert len(list(folder.glob(".*.tmp"))) == 1
    again = Training(context("cpu", 1, "fp32", folder))
    again.run()
    assert again.updates == (EPOCHS - 2) * UPDATES
    assert again.weights() == weights
    assert list(folder.glob(".*.tmp")) == []


def test_a_full_disk_is_a_user_error_and_the_last_checkpoint_stays(folder, monkeypatch):
    interrupted(folder, 2)
    before = (folder / "a-row-first.pt").read_bytes()

    def refused(*_: Any) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(torch, "save", refused)
    with pytest.raises(UserError, match=r"cannot write .*a-row-first\.pt: No space left"):
        Training(context("cpu", 1, "fp32", folder)).run()
    assert (folder / "a-row-first.pt").read_bytes() == before


def test_a_loss_that_is_not_finite_is_not_kept(folder, monkeypatch):
    training = Training(context("cpu", 1, "fp32", folder))
    monkeypatch.setattr(training, "losses", lambda update: {"total": training.net[3].bias.sum() * float("nan")})
    with pytest.raises(FloatingPointError):
        training.run()
    assert not folder.exists()
