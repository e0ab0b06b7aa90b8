"""kill -9 at random moments: the next attempts go on, and end with the bytes of an undisturbed run."""

import multiprocessing
import random
import shutil
import signal
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pandas as pd
import pytest

from bench.data.phantom import render
from bench.paths import CHECKPOINT
from bench.settings import load
from bench.store import Item, Store
from tests.items.killable import KEY, attempt

pytestmark = pytest.mark.slow
PHANTOM = load("phantom", Path(__file__).resolve().parents[2] / "params.yaml")
SIZE, PER_CATEGORY, EPOCHS = 32, 5, 3
# Of seven kills of each item, four come from outside at random times, three at planted points: one is the very end.
KILLS = ("time", "point", "time", "point", "time", "end", "time")
SHORT = {"epochs": EPOCHS, "batch_size": 4, "precision": "fp32"}

processes = multiprocessing.get_context("forkserver")


@pytest.fixture(scope="module", autouse=True)
def prepared(own_fork_server: None) -> None:
    """Attempts need not import PyTorch each."""
    processes.set_forkserver_preload(["tests.items.killable", "pytest"])


@pytest.fixture(scope="module")
def inputs(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """A few phantoms, prepared as the items read them: the last of each category in K, every second of V in L."""
    folder = tmp_path_factory.mktemp("inputs")
    rows, images, labels = [], [], []
    for category in ("benign", "malignant", "normal"):
        for number in range(PER_CATEGORY):
            phantom = render(category, number, seed=1)
            images.append(cv2.resize(phantom.image, (SIZE, SIZE), interpolation=cv2.INTER_AREA))
            mask = np.any([np.zeros(phantom.image.shape, bool), *phantom.masks], axis=0)
            labels.append(cv2.resize(mask.astype(np.uint8), (SIZE, SIZE), interpolation=cv2.INTER_NEAREST))
            part = "K" if number == PER_CATEGORY - 1 else "N"
            rows.append((f"{category} ({number})", category, int(category != "normal"), part, number % 2 == 0))
    table = pd.DataFrame(rows, columns=["id", "category", "label", "set", "selected"])
    columns = {
        "index": ["id", "category", "label"],
        "split": ["id", "category", "set"],
        "selection": ["id", "selected"],
    }
    for name, kept in columns.items():
        table[kept].to_csv(folder / f"{name}.csv", index=False)
    for name, arrays in (("store", images), ("labels", labels)):
        np.save(folder / f"{name}.npy", np.stack(arrays))
    return {file.stem: file for file in folder.iterdir()}


def method_item(method: str, inputs: dict[str, Path], **changes: Any) -> Item:
    block = PHANTOM.cams[method]
    optimisation = {**block["optimisation"], **SHORT}
    options = {**block, "optimisation": optimisation, **changes}
    settings = {"method": method, "options": options, "seed": 0, "device": "cpu", "threads": 2}
    return Item(method, "bench.items.cams:run", settings, inputs)


def row_item(row: str, inputs: dict[str, Path]) -> Item:
    recipe = PHANTOM.row(row).model_dump()
    recipe["optimisation"].update(SHORT)
    recipe["mean_teacher"]["labelled_per_batch"] = 2
    teaching = recipe.pop("mean_teacher")
    settings = {"row": row, "images": "mean_teacher", "recipe": recipe, "mean_teacher": teaching, "seed": 0}
    settings |= {"device": "cpu", "threads": 2}
    return Item(row, "bench.items.segmentation:run", settings, inputs)


def segmenter_item() -> Item:
    assert PHANTOM.segmenter is not None
    recipe = PHANTOM.segmenter.model_dump()
    recipe["optimisation"].update(SHORT)
    recipe["sizes"].update(image_size=64, patch_size=8, embed_dim=32, heads=2, window=4, prompt_dim=32, decoder_mlp=32)
    for name in ("training", "held_out"):
        recipe[name].update(benign=2, malignant=2)
    settings = {**recipe, "device": "cpu", "threads": 2}
    return Item("sam_phantom", "bench.items.segmenter:run", settings, {})


def items(inputs: dict[str, Path]) -> Mapping[str, Item]:
    """Every kind of state: teacher and noise, global generator, remembered maps, two trainings with frozen parts."""
    deep = {**PHANTOM.cams["swin_mil"]["network"], "stochastic_depth": 0.3}
    return {
        "mean teacher": row_item("pseudo_mean_teacher", inputs),
        "stochastic depth": method_item("swin_mil", inputs, network=deep),
        "integral": method_item("oaa_cam", inputs, integral=True),
        "two stages": method_item("amr", inputs, training="two_stage", spotlight_epochs=2),
        "segmenter": segmenter_item(),
    }


class Attempts:
    """Attempts at one item, each in a process of its own."""

    def __init__(self, item: Item, folder: Path) -> None:
        self.item, self.folder = item, folder
        self.log = folder / "log"
        self.length = 0.0  # seconds of the latest attempt that ended by itself

    def run(self, store: str, planted: tuple[str, int] | None = None, seconds: float | None = None) -> bool:
        """Whether an attempt was killed: at the planted point, or `seconds` after its beginning. Otherwise it ended."""
        receiver, sender = processes.Pipe(duplex=False)
        given = (self.folder / store, self.item, planted, self.log, sender)
        process = processes.Process(target=attempt, args=given)
        process.start()
        sender.close()  # or a process that dies early would be waited for
        receiver.recv()
        start = time.monotonic()
        process.join(600 if seconds is None else seconds)
        assert seconds is not None or process.exitcode is not None
        process.kill()
        process.join()
        assert process.exitcode in (0, -signal.SIGKILL)
        if process.exitcode == 0:
            self.length = time.monotonic() - start
        return process.exitcode != 0


def contents(folder: Path) -> dict[str, bytes]:
    """All that an item made; its record holds times and is left out."""
    files = (file for file in folder.rglob("*") if file.is_file() and file.name != "item.json")
    return {file.relative_to(folder).as_posix(): file.read_bytes() for file in files}


@pytest.mark.parametrize("name", ["mean teacher", "stochastic depth", "integral", "two stages", "segmenter"])
def test_an_item_that_is_killed_again_and_again_ends_with_the_bytes_of_an_undisturbed_run(name, inputs, tmp_path):
    draw = random.Random(name)
    attempts, store = Attempts(items(inputs)[name], tmp_path), Store(tmp_path / "killed")
    assert not attempts.run("undisturbed")
    expected = contents(tmp_path / "undisturbed" / KEY)
    assert {"net.safetensors", "cams.npy", "probabilities.npy", CHECKPOINT} & set(expected)

    waiting = list(KILLS)
    while waiting:
        if waiting[0] == "time":
            killed = attempts.run("killed", seconds=draw.uniform(0, attempts.length))
        elif waiting[0] == "end":
            killed = attempts.run("killed", planted=(draw.choice(["before", "after"]), 0))
        else:
            killed = attempts.run("killed", planted=(draw.choice(["half", "before", "after"]), draw.randint(1, EPOCHS)))
        if killed:
            waiting.pop(0)
        if finished := store.find(KEY):
            # It ended before it was to be killed, or was killed on the last step; it begins again, until all are had.
            assert contents(finished) == expected
            shutil.rmtree(store.root)
    assert not attempts.run("killed")
    assert contents(store.root / KEY) == expected
    assert "going on after epoch" in attempts.log.read_text()
    assert [path.name for path in store.root.iterdir()] == [KEY]
