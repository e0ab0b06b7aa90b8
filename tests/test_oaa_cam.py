"""OAA: when and what it accumulates, whose map an image gets, and the integral attention model."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import torch

import bench.training.classification
from baselines import oaa_cam
from baselines.oaa_cam import OaaSettings, accumulate, cams, current_maps, fit, integral_loss, make_net
from bench.methods import ImageSet
from bench.nets.memory import MapMemory
from bench.nets.saved import load_net, save_net
from bench.runtime import context, seeded_initialisation
from bench.settings import load
from bench.training.augment import normalise, to_float

BLOCK = load("phantom", Path(__file__).resolve().parents[1] / "params.yaml").cams["oaa_cam"]
NONE = Path("unused")
TUMOURS = ["b", "d", "f"]


def where() -> Any:
    return context("cpu", 2, "fp32")


def settings(epochs: int = 1, **changes: Any) -> OaaSettings:
    optimisation = {**BLOCK["optimisation"], "epochs": epochs, "batch_size": 4, "precision": "fp32"}
    return OaaSettings.model_validate({**BLOCK, "optimisation": optimisation, **changes})


def images(order: str = "abcdef") -> ImageSet:
    """Six images of speckle in the given order, every second of the alphabet a tumour."""
    speckle = np.random.default_rng(0).integers(0, 256, (6, 64, 64), dtype=np.uint8)
    positions = ["abcdef".index(image_id) for image_id in order]
    return ImageSet(list(order), speckle[positions], np.array(positions) % 2)


def random_maps(*shape: int, seed: int = 0) -> torch.Tensor:
    return torch.rand(shape, generator=torch.Generator().manual_seed(seed))


def untrained(**changes: Any) -> torch.nn.ModuleDict:
    with seeded_initialisation("oaa_cam", "weights", 0):
        return make_net(settings(**changes), NONE).eval()


class Scripted:
    """In the place of training and of `current_maps`: epoch after epoch, given maps (n, h, w) and gates (n,)."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, maps: torch.Tensor, gates: list[list[bool]]) -> None:
        self.maps, self.gates, self.epoch, self.seen = maps, torch.tensor(gates), 0, []
        self.after: list[torch.Tensor] = []
        monkeypatch.setattr(bench.training.classification, "fit_cam_net", self.fit_cam_net)
        monkeypatch.setattr(oaa_cam, "current_maps", self.current_maps)

    def fit_cam_net(
        self,
        what: str,
        net: Any,
        train: Any,
        recipe: Any,
        seed: int,
        place: Any,
        after_epoch: Callable[[int], None],
        changes: Any,
    ) -> pd.DataFrame:
        for self.epoch in range(recipe.optimisation.epochs):
            net.train()
            after_epoch(self.epoch)
            assert net.training
        return pd.DataFrame({"epoch": range(1, recipe.optimisation.epochs + 1), "total": 1.0})

    def current_maps(self, net: Any, shown: np.ndarray, place: Any) -> tuple[torch.Tensor, torch.Tensor]:
        assert not net.training
        assert np.array_equal(shown, images().images[1::2])
        self.seen.append(self.epoch)
        return self.maps[self.epoch], self.gates[self.epoch]

    def accumulated(self) -> torch.Tensor:
        net, _ = fit(settings(len(self.maps)), images(), 0, NONE, where())
        found: torch.Tensor = net["memory"].recall(TUMOURS, torch.full_like(self.maps[0], -1))
        return found


def test_nothing_is_accumulated_after_the_first_epoch(monkeypatch):
    script = Scripted(monkeypatch, random_maps(4, 3, 2, 2), [[True] * 3] * 4)
    assert torch.equal(script.accumulated(), script.maps[1:].amax(0))
    assert script.seen == [1, 2, 3]


def test_accumulated_maps_never_fall():
    before = torch.zeros(3, 2, 2)
    for seed in range(6):
        sure = random_maps(3, seed=seed) > 0.4
        after = accumulate(before, random_maps(3, 2, 2, seed=seed), sure, last=False)
        assert (after >= before).all()
        before = after
    assert before.max() > 0.5


def test_only_maps_of_images_taken_for_tumours_are_accumulated(monkeypatch):
    gates = [[True] * 3, [True, False, True], [False, True, True], [True, False, False]]
    script = Scripted(monkeypatch, random_maps(4, 3, 2, 2), gates)
    expected = [script.maps[[1, 3], 0].amax(0), script.maps[2, 1], script.maps[1:3, 2].amax(0)]
    assert torch.equal(script.accumulated(), torch.stack(expected))


def test_in_the_last_epoch_an_image_without_accumulation_keeps_its_current_map(monkeypatch):
    gates = [[True] * 3, [True, False, False], [False, False, False]]
    script = Scripted(monkeypatch, random_maps(3, 3, 2, 2), gates)
    assert torch.equal(script.accumulated(), torch.stack([script.maps[1, 0], script.maps[2, 1], script.maps[2, 2]]))


def test_a_single_epoch_leaves_the_current_maps(monkeypatch):
    script = Scripted(monkeypatch, random_maps(1, 3, 2, 2), [[True, False, True]])
    assert torch.equal(script.accumulated(), script.maps[0])


def test_the_gate_is_the_tumour_logit_above_the_normal_one_and_maps_reach_1(monkeypatch):
    logits = torch.tensor([[0.0, 1.0], [1.0, 0.0], [-2.0, -1.0]])
    maps = 7 * random_maps(3, 2, 2)
    maps[1] = 0
    monkeypatch.setattr("bench.cam.feature_maps", lambda *_: (maps, logits))
    found, gate = current_maps(torch.nn.Identity(), images().images[:3], where())
    assert gate.tolist() == [True, False, True]
    assert torch.allclose(found.amax((1, 2)), torch.tensor([1.0, 0.0, 1.0]))
    assert torch.allclose(found[2], maps[2] / maps[2].max())


def test_maps_are_recalled_by_id_and_unknown_images_get_the_other_map():
    memory, maps = MapMemory(), random_maps(3, 2, 2)
    memory.remember(TUMOURS, maps)
    other = random_maps(4, 2, 2, seed=1)
    found = memory.recall(["f", "a", "b", "d"], other)
    assert torch.equal(found, torch.stack([maps[2], other[1], maps[0], maps[1]]))


def test_another_memory_is_loaded_whatever_its_size(tmp_path):
    net = untrained()
    net["memory"].remember(TUMOURS, random_maps(3, 2, 2))
    save_net(net, tmp_path / "net")
    loaded = load_net(make_net(settings(), None), tmp_path / "net")
    assert torch.equal(loaded["memory"].recall(TUMOURS, torch.zeros(3, 2, 2)), random_maps(3, 2, 2))


def test_cams_follow_the_id_whatever_the_order_and_strangers_get_the_current_map():
    net, _ = fit(settings(epochs=2), images("fadbce"), 0, NONE, where())
    net["memory"].remember(TUMOURS, random_maps(3, 4, 4))
    plain, shuffled = (cams(settings(), net, images(order), where()) for order in ("abcdef", "fdbeca"))
    for position, image_id in enumerate("fdbeca"):
        assert np.allclose(shuffled[position], plain["abcdef".index(image_id)], atol=1e-6)
    net["memory"].remember([], random_maps(0, 4, 4))
    current = cams(settings(), net, images(), where())
    different = [not np.allclose(plain[row], current[row], atol=1e-2) for row in range(6)]
    assert different == [False, True] * 3


def test_cams_are_upsampled_bicubically_from_0_to_1_and_a_constant_map_becomes_zeros():
    net, maps = untrained(), random_maps(3, 4, 4)
    maps[1], maps[2] = 0.3, 0.0
    net["memory"].remember(TUMOURS, maps)
    one, *constant = cams(settings(), net, images("bdf"), where())
    large = torch.nn.functional.interpolate(maps[:1, None], 64, mode="bicubic", align_corners=False)[0, 0].numpy()
    assert np.allclose(one, (large - large.min()) / (large.max() - large.min()), atol=1e-5)
    assert (one.min(), one.max()) == (0, 1)
    assert not np.any(constant)


def loss_by_hand(scores: np.ndarray, target: np.ndarray) -> float:
    probability = 1 / (1 + np.exp(-scores.astype(float)))
    attended = target > 0.001
    parts = [-target[attended] * np.log(probability[attended]), -np.log(1 - probability[~attended] + 1e-8)]
    return float(sum(part.mean() for part in parts if part.size))


@pytest.mark.parametrize(
    "target",
    [
        random_maps(2, 3, 3) * (random_maps(2, 3, 3, seed=1) > 0.5),
        torch.zeros(2, 3, 3),
        random_maps(2, 3, 3) + 0.01,
        torch.full((2, 3, 3), 0.001),
    ],
    ids=["both", "no positives", "no negatives", "at the edge"],
)
def test_the_integral_loss_is_the_mean_over_attended_cells_plus_the_mean_over_others(target):
    scores = 6 * (random_maps(2, 3, 3, seed=2) - 0.5)
    assert integral_loss(scores, target).item() == pytest.approx(loss_by_hand(scores.numpy(), target.numpy()), rel=1e-5)


def test_the_integral_loss_is_finite_for_extreme_scores():
    scores = torch.tensor([[[1e4, -1e4]]], requires_grad=True)
    for target in (torch.zeros(1, 1, 2), torch.ones(1, 1, 2)):
        loss = integral_loss(scores, target)
        loss.backward()
        assert loss.isfinite()
    assert scores.grad.isfinite().all()


def test_without_an_integral_model_there_is_no_second_network():
    assert set(untrained()) == {"classifier", "memory"}


def test_the_integral_model_is_trained_from_the_initialisation():
    with_integral = settings(epochs=2, integral=True)
    net, history = fit(with_integral, images(), 0, NONE, where())
    plain, _ = fit(settings(epochs=2), images(), 0, NONE, where())
    start = untrained(integral=True)
    assert torch.equal(net["memory"].maps, plain["memory"].maps)
    moved = [not torch.equal(v, start["integral"].get_parameter(n)) for n, v in net["integral"].named_parameters()]
    assert all(moved)
    assert history["epoch"].tolist() == [1, 2, 3, 4]
    assert history["integral"].notna().tolist() == [False, False, True, True]
    assert np.isfinite(history["total"]).all()


def test_the_cams_are_the_integral_models_where_there_is_one():
    net = untrained(integral=True)
    net["memory"].remember(TUMOURS, random_maps(3, 4, 4))
    weight = net["integral"].classifier.weight.data.abs_()
    found = cams(settings(integral=True), net, images("bdf"), where())
    assert found.max() == 1
    assert not np.allclose(found, cams(settings(), net, images("bdf"), where()), atol=1e-2)
    weight.neg_()  # nothing is left after ReLU
    assert not cams(settings(integral=True), net, images("bdf"), where()).any()


def test_the_integral_model_learns_to_give_the_target():
    shown, place = images().images[1::2], where()
    target = torch.zeros(3, 4, 4)
    target[:, :2] = 1
    still = {"horizontal_flip": False, "vertical_flip": False, "rotation_degrees": 0.0}
    net = untrained(integral=True)["integral"]
    history = oaa_cam._fit_integral(net, shown, target, settings(12, augmentation=still), 0, place)
    assert history["total"].iloc[-1] < 0.7 * history["total"].iloc[0]


def test_what_is_accumulated_comes_from_settled_statistics(monkeypatch):
    seen: list[float] = []

    def watched(net: Any, *rest: Any) -> Any:
        stem = net.net.stem
        norm = stem[1]
        with torch.no_grad():
            shown = stem[0](normalise(to_float(torch.from_numpy(images().images))))
        seen.append((norm.running_mean - shown.mean((0, 2, 3))).abs().max().item())
        return current_maps(net, *rest)

    # All six images make one batch, so the statistics are those of exactly these images.
    optimisation = {**BLOCK["optimisation"], "epochs": 3, "batch_size": 6, "precision": "fp32"}
    monkeypatch.setattr(oaa_cam, "current_maps", watched)
    for settle in (True, False):
        fit(settings(optimisation=optimisation, settle_batch_norm=settle), images(), 0, NONE, where())
    assert max(seen[:2]) < 1e-5
    assert min(seen[2:]) > 1e-3
