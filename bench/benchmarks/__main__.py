"""Ratios of two ways to the same result: `python -m bench.benchmarks [crf|cams|sam|training|engines]`.

Seconds tell about this machine and what else runs on it; the ratio is what counts.
"""

import argparse
import sys
from collections.abc import Callable, Sequence
from functools import partial
from typing import get_args

import pandas as pd

from bench.benchmarks import cams, crf, engines, sam, training
from bench.benchmarks.repro import nothing_to_do
from bench.benchmarks.timing import Comparison
from bench.errors import UserError
from bench.progress import say
from bench.schema import CompileMode
from bench.settings import PARAMS, profiles
from bench.sources import ROOT
from bench.timings import latest

Measure = Callable[[int | None], list[Comparison]]
BENCHMARKS: dict[str, Measure] = {
    "crf": crf.measure,
    "cams": cams.measure,
    "sam": sam.measure,
    "training": training.measure,
    "engines": engines.measure,
}


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one benchmark or all, print the table; 0 when done, 2 after a mistake that the user can mend."""
    parser = argparse.ArgumentParser(
        prog="python -m bench.benchmarks", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("name", nargs="?", choices=list(BENCHMARKS), help="one benchmark; all when left out")
    parser.add_argument("--images", type=_count, help="how many images instead of each benchmark's own number")
    parser.add_argument("--compile", choices=get_args(CompileMode), help="of training: also through torch.compile")
    options = parser.parse_args(arguments)
    if options.compile and options.name != "training":
        parser.error("--compile goes with training")
    measures: dict[str, Measure] = {**BENCHMARKS, "training": partial(training.measure, compile_mode=options.compile)}
    try:
        names = [options.name] if options.name else list(BENCHMARKS)
        say(table([comparison for name in names for comparison in measures[name](options.images)]))
        if not options.name and (diary := stages()):
            say(diary)
    except UserError as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        return 130
    return 0


def table(comparisons: Sequence[Comparison]) -> str:
    """Markdown, one comparison a line."""
    rows = [
        {
            "work": one.work,
            "plain": one.plain,
            "s": f"{one.plain_seconds:.2f}",
            "ours": one.ours,
            "s ": f"{one.our_seconds:.2f}",
            "ratio": f"{one.plain_seconds / one.our_seconds:.2f}",
        }
        for one in comparisons
    ]
    return pd.DataFrame(rows).to_markdown(index=False, disable_numparse=True)


def stages() -> str:
    """Markdown: where the time of each profile's latest run went and how long `dvc repro` takes; "" without a run."""
    parts = []
    for profile in profiles(ROOT / PARAMS):
        taken = latest(profile)
        if len(taken):
            total = f"\n{profile}: {taken['seconds'].sum():.0f} s in the stages that ran"
            parts += [total, taken.to_markdown(index=False, disable_numparse=True)]
            if idle := nothing_to_do(profile):
                parts.append(f"`dvc repro report@{profile}` with nothing to do: {idle:.1f} s")
    return "\n".join(parts)


def _count(text: str) -> int:
    value = int(text)
    if value < 1:
        raise argparse.ArgumentTypeError("must be at least 1")
    return value


if __name__ == "__main__":
    sys.exit(main())
