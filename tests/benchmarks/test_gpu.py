"""The GPU's benchmark knows every training of a profile; its numbers need a GPU."""

import contextlib

from bench.benchmarks import gpu
from bench.benchmarks.timing import epochs
from bench.settings import PARAMS, load
from bench.sources import ROOT


def test_every_training_of_a_profile_runs_for_as_many_epochs_as_asked():
    settings = load("phantom", ROOT / PARAMS)
    found = gpu.trainings(settings, "cpu", images=4)
    assert set(found) == {*settings.cams, "gt_whole", "pseudo_mean_teacher"}
    for name, train in found.items():
        assert 0 < gpu.operations(train, 1) < gpu.operations(train, 2), name


def test_the_epochs_of_the_first_network_are_timed():
    settings = load("phantom", ROOT / PARAMS)
    entered = []

    def around(epoch: int) -> contextlib.AbstractContextManager[None]:
        entered.append(epoch)
        return contextlib.nullcontext()

    for name, train in gpu.trainings(settings, "cpu", images=4).items():
        entered.clear()
        taken = epochs(train, 2, around)
        assert entered == [0, 1], name
        assert len(taken) == 2 and min(taken) > 0, name


def test_the_kernels_of_an_epoch_are_listed():
    settings = load("phantom", ROOT / PARAMS)
    text = gpu.kernels(gpu.trainings(settings, "cpu", images=4)["gt_whole"], images=4)
    # Without a GPU there are no kernels, only operators by shape.
    assert "convolution_backward" in text
    assert "images/s" in text.splitlines()[-1]


def test_without_a_gpu_it_says_so(monkeypatch, capsys):
    monkeypatch.setattr(gpu.torch.cuda, "is_available", lambda: False)
    assert gpu.main([]) == 2
    assert "finds no GPU" in capsys.readouterr().err
