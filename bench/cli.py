"""The command line: one command a stage, `python -m bench <stage> --profile <name>`, and those of COMMANDS."""

import argparse
import importlib
import os
import select
import sys
from collections.abc import Sequence

from bench.errors import UserError
from bench.paths import Paths
from bench.settings import load
from bench.timings import recorded

STAGES = {
    "download": "obtain the raw data set (BUSI_ZIP names a copy of BUSI on disk)",
    "prepare": "part images and labels from masks, resize for training",
    "audit": "near-duplicate images, colour, burnt-in text and calipers",
    "split": "split into N and K",
    "cams": "train the classifiers and extract CAMs",
    "select": "Algorithm 1: regions of interest, subsets L and U",
    "segmenter": "train the small SAM of the phantom profile, on phantoms of its own",
    "pseudo": "pseudo-masks from the regions of interest",
    "crf": "pseudo-labels of the baselines: threshold and DenseCRF on their CAMs",
    "train_gt": "train the rows that learn from ground truth",
    "train_weak": "train the rows that learn from pseudo-masks, the baselines' among them",
    "oracle": "rows whose CAM threshold is chosen on training masks (diagnostic, off by default)",
    "controls": "rows on other selections than L, and masks from true boxes (diagnostic)",
    "evaluate": "judge every row on the test set",
    "tables": "Tables I to III, paired comparisons, controls, diagnostics, the paper's claims, metrics.json",
    "report": "report.html and report.md with figures",
}
# Modules of bench with add_arguments(parser) and run(options), and what they do.
COMMANDS = {
    "all": ("side_by_side", "all stages, or those named; what needs the processor runs beside what needs the GPU"),
    "fetch": ("needs", "bring and verify all that a profile takes from the network, so that stages run without one"),
    "store": ("store_commands", "list, verify or clean up the run store"),
    "sweep": ("sweep_commands", "|L| and its quality over a grid of Algorithm 1's settings, without training"),
    "diff": ("compare", "Tables I to III of two commits side by side, in Markdown"),
}


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one stage or command; 0 when done, 2 after a mistake that the user can mend, 130 when interrupted.

    141, as for other programs, when nobody reads the output to its end (| head).
    """
    parser = argparse.ArgumentParser(prog="python -m bench", description=__doc__)
    commands = parser.add_subparsers(dest="stage", required=True, metavar="stage")
    for stage, text in STAGES.items():
        command = commands.add_parser(stage, help=text, description=text)
        command.add_argument("--profile", required=True, help="a profile of params.yaml")
        command.add_argument("--finished", action="store_true", help="compute nothing; name the rows that are missing")
    arguments = sys.argv[1:] if arguments is None else arguments
    imported = {}
    for name, (module, text) in COMMANDS.items():
        command = commands.add_parser(name, help=text, description=text)
        # Importing all of them would take longer than a short stage.
        if name in arguments:
            imported[name] = importlib.import_module(f"bench.{module}")
            imported[name].add_arguments(command)
    options = parser.parse_args(arguments)
    try:
        if options.stage in imported:
            imported[options.stage].run(options)
            return 0
        settings = load(options.profile)
        if options.finished:
            settings = settings.model_copy(update={"engine": settings.engine.model_copy(update={"kind": "finished"})})
        with recorded(options.profile, options.stage):
            importlib.import_module(f"bench.stages.{options.stage}").run(Paths(options.profile), settings)
    except UserError as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        print("interrupted; finished items are kept, the others go on from their checkpoints", file=sys.stderr)
        return 130
    except BrokenPipeError:
        if _is_read():
            raise
        # Python writes what is left once more at its end.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 141
    return 0


def _is_read() -> bool:
    """Whether the other end of the output is open, where it has one."""
    output = select.poll()
    output.register(sys.stdout.fileno(), 0)
    return not output.poll(0)
