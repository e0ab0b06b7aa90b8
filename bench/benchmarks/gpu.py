"""What a GPU makes of a profile's trainings: `python -m bench.benchmarks.gpu --profile busi-scratch`.

Each kind of training alone: images a second, share of the measured matrix rate, peak memory. Then several of one kind
side by side on the same GPU. With --kernels only where the time of one goes. Epochs are timed inside one training, past
the first ones, in which cuDNN tries kernels and torch.compile compiles. On noise images of the profile's size; nothing
is kept but what is printed.
"""

import argparse
import contextlib
import io
import multiprocessing
import platform
import shutil
import subprocess
import sys
from collections.abc import Sequence
from concurrent.futures import ProcessPoolExecutor
from functools import partial
from pathlib import Path
from statistics import median
from threading import Barrier
from typing import Any, get_args

import numpy as np
import pandas as pd
import torch
from torch.profiler import profile
from torch.utils.flop_counter import FlopCounterMode

from bench.benchmarks.timing import Training, epochs, seconds
from bench.errors import UserError
from bench.git import git
from bench.methods import ImageSet, method_module, methods
from bench.precision import resolve
from bench.progress import say
from bench.runtime import context
from bench.schema import CompileMode
from bench.settings import PARAMS, Settings, load
from bench.sources import ROOT
from bench.training.segmentation import TrainingSet, train_segmentation

# Images of one epoch, the epochs that warm up, and those that are timed after them.
IMAGES, WARM_UP, EPOCHS = 320, 2, 10
# Kinds of rows, and whether they have a teacher.
ROWS = {"gt_whole": False, "pseudo_mean_teacher": True}
SHARED_ROW, TOGETHER, SHARED_EPOCHS = "gt_whole", (1, 2, 4), 10
# How long one of several processes waits for the others to be warm.
START_SECONDS = 300.0
MATRIX, ROUNDS = 8192, 10
# Lines of a table of kernels, and characters of a name (what tells PyTorch's own kernels comes late) and of shapes.
KERNELS, NAME, SHAPES = 40, 160, 70


def main(arguments: Sequence[str] | None = None) -> int:
    """Measure and print; 0 when done, 2 after a mistake that the user can mend."""
    parser = argparse.ArgumentParser(
        prog="python -m bench.benchmarks.gpu", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--profile", default="busi-scratch")
    parser.add_argument("--kernels", action="store_true", help=f"only where the time of {SHARED_ROW} goes, by kernel")
    parser.add_argument("--compile", choices=get_args(CompileMode), help="train through torch.compile")
    options = parser.parse_args(arguments)
    try:
        settings = load(options.profile, ROOT / PARAMS)
        if not torch.cuda.is_available():
            raise UserError("PyTorch finds no GPU - run this where there is one")
    except UserError as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    say(machine())
    if options.kernels:
        say(kernels(trainings(settings, "cuda", compile_mode=options.compile)[SHARED_ROW]))
        return 0
    rate = matrix_rate()
    say(f"bf16 product of {MATRIX} x {MATRIX} matrices: {rate / 1e12:.0f} TFLOP/s")
    plain, alone = trainings(settings, "cuda"), []
    for name, train in trainings(settings, "cuda", compile_mode=options.compile).items():
        alone.append({"training": name, **measure(train, operations_of_an_epoch(plain[name]), rate)})
        say(f"{name}: {alone[-1]['images/s']:.0f} images/s")
    say(pd.DataFrame(alone).round(2).to_markdown(index=False))
    shared = [{"at once": count, "images/s": together(options.profile, options.compile, count)} for count in TOGETHER]
    say(pd.DataFrame(shared).round(0).to_markdown(index=False))
    return 0


def machine() -> str:
    """GPU, driver, libraries and commit, for the record."""
    driver = "unknown"
    if program := shutil.which("nvidia-smi"):
        query = [program, "--query-gpu=driver_version", "--format=csv,noheader"]
        driver = subprocess.run(query, capture_output=True, encoding="utf-8", check=False).stdout.strip()
    cudnn = torch.backends.cudnn.version()  # type: ignore[no-untyped-call]
    return (
        f"{torch.cuda.get_device_name()}, driver {driver}, torch {torch.__version__}, cuDNN {cudnn}, "
        f"Python {platform.python_version()}, commit {git('rev-parse', '--short', 'HEAD') or 'unknown'}"
    )


def matrix_rate() -> float:
    """Operations a second of a bf16 matrix product on random data, the median of some."""
    left, right = (torch.randn(MATRIX, MATRIX, device="cuda", dtype=torch.bfloat16) for _ in range(2))

    def product() -> None:
        torch.mm(left, right)
        torch.cuda.synchronize()

    for _ in range(3):
        product()
    return 2 * MATRIX**3 / median(seconds(product) for _ in range(ROUNDS))


def trainings(
    settings: Settings, device: str, images: int = IMAGES, compile_mode: str | None = None
) -> dict[str, Training]:
    """By name, what trains each method and each kind of row for a number of epochs, as the profile says.

    compile_mode: of all of them, whatever the profile says.
    """
    size = settings.prepare.image_size
    found: dict[str, Training] = {
        method: partial(_train_method, method, settings.cams[method], _images(images, size), device, compile_mode)
        for method in settings.cams
    }
    for row in ROWS:
        found[row] = partial(_train_row, row, settings, images, device, compile_mode)
    return found


def _images(count: int, size: int) -> ImageSet:
    draw = np.random.default_rng(0)
    labels = np.arange(count) % 6 > 0
    return ImageSet(
        [str(number) for number in range(count)],
        draw.integers(0, 256, (count, size, size), np.uint8),
        labels.astype(np.int64),
    )


def _train_method(
    method: str, options: dict[str, Any], images: ImageSet, device: str, compile_mode: str | None, epochs: int
) -> None:
    """Train a method; the second step of one that has two takes one epoch, whatever `epochs` is."""
    block = methods()[method].settings.model_validate(options)
    where = context(device, 2, resolve(block.optimisation.precision, device))
    changed = {"optimisation": block.optimisation.model_copy(update={"epochs": epochs}), "compile": compile_mode}
    if hasattr(block, "second_step"):
        changed["second_step"] = block.second_step.model_copy(update={"epochs": 1})
    method_module(method).fit(block.model_copy(update=changed), images, 0, Path(), where)


def _train_row(row: str, settings: Settings, count: int, device: str, compile_mode: str | None, epochs: int) -> None:
    changed = {"initialisation": "none", "compile": compile_mode}
    recipe = settings.row(row).with_optimisation(epochs=epochs).model_copy(update=changed)
    where = context(device, 2, resolve(recipe.optimisation.precision, device))
    images = _images(count, settings.prepare.image_size).images
    masks, half = (images > 200).astype(np.uint8), count // 2
    data = (
        TrainingSet(images[:half], masks[:half], images[half:], count)
        if ROWS[row]
        else TrainingSet(images, masks, None, count)
    )
    train_segmentation(row, data, recipe, 0, Path(), where)


def measure(train: Training, counted: float, rate: float, images: int = IMAGES) -> dict[str, float]:
    """images/s, TFLOP/s and its share of `rate` in percent, peak memory in GiB of one training, alone on the GPU.

    counted: its operations in an epoch. The first epoch's seconds and the memory include what cuDNN and the compiler
    try.
    """
    torch.cuda.reset_peak_memory_stats()
    taken = epochs(train, WARM_UP + EPOCHS)
    per_second = images / median(taken[WARM_UP:])
    rate_here = counted / images * per_second
    return {
        "first epoch, s": taken[0],
        "images/s": per_second,
        "TFLOP/s": rate_here / 1e12,
        "of the matrix rate, %": 100 * rate_here / rate,
        "peak memory, GiB": torch.cuda.max_memory_allocated() / 2**30,
    }


def kernels(train: Training, images: int = IMAGES) -> str:
    """What takes most of an epoch's time after others that warm up: kernels of a GPU, then operators by shape."""
    profiler, last = profile(record_shapes=True), WARM_UP + EPOCHS
    taken = epochs(train, last + 1, lambda epoch: profiler if epoch == last else contextlib.nullcontext())
    tables = [_listed(profiler.key_averages(group_by_input_shape=True), "CPU")]
    if torch.cuda.is_available():
        tables.insert(0, _listed(profiler.key_averages(), "CUDA"))
    alone = median(taken[WARM_UP:last])
    without = f"one without the profiler {1000 * alone:.0f} ms, {images / alone:.0f} images/s"
    return "\n\n".join([*tables, f"first epoch {taken[0]:.1f} s; {without}"])


def _listed(events: Sequence[Any], kind: str) -> str:
    """The events of a device, "CPU" or "CUDA", by the GPU's time: operators by what they launched, or kernels.

    Without a GPU by the processor's time.
    """
    by = "self_device_time_total" if torch.cuda.is_available() else "self_cpu_time_total"
    rows = [
        {
            "name": event.key[:NAME],
            "shapes": str(event.input_shapes or "")[:SHAPES],
            "calls": event.count,
            "ms": getattr(event, by) / 1000,
        }
        for event in events
        # An annotation's time is that of the kernels in it, which count themselves.
        if event.device_type.name == kind and not event.is_user_annotation
    ]
    # Where the driver lets nobody profile there are none.
    found = pd.DataFrame(rows, columns=["name", "shapes", "calls", "ms"]).sort_values("ms", ascending=False)
    found["%"] = 100 * found["ms"] / found["ms"].sum()
    return found.head(KERNELS).round(2).to_string(index=False)


def operations(train: Training, epochs: int) -> int:
    """Floating-point operations of convolutions and matrix products in `epochs` epochs and what goes with them."""
    with FlopCounterMode(display=False) as counter:
        train(epochs)
    return int(counter.get_total_flops())


def operations_of_an_epoch(train: Training) -> float:
    """As `operations`, of one epoch alone; `train` must not compile, which the counter would prevent for good."""
    with contextlib.redirect_stdout(io.StringIO()):
        # The difference, because a training takes more than its epochs; OAA-CAM makes maps after all but the first.
        return operations(train, 3) - operations(train, 2)


def together(profile: str, compile_mode: str | None, count: int) -> float:
    """images/s of `count` processes together, each with a training of its own."""
    spawn = multiprocessing.get_context("spawn")
    with spawn.Manager() as manager, ProcessPoolExecutor(count, spawn) as pool:
        # Where one process fails the others must not wait for it for ever.
        barrier = manager.Barrier(count, timeout=START_SECONDS)
        taken = [pool.submit(_one_of_several, profile, compile_mode, barrier) for _ in range(count)]
        return count * IMAGES * SHARED_EPOCHS / max(one.result() for one in taken)


def _one_of_several(profile: str, compile_mode: str | None, barrier: Barrier) -> float:
    """Seconds of the epochs of one training that begin when all processes are warm."""
    train = trainings(load(profile, ROOT / PARAMS), "cuda", compile_mode=compile_mode)[SHARED_ROW]

    def when_all_are_warm(epoch: int) -> contextlib.AbstractContextManager[None]:
        if epoch == WARM_UP:
            barrier.wait()
        return contextlib.nullcontext()

    return sum(epochs(train, WARM_UP + SHARED_EPOCHS, when_all_are_warm)[WARM_UP:])


if __name__ == "__main__":
    sys.exit(main())
