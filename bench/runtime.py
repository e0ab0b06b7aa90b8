"""PyTorch set up for one item: device, threads, kernels (deterministic on the CPU, the fastest on a GPU)."""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

import torch

from bench.seeding import seed_for


@dataclass(frozen=True)
class Context:
    """Where an item computes: device, and autocast to bfloat16 or not.

    checkpoints: folder of its trainings' checkpoints, or None to keep none. trainings: those that began so far.
    """

    device: torch.device
    bf16: bool
    checkpoints: Path | None = None
    trainings: set[str] = field(default_factory=set, compare=False, repr=False)

    def place(self, net: torch.nn.Module) -> torch.nn.Module:
        """Move a network to the device, its convolutions in channels-last memory."""
        return net.to(self.device).to(memory_format=torch.channels_last)  # type: ignore[call-overload,no-any-return]

    @contextmanager
    def autocast(self) -> Iterator[None]:
        """Mixed precision for forward passes where the settings ask for it."""
        with torch.autocast(self.device.type, dtype=torch.bfloat16, enabled=self.bf16):
            yield


def context(device: str, threads: int, precision: str, checkpoints: Path | None = None) -> Context:
    """Set the process up and give the context. `device` is "cpu" or "cuda", `precision` "fp32" or "bf16".

    Raises ValueError for another one: what "auto" means is resolved before.
    """
    if device not in ("cpu", "cuda") or precision not in ("fp32", "bf16"):
        raise ValueError(f"device {device!r} with precision {precision!r}: resolve them before")
    torch.set_num_threads(threads)
    # As use_deterministic_algorithms, which also imports the compiler; that takes seconds in every process.
    torch.set_deterministic_debug_mode("default" if device == "cuda" else "error")
    # Filling fresh memory only helps code that reads it before writing, and costs a tenth of a small network's time.
    torch.utils.deterministic.fill_uninitialized_memory = False  # type: ignore[attr-defined]
    # A U-Net trained 1.6 times as fast on an H200 with cuDNN's pick for each shape as with deterministic kernels.
    torch.backends.cudnn.benchmark = device == "cuda"
    # fp32 means fp32: no TensorFloat-32 inside convolutions.
    torch.backends.cudnn.allow_tf32 = False
    return Context(torch.device(device), precision == "bf16", checkpoints)


@contextmanager
def without_kernel_search() -> Iterator[None]:
    """Inside, cuDNN picks kernels by its heuristics: timing them for a shape pays only where it comes often."""
    usual = torch.backends.cudnn.benchmark
    torch.backends.cudnn.benchmark = False
    try:
        yield
    finally:
        torch.backends.cudnn.benchmark = usual


def generator(device: torch.device, *parts: str | int) -> torch.Generator:
    """A generator of its own for one purpose, seeded by name."""
    return torch.Generator(device=device).manual_seed(seed_for(*parts))


@contextmanager
def seeded_initialisation(*parts: str | int) -> Iterator[None]:
    """Initialise networks inside this block from a seed of their own; the global generator is left as it was."""
    with torch.random.fork_rng(devices=[]):
        torch.default_generator.manual_seed(seed_for(*parts))
        yield


@contextmanager
def seeded_draws(device: torch.device, *parts: str | int) -> Iterator[None]:
    """Let layers that draw from the device's global generator do so from a seed of their own; then it is as before."""
    with torch.random.fork_rng(devices=[device] if device.type == "cuda" else []):
        torch.manual_seed(seed_for(*parts))
        yield
