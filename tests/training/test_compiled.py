"""torch.compile as an option: the same training but for rounding, the same state, its time told."""

import shutil

import numpy as np
import pytest
import torch
from torch._dynamo.utils import counters

from bench.errors import UserError
from bench.runtime import context
from bench.training.compiled import compiled, first_update_timed
from bench.training.segmentation import train_segmentation
from tests.training.test_segmentation import ROWS, WEIGHTS, settings

needs_compiler = pytest.mark.skipif(shutil.which("g++") is None, reason="there is no g++")


@needs_compiler
def test_a_compiled_mean_teacher_learns_what_the_plain_one_learns(tmp_path, capsys):
    plain = settings(epochs=2)
    faster = plain.model_copy(update={"compile": "default"})
    row = "mean_teacher"
    net, history = train_segmentation(row, ROWS[row], plain, 0, WEIGHTS, context("cpu", 2, "fp32"))
    assert "compiles" not in capsys.readouterr().out
    counters.clear()
    again, history_again = train_segmentation(row, ROWS[row], faster, 0, WEIGHTS, context("cpu", 2, "fp32", tmp_path))
    assert f"{row}: the first update, which compiles, took " in capsys.readouterr().out
    # Student and teacher.
    assert counters["stats"]["unique_graphs"] >= 2
    np.testing.assert_allclose(history_again.to_numpy(), history.to_numpy(), rtol=1e-2)
    assert list(again.state_dict()) == list(net.state_dict())
    kept = torch.load(tmp_path / f"{row}.pt", weights_only=True)["parts"]["student"]
    assert list(kept) == list(net.state_dict())


def test_without_a_compiler_the_message_says_so(monkeypatch):
    monkeypatch.setenv("CXX", "no-such-compiler")
    with pytest.raises(UserError, match="no-such-compiler"):
        compiled(torch.nn.Linear(1, 1), "default", torch.device("cpu"))


def test_the_first_update_is_told_once(capsys):
    losses = first_update_timed(lambda update: {"total": torch.tensor(float(update))}, "a row")
    assert [float(losses(update)["total"]) for update in range(4, 8)] == [4.0, 5.0, 6.0, 7.0]
    assert capsys.readouterr().out.count("a row: the first update") == 1
