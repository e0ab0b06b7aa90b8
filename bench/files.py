"""Writing without half-written results, and digests of what was read."""

import errno
import fcntl
import glob
import hashlib
import json
import os
import re
import shutil
import uuid
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path
from tempfile import TemporaryFile
from typing import Any

from bench.errors import UserError

# Hexadecimal digits that tell temporary names apart.
UNIQUE = 12
# How often a folder is moved to where other processes put theirs at the same instant.
TRIES = 20
# Bytes that a disk which is not full takes; random ones, because compressed zeros would always find room.
PROBE = 1 << 20


@contextmanager
def replacing_file(path: Path) -> Iterator[Path]:
    """Yield a temporary name beside `path`; rename it to `path` when the block ends without an error.

    Raises UserError when the disk refuses the write (full, read-only), leaving `path` as it was.
    """
    temporary = temporary_beside(path)
    try:
        with refusals_explained(path):
            path.parent.mkdir(parents=True, exist_ok=True)
            yield temporary
            temporary.replace(path)
    finally:
        with suppress(OSError):
            temporary.unlink()


@contextmanager
def replacing_folder(path: Path) -> Iterator[Path]:
    """Yield an empty temporary folder beside `path` that takes its place when the block ends without an error.

    What stood at `path` before is gone afterwards, and what killed processes left of their attempts; of processes that
    do this at the same instant the last one wins. Raises UserError when the disk refuses the write.
    """
    # Whether the disk is full is looked at while what filled it is still there.
    with ExitStack() as until_the_end, refusals_explained(path):
        path.parent.mkdir(parents=True, exist_ok=True)
        temporary = _new_folder(path, until_the_end)
        yield temporary
        _put(temporary, path)
        _remove_leftovers(path)


def _put(folder: Path, path: Path, tries: int = TRIES) -> None:
    """Move `folder` to `path` and delete what stood there, which after an error is put back."""
    before = temporary_beside(path)
    with suppress(FileNotFoundError):
        path.replace(before)
    try:
        folder.replace(path)
    except BaseException as error:
        with suppress(OSError):
            before.replace(path)
        if tries == 1 or not isinstance(error, OSError) or error.errno not in TAKEN:
            raise
        # Another process put its folder there in between, which goes the same way.
        _put(folder, path, tries - 1)
    with suppress(FileNotFoundError):  # another process may have taken it for a leftover
        _delete(before)


def _new_folder(path: Path, until_the_end: ExitStack) -> Path:
    """A new temporary folder for `path`, held, and removed in the end if it is still there."""
    while True:
        temporary = temporary_beside(path)
        temporary.mkdir()
        until_the_end.callback(shutil.rmtree, temporary, ignore_errors=True)
        with suppress(FileNotFoundError):
            until_the_end.enter_context(_held(temporary, wait=True))
        # Between its making and its holding another process may have taken it for a leftover.
        if temporary.is_dir():
            return temporary


@contextmanager
def _held(folder: Path, wait: bool) -> Iterator[bool]:
    """Hold a folder until the block or the process ends; False where another does, or where there are no locks."""
    handle = os.open(folder, os.O_RDONLY)
    try:
        held = False
        with suppress(OSError):
            fcntl.flock(handle, fcntl.LOCK_EX | (0 if wait else fcntl.LOCK_NB))
            held = True
        yield held
    finally:
        os.close(handle)


def _remove_leftovers(path: Path) -> None:
    """Remove the temporary folders for `path` that no living process holds."""
    for leftover in path.parent.glob(_temporary_name(glob.escape(path.name), "[0-9a-f]" * UNIQUE)):
        with suppress(OSError), _held(leftover, wait=False) as held:
            if held:
                shutil.rmtree(leftover)


def discard(path: Path) -> None:
    """Remove a file, link or folder; killed midway, it leaves a hidden leftover and never half of what was there."""
    doomed = temporary_beside(path)
    path.replace(doomed)
    _delete(doomed)


def _delete(path: Path) -> None:
    if path.is_dir() and not path.is_symlink():
        shutil.rmtree(path)
    else:
        path.unlink(missing_ok=True)


def temporary_beside(path: Path) -> Path:
    """A hidden name in the same folder that nothing has yet."""
    return path.with_name(_temporary_name(path.name, uuid.uuid4().hex[:UNIQUE]))


def _temporary_name(name: str, unique: str) -> str:
    return f".{name.lstrip('.')}.{unique}.tmp"


# The disk's own refusals; any other error inside a block is the block's, and is passed on as it is.
REFUSALS = {errno.ENOSPC, errno.EDQUOT, errno.EROFS}
# The same in the errors of safetensors, which removes its file before it raises, shutil.copytree and numpy.
WORDS = re.compile("|".join([*map(os.strerror, sorted(REFUSALS)), r"\d+ requested and \d+ written"]))
# What a folder is refused with where another one stands.
TAKEN = {errno.ENOTEMPTY, errno.EEXIST}


@contextmanager
def refusals_explained(path: Path) -> Iterator[None]:
    """Turn an error of the block that is about writing `path` into a UserError; others pass as they are."""
    try:
        yield
    except UserError:
        raise
    except Exception as error:
        if reason := _refusal(error, path):
            raise UserError(
                f"cannot write {path}: {reason} - free space or mend the permissions, then run again"
            ) from error
        raise


def _refusal(error: Exception, path: Path) -> str | None:
    """The disk's reason, where `error` is about writing `path`."""
    if isinstance(error, OSError) and error.errno is not None:
        about = Path(str(error.filename)) if error.filename is not None else None
        near = about is not None and (about == path.parent or path.parent in about.parents or about in path.parents)
        ours = error.errno in REFUSALS or (near and not isinstance(error, FileNotFoundError))
        return error.strerror if ours else None
    # Not a RuntimeError's: torch says the same of shared memory.
    if not isinstance(error, RuntimeError) and (words := WORDS.search(str(error))):
        return words[0]
    # torch.save and PIL say nothing of the reason.
    return _refused_now(path.parent) if isinstance(error, OSError | RuntimeError) else None


def _refused_now(folder: Path) -> str | None:
    """The disk's reason, where it refuses a file in `folder` now."""
    try:
        with TemporaryFile(dir=folder) as probe:
            probe.write(os.urandom(PROBE))
            probe.flush()
            os.fsync(probe.fileno())
    except OSError as error:
        return error.strerror if error.errno in REFUSALS else None
    return None


def write_json(path: Path, value: Any) -> None:
    """Write `value` as indented JSON with a final newline, all or nothing."""
    with replacing_file(path) as temporary:
        temporary.write_text(json.dumps(value, indent=2) + "\n", encoding="utf-8")


def read_text(path: Path) -> str:
    """Read a text that a stage wrote; UserError when it is missing."""
    try:
        return path.read_text(encoding="utf-8")
    except FileNotFoundError:
        raise UserError(f"{path} is missing - run the stage that makes it (dvc repro)") from None


def read_json(path: Path) -> Any:
    """Read a JSON file that a stage wrote; UserError when it is missing or damaged."""
    try:
        return json.loads(read_text(path))
    except ValueError as error:
        raise UserError(f"{path} is damaged ({error}) - delete it and run dvc repro") from error


def digest(path: Path) -> str:
    """SHA-256 (hex) of a file's bytes, or of a folder's sorted relative names and file bytes."""
    if not path.exists():
        raise UserError(f"{path} is missing - run the stage that makes it (dvc repro)")
    if path.is_file():
        with path.open("rb") as stream:
            return hashlib.file_digest(stream, "sha256").hexdigest()
    total = hashlib.sha256()
    for file in sorted(item for item in path.rglob("*") if item.is_file()):
        total.update(f"{file.relative_to(path).as_posix()}\0{digest(file)}\n".encode())
    return total.hexdigest()


def own_file(file: str, sha256: str, where: str) -> Path:
    """A file of the user's that the setting `where` names; UserError when it is missing or another than it says."""
    path = Path(file)
    try:
        if not path.is_file():
            raise UserError(f"{where}.file: {path} does not exist")
        found = digest(path)
    except PermissionError as error:
        raise UserError(f"{where}.file: {error.filename} may not be read - mend its permissions") from error
    if found != sha256:
        raise UserError(f"{where}.sha256: {path} has the SHA-256 {found} - correct the setting or the file")
    return path
