"""The command line: one command a stage, `python -m bench <stage> --profile <name>`."""

import argparse
import importlib
import sys
from collections.abc import Sequence

from bench.errors import UserError
from bench.paths import Paths
from bench.settings import load

STAGES = {
    "download": "obtain the raw data set (BUSI_ZIP names a copy of BUSI on disk)",
    "prepare": "part images and labels from masks, resize for training",
    "split": "split into N and K",
    "cams": "train the classifiers and extract CAMs",
    "select": "Algorithm 1: regions of interest, subsets L and U",
    "segmenter": "train the small SAM of the phantom profile, on phantoms of its own",
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
    """Run one stage; 0 when it is done, 2 after a mistake that the user can mend, 130 when interrupted."""
    parser = argparse.ArgumentParser(prog="python -m bench", description=__doc__)
    commands = parser.add_subparsers(dest="stage", required=True, metavar="stage")
    for stage, text in STAGES.items():
        command = commands.add_parser(stage, help=text, description=text)
        command.add_argument("--profile", required=True, help="a profile of params.yaml")
    options = parser.parse_args(arguments)
    try:
        settings = load(options.profile)
        importlib.import_module(f"bench.stages.{options.stage}").run(Paths(options.profile), settings)
    except UserError as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        print("interrupted; finished items are kept", file=sys.stderr)
        return 130
    return 0
