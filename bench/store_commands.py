"""`python -m bench store ls|verify|gc`: what the run store holds, whether it is whole, and making room."""

import argparse
import os
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from datetime import datetime
from operator import itemgetter
from pathlib import Path
from typing import Any

from pydantic import BaseModel, ValidationError
from rich.filesize import decimal
from tabulate import tabulate

from bench.engine import STORE
from bench.errors import UserError
from bench.files import discard, read_json, refusals_explained
from bench.progress import say, track
from bench.store import CHECKPOINTS, LOCK, PARTIAL, RECORD, HeldError, Store, digests

DAY = 86400
# What is shown of a key: enough to tell items apart.
SHOWN = 12


class Record(BaseModel):
    """What the record of a finished item says of it."""

    name: str
    finished: datetime
    seconds: float
    resumed: bool = False
    files: dict[str, str]


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the commands and their options."""
    commands = parser.add_subparsers(dest="command", required=True, metavar="command")
    commands.add_parser("ls", help="list finished and unfinished items, the latest first")
    verify = commands.add_parser("verify", help="compare every finished item with the SHA-256 of its files")
    verify.add_argument("--remove", action="store_true", help="remove damaged items, so that they are computed again")
    gc = commands.add_parser("gc", help="remove what killed runs left and no process computes")
    gc.add_argument("--unused-days", type=_days, metavar="N", help="remove finished items, too, not used for N days")
    gc.add_argument("--dry-run", action="store_true", help="only say what would be removed")


def run(options: argparse.Namespace, store: Store | None = None) -> None:
    """Run one command. UserError where `verify` finds damage and is not to remove it."""
    store = store or Store(STORE)
    with refusals_explained(store.root):
        if options.command == "ls":
            show(store)
        elif options.command == "verify":
            verify(store, options.remove)
        else:
            collect(store, options.unused_days, options.dry_run)


def show(store: Store) -> None:
    """Print a table of all items, and what gc would find."""
    now, rows = time.time(), []
    for key in _finished(store):
        # It may have been removed meanwhile.
        with suppress(FileNotFoundError):
            rows.append(_row(store.root / key))
    for key in _hidden(store, PARTIAL):
        folder = store.partial(key)
        state = "being computed" if _is_held(store, key) else "unfinished"
        name = _read(folder / RECORD).get("name", "?")
        # It may have been finished meanwhile.
        with suppress(FileNotFoundError):
            size, state = _size(folder), f"{state}{_progress(folder)}"
            rows.append((folder.stat().st_mtime, name, key, size, "", state))
    table = [
        (name, key[:SHOWN], _age(now - made), decimal(size), seconds, state)
        for made, name, key, size, seconds, state in sorted(rows, key=itemgetter(0), reverse=True)
    ]
    headers = ("item", "key", "age", "size", "seconds", "state")
    say(tabulate(table, headers, disable_numparse=True, colalign=("left", "left", "right", "right", "right", "left")))
    say(
        f"items: {len(rows)}, {decimal(sum(row[3] for row in rows))}; seconds+ are those of the last attempt of several"
    )


def _row(folder: Path) -> tuple[float, str, str, int, str, str]:
    """Time, name, key, bytes, seconds and state of a finished item; FileNotFoundError where it is no longer there."""
    size, record, state = _size(folder), None, "finished"
    try:
        record = _record(folder)
    except UserError:
        state = f"damaged: {RECORD}"
    # The last look: whatever else was seen was there.
    changed = folder.stat().st_mtime
    if record is None:
        return changed, "?", folder.name, size, "?", state
    seconds = f"{record.seconds:g}{'+' if record.resumed else ''}"
    return record.finished.timestamp(), record.name, folder.name, size, seconds, state


def verify(store: Store, remove: bool) -> None:
    """Name every finished item whose files are not those of its record; `remove` removes them."""
    damaged, removed, unknown = 0, 0, 0
    for key in track(_finished(store), "verifying"):
        folder = store.root / key
        unknown += not (folder / RECORD).exists() and folder.is_dir()
        if wrong := _wrong(folder):
            damaged += 1
            say(f"{key}: damaged: {', '.join(wrong)}")
            if remove:
                with store.lock(key):
                    # Another process may have removed it, or computed it again, before the lock was ours.
                    if folder.is_dir() and _wrong(folder):
                        discard(folder)
                        removed += 1
    if unknown:
        say(f"without a record, made by earlier code, not verified: {unknown}")
    if damaged and not remove:
        raise UserError(f"damaged items in {store.root}: {damaged} - `store verify --remove` removes them")
    say(f"removed: {removed}" if damaged else "no item is damaged")


def collect(store: Store, unused_days: float | None, dry_run: bool) -> None:
    """Remove leftovers of killed runs that no process holds, and finished items not used for so many days."""
    freed = 0
    for path in _hidden_paths(store, ".tmp"):
        # .<key>.<random>.tmp, which a process that holds the key may be filling
        with _held(store, path.name.split(".")[1]) as held:
            if held and path.exists():
                freed += _remove(path, "left by a killed run", dry_run)
    for key in sorted({*_hidden(store, PARTIAL), *_hidden(store, LOCK)}):
        with _held(store, key) as held:
            partial = store.partial(key)
            if held and partial.is_dir():
                name = _read(partial / RECORD).get("name", "?")
                freed += _remove(partial, f"unfinished {name}{_progress(partial)}", dry_run)
    for key in _finished(store) if unused_days is not None else []:
        with _held(store, key) as held:
            folder = store.root / key
            # Another process may have removed it meanwhile.
            if not held or not folder.is_dir():
                continue
            unused = (time.time() - folder.stat().st_mtime) / DAY
            if unused_days is not None and unused >= unused_days:
                name = _read(folder / RECORD).get("name", "?")
                freed += _remove(folder, f"{name}, not used for {unused:.0f} days", dry_run)
    say(f"{freed} bytes ({decimal(freed)}) {'would be freed' if dry_run else 'freed'}")


def _finished(store: Store) -> list[str]:
    """Keys of finished items."""
    if not store.root.is_dir():
        return []
    return sorted(path.name for path in store.root.iterdir() if path.is_dir() and not path.name.startswith("."))


def _hidden_paths(store: Store, suffix: str) -> list[Path]:
    return sorted(store.root.glob(f".*{suffix}"))


def _hidden(store: Store, suffix: str) -> list[str]:
    """Keys of what lies beside the finished items as .<key><suffix>."""
    return [path.name[1 : -len(suffix)] for path in _hidden_paths(store, suffix)]


@contextmanager
def _held(store: Store, key: str) -> Iterator[bool]:
    """Hold an item's lock inside the block; false when another process holds it."""
    try:
        with store.lock(key, wait=False):
            yield True
    except HeldError:
        yield False


def _is_held(store: Store, key: str) -> bool:
    with _held(store, key) as ours:
        return not ours


def _read(record: Path) -> dict[str, Any]:
    """An item's record, or {} where there is none that can be read."""
    try:
        content = read_json(record)
    except UserError:
        return {}
    return content if isinstance(content, dict) else {}


def _progress(partial: Path) -> str:
    """How far the latest training of an unfinished item is, or ""."""
    files = sorted((partial / CHECKPOINTS).glob("*.json"), key=lambda file: file.stat().st_mtime)
    latest = _read(files[-1]) if files else {}
    known = {"what", "epoch", "epochs"} <= latest.keys()
    return f": {latest['what']}, epoch {latest['epoch']} of {latest['epochs']}" if known else ""


def _record(folder: Path) -> Record | None:
    """The record of a finished item, None where earlier code made none; UserError where it is of no use."""
    file = folder / RECORD
    if not file.exists():
        return None
    try:
        return Record.model_validate(read_json(file))
    except ValidationError as error:
        raise UserError(f"{file} is damaged") from error


def _wrong(folder: Path) -> list[str]:
    """Names of the files of a finished item that are not those of its record.

    Nothing is known without one, or of an item that is removed meanwhile.
    """
    try:
        record = _record(folder)
        wrong = _differences(record.files, digests(folder)) if record else []
    except (UserError, FileNotFoundError):
        wrong = [RECORD]
    return wrong if folder.is_dir() else []


def _differences(expected: dict[str, str], found: dict[str, str]) -> list[str]:
    """Names that one of the two lacks or that have other digests."""
    return sorted(name for name in {*expected, *found} if expected.get(name) != found.get(name))


def _size(path: Path) -> int:
    """Bytes of a file, or of all files below a folder, from which another process may take some meanwhile."""
    size = path.stat().st_size if path.is_file() else 0
    for folder, _, names in os.walk(path):
        for name in names:
            with suppress(FileNotFoundError):
                size += Path(folder, name).stat().st_size
    return size


def _remove(path: Path, what: str, dry_run: bool) -> int:
    """Remove a file or folder and say so; its bytes."""
    size = _size(path)
    say(f"{path.name}: {what}, {decimal(size)}")
    if not dry_run:
        discard(path)
    return size


def _days(text: str) -> float:
    """A number of days from the command line."""
    days = float(text)
    if not days >= 0:
        raise ValueError
    return days


def _age(seconds: float) -> str:
    for unit, length in (("d", DAY), ("h", 3600), ("min", 60)):
        if seconds >= length:
            return f"{seconds / length:.0f} {unit}"
    return f"{max(seconds, 0):.0f} s"
