"""What a profile takes from the network: brought ahead of time (`python -m bench fetch`), or only checked."""

import argparse
import os
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from bench.artefacts import BUSI, IMAGENET, SAM
from bench.data import busi
from bench.errors import UserError
from bench.fetch import Artefact, fetch, require
from bench.files import refusals_explained
from bench.methods import methods
from bench.nets.weights import pins
from bench.paths import DOWNLOADS
from bench.progress import say
from bench.schema import BusiData
from bench.settings import Settings, load
from bench.weights import weights_folder


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the profile and whether to check only."""
    parser.add_argument("--profile", required=True, help="a profile of params.yaml")
    parser.add_argument("--verify", action="store_true", help="only check, without a network")


def run(options: argparse.Namespace) -> None:
    """`provide` for the settings of a profile."""
    provide(options.profile, load(options.profile), options.verify)


@dataclass(frozen=True)
class Need:
    """One file: the settings that ask for it, how to bring and verify it, and how to verify it without a network.

    bring and check raise UserError when the file cannot be had or is wrong.
    """

    file: Path
    needed_by: tuple[str, ...]
    bring: Callable[[], object]
    check: Callable[[], object]


def needs(settings: Settings) -> list[Need]:
    """Everything that the profile takes from the network, and what stands in its place on this machine."""
    found = [_data()] if isinstance(settings.data, BusiData) else []
    askers: dict[str, list[str]] = {}
    for method, block in settings.cams.items():
        for name in pins(methods()[method].settings.model_validate(block)):
            askers.setdefault(name, []).append(f"cams.{method}")
    for row in (*settings.train.rows, *settings.cams):
        for name in pins(settings.row(row)):
            askers.setdefault(name, []).append("train")
    found += [_file(IMAGENET[name], weights_folder(), *dict.fromkeys(by)) for name, by in askers.items()]
    if settings.pseudo.segmenter == "sam" and not settings.pseudo.trained_here:
        found.append(_sam(settings))
    return found


def provide(profile: str, settings: Settings, verify: bool) -> None:
    """Bring every file that the profile needs, or with `verify` only check them; UserError naming all that fail."""
    wanted = needs(settings)
    if not wanted:
        say(f"{profile} needs nothing from the network")
        return
    problems = []
    for need in wanted:
        try:
            (need.check if verify else need.bring)()
            verdict = "verified"
        except UserError as error:
            problems.append(str(error))
            verdict = "FAILED"
        say(f"{verdict}: {need.file} (for {', '.join(need.needed_by)})")
    if problems:
        raise UserError(f"{len(problems)} of {len(wanted)} files that {profile} needs: {'; '.join(problems)}")


def _data() -> Need:
    source = os.environ.get("BUSI_ZIP") or None

    def bring() -> None:
        with refusals_explained(DOWNLOADS):
            busi.check(DOWNLOADS, source)

    def check() -> None:
        if not source:
            require(BUSI, DOWNLOADS)
        bring()

    file = Path(source) if source else DOWNLOADS / BUSI.file
    return Need(file, ("data",), bring=bring, check=check)


def _sam(settings: Settings) -> Need:
    own = settings.pseudo.checkpoint
    if own is None:
        return _file(SAM[settings.pseudo.variant], weights_folder(), "pseudo")
    file = Path(own.file)
    artefact = Artefact(file=file.name, urls=(), sha256=own.sha256, size=None, licence="your own")
    return _file(artefact, file.parent, "pseudo.checkpoint")


def _file(artefact: Artefact, folder: Path, *needed_by: str) -> Need:
    return Need(
        folder / artefact.file,
        needed_by,
        bring=partial(fetch, artefact, folder),
        check=partial(require, artefact, folder),
    )
