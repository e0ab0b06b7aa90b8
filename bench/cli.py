"""The command line: one command a stage, `python -m bench <stage> --profile <name>`, and `diff`."""

import argparse
import importlib
import sys
from collections.abc import Sequence

from bench.compare import compare
from bench.errors import UserError
from bench.paths import Paths
from bench.settings import load

STAGES = {
    "download": "obtain the raw data set (BUSI_ZIP names a copy of BUSI on disk)",
    "prepare": "part images and labels from masks, resize for training",
    "split": "split into N and K",
    "cams": "train the classifiers and extract CAMs",
    "select": "Algorithm 1: regions of interest, subsets L and U",
    "pseudo": "pseudo-masks from the regions of interest",
    "crf": "pseudo-labels of the baselines: threshold and DenseCRF on their CAMs",
    "train_gt": "train the rows that learn from ground truth",
    "train_weak": "train the rows that learn from pseudo-masks, the baselines' among them",
    "oracle": "rows whose CAM threshold is chosen on training masks (diagnostic, off by default)",
    "evaluate": "judge every row on the test set",
    "tables": "Tables I to III, metrics.json",
    "report": "report.md with figures",
}


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one command; 0 when it is done, 2 after a mistake that the user can mend, 130 when interrupted."""
    parser = argparse.ArgumentParser(prog="python -m bench", description=__doc__)
    commands = parser.add_subparsers(dest="stage", required=True, metavar="stage")
    for stage, text in STAGES.items():
        command = commands.add_parser(stage, help=text, description=text)
        command.add_argument("--profile", required=True, help="a profile of params.yaml")
    _add_diff(commands)
    options = parser.parse_args(arguments)
    try:
        if options.stage == "diff":
            print(compare(options.a, options.b, options.profile))
            return 0
        settings = load(options.profile)
        importlib.import_module(f"bench.stages.{options.stage}").run(Paths(options.profile), settings)
    except UserError as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        print("interrupted; finished items are kept", file=sys.stderr)
        return 130
    return 0


def _add_diff(commands: "argparse._SubParsersAction[argparse.ArgumentParser]") -> None:
    text = "Tables I to III of two commits side by side, in Markdown"
    command = commands.add_parser("diff", help=text, description=text)
    command.add_argument("a", metavar="A", help="a commit, branch or tag")
    command.add_argument("b", metavar="B", nargs="?", help="another; the files here when it is left out")
    command.add_argument("--profile", help="one profile of params.yaml; all when it is left out")
