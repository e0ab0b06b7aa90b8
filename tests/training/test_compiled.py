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


@needs_compiler
def test_a_later_item_of_the_same_process_is_compiled_too(monkeypatch):
    monkeypatch.setattr(torch._dynamo.config, "recompile_limit", 1)
    faster = settings().model_copy(update={"compile": "default"})
    for seed in range(3):
        counters.clear()
        train_segmentation("subset", ROWS["subset"], faster, seed, WEIGHTS, context("cpu", 2, "fp32"))
        assert counters["stats"]["unique_graphs"] == 1


@pytest.mark.parametrize(("device", "variable"), [("cpu", "CXX"), ("cuda", "CC")])
def test_without_a_compiler_the_message_says_so(device, variable, monkeypatch, tmp_path):
    monkeypatch.setenv("PATH", str(tmp_path))
    monkeypatch.setenv(variable, "no-such-compiler")
    with pytest.raises(UserError, match="no-such-compiler"):
        compiled(torch.nn.Linear(1, 1), "default", torch.device(device))


def test_the_first_update_is_told_once(capsys):
    losses = first_update_timed(lambda update: {"total": torch.tensor(float(update))}, "a row")
    assert [float(losses(update)["total"]) for update in range(4, 8)] == [4.0, 5.0, 6.0, 7.0]
    assert capsys.readouterr().out.count("a row: the first update") == 1
