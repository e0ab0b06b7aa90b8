"""torch.compile as an option: the same training but for rounding, the same state, each kind once, its time told."""

import shutil

import numpy as np
import pytest
import torch
from torch._dynamo.utils import counters

from bench.errors import UserError
from bench.runtime import context
from bench.training.classification import fit_cam_net
from bench.training.compiled import compiled, first_update_timed
from bench.training.segmentation import train_segmentation
from tests.training.test_classification import images, make_net, recipe
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
def test_every_kind_of_network_is_compiled_once_in_a_process(monkeypatch):
    torch.compiler.reset()
    monkeypatch.setattr(torch._dynamo.config, "recompile_limit", 1)
    seen = []
    for width in (4, 4, 8, 4):
        counters.clear()
        net = torch.nn.Sequential(torch.nn.Conv2d(3, width, 3), torch.nn.BatchNorm2d(width), torch.nn.ReLU())
        compiled(net, "default", torch.device("cpu"))(torch.ones(2, 3, 8, 8)).sum().backward()
        seen.append(counters["stats"]["unique_graphs"])
    assert seen == [1, 0, 1, 0]


@needs_compiler
def test_a_compiled_classifier_learns_what_the_plain_one_learns(capsys):
    plain = recipe(settle=True)
    faster = plain.model_copy(update={"compile": "default"})
    history = fit_cam_net("plain", make_net(), images(), plain, 0, context("cpu", 2, "fp32"))
    assert "compiles" not in capsys.readouterr().out
    counters.clear()
    net = make_net()
    history_again = fit_cam_net("faster", net, images(), faster, 0, context("cpu", 2, "fp32"))
    assert "faster: the first update, which compiles, took " in capsys.readouterr().out
    assert counters["stats"]["unique_graphs"] == 1
    np.testing.assert_allclose(history_again.to_numpy(), history.to_numpy(), rtol=1e-3)
    assert list(net.state_dict()) == list(make_net().state_dict())


@pytest.mark.parametrize(("device", "variable"), [("cpu", "CXX"), ("cuda", "CC")])
def test_without_a_compiler_the_message_says_so(device, variable, monkeypatch, tmp_path):
    monkeypatch.setenv("PATH", str(tmp_path))
    monkeypatch.setenv(variable, "no-such-compiler")
    with pytest.raises(UserError, match="no-such-compiler"):
        compiled(torch.nn.Linear(1, 1), "default", torch.device(device))


def test_the_first_update_is_told_once(capsys):
    losses = first_update_timed(lambda update: {"total": torch.tensor(float(update))}, "a row", "default")
    assert [float(losses(update)["total"]) for update in range(4, 8)] == [4.0, 5.0, 6.0, 7.0]
    assert capsys.readouterr().out.count("a row: the first update") == 1


def test_without_a_mode_nothing_is_timed():
    def losses(update: int) -> dict[str, torch.Tensor]:
        return {"total": torch.tensor(float(update))}

    assert first_update_timed(losses, "a row", None) is losses
