"""Files from the network: resumed, checked by size and SHA-256, never half-written."""

import fcntl
import os
import re
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

import requests
from rich.console import Console
from rich.progress import (
    BarColumn,
    DownloadColumn,
    Progress,
    TextColumn,
    TimeRemainingColumn,
    TransferSpeedColumn,
)

from bench.errors import UserError
from bench.files import digest
from bench.progress import PLAIN_SECONDS, say

TRIES = 4
BACKOFF_SECONDS = 1.0
TIMEOUT_SECONDS = (15.0, 60.0)  # to connect, and between two pieces of the body
CHUNK_BYTES = 1 << 18


@dataclass(frozen=True)
class Artefact:
    """A file that the benchmark needs and does not ship.

    `file` is its local name and `urls` are tried in order. `sha256` is the lower-case hexadecimal SHA-256
    of its bytes or a prefix of it of at least 8 digits (torchvision publishes only the prefix of some
    checkpoints), or None where the content is verified by the caller. `size` is in bytes, None when unknown.
    `needed_by` says in words which settings ask for it.
    """

    file: str
    urls: tuple[str, ...]
    sha256: str | None
    size: int | None
    licence: str
    needed_by: str = ""

    def __post_init__(self) -> None:
        if self.sha256 is not None and not re.fullmatch("[0-9a-f]{8,64}", self.sha256):
            raise ValueError(f"{self.file}: sha256 must be 8 to 64 lower-case hexadecimal digits")


class _FetchError(Exception):
    """Why one address did not yield the file; `again` says whether another try may help."""

    def __init__(self, reason: str, again: bool = False) -> None:
        super().__init__(reason)
        self.again = again


def fetch(artefact: Artefact, folder: Path) -> Path:
    """Return `folder`/`artefact.file`, downloading it first when it is not there.

    A download goes to `<file>.part`, which a later call continues. A download with the wrong content is
    renamed to `<file>.wrong` and the next address is tried. Calls of several processes take turns.

    Raises UserError when a file that is already there has the wrong content (it is left as it is), when no
    address yields the file, or when the disk refuses the write.
    """
    path = folder / artefact.file
    if _is_present(artefact, path):
        return path
    try:
        folder.mkdir(parents=True, exist_ok=True)
        with _alone(folder):
            # Another process may have finished the same file while this one waited.
            if not _is_present(artefact, path):
                _from_any_address(artefact, path)
    except OSError as error:
        reason = error.strerror or error
        raise UserError(f"cannot write {path}: {reason} - free space or mend the permissions") from error
    return path


def require(artefact: Artefact, folder: Path) -> None:
    """Raise UserError unless `folder`/`artefact.file` is there with the right content; no network is asked."""
    path = folder / artefact.file
    if not _is_present(artefact, path):
        raise UserError(f"{path} is missing - make fetch brings it")


def _is_present(artefact: Artefact, path: Path) -> bool:
    if not path.exists():
        return False
    problem = _mismatch(artefact, path)
    if problem:
        raise UserError(f"{path} is not the expected file: {problem} - delete it or put the right file there")
    return True


def _mismatch(artefact: Artefact, path: Path) -> str | None:
    """What is wrong with the file at `path`, or None."""
    if not path.is_file():
        return "it is not a regular file"
    size = path.stat().st_size
    # The hash comes first, so that the message about a file put there by hand holds both hashes.
    if artefact.sha256 is not None:
        found = digest(path)
        if not found.startswith(artefact.sha256):
            return f"SHA-256 {found} instead of {artefact.sha256} ({size} bytes)"
    if artefact.size is not None and size != artefact.size:
        return f"{size} bytes instead of {artefact.size}"
    return None


@contextmanager
def _alone(folder: Path) -> Iterator[None]:
    """Hold the folder for this process; a file system without locks is used without one."""
    handle = os.open(folder, os.O_RDONLY)
    try:
        with suppress(OSError):
            fcntl.flock(handle, fcntl.LOCK_EX)
        yield
    finally:
        os.close(handle)


def _from_any_address(artefact: Artefact, path: Path) -> None:
    reason = "no address is known"
    for url in artefact.urls:
        try:
            _from_address(artefact, url, path)
            return
        except _FetchError as error:
            reason = str(error)
            say(f"{artefact.file}: {url} failed: {reason}")
    first = f" from {artefact.urls[0]}" if artefact.urls else ""
    raise UserError(
        f"cannot download {artefact.file}{first} ({reason}) - check the network and run again, "
        f"or put the file into {path.parent} by hand"
    )


def _from_address(artefact: Artefact, url: str, path: Path) -> None:
    """Download from one address, verify, and rename to `path`; raises _FetchError."""
    part = path.with_name(f"{path.name}.part")
    resumed = _download(artefact, url, part)
    problem = _mismatch(artefact, part)
    if problem and resumed:
        # The beginning may have come from another mirror or from an older version of the file.
        say(f"{artefact.file}: what was continued is not the expected file, starting over: {problem}")
        part.unlink()
        _download(artefact, url, part)
        problem = _mismatch(artefact, part)
    if problem:
        wrong = path.with_name(f"{path.name}.wrong")
        part.replace(wrong)
        raise _FetchError(f"wrong content, kept as {wrong.name}: {problem}")
    part.replace(path)


def _download(artefact: Artefact, url: str, part: Path) -> bool:
    """Fill `part` from `url`, trying again where that may help; True when some of it was there before."""
    say(f"downloading {artefact.file} from {url} (licence: {artefact.licence})")
    resumed = False
    tries = 0
    while True:
        have = part.stat().st_size if part.exists() else 0
        if artefact.size is not None and have == artefact.size:
            return True
        if artefact.size is not None and have > artefact.size:
            part.unlink()
            have = 0
        resumed = resumed or have > 0
        try:
            _receive(artefact, url, part, have)
            return resumed
        except _FetchError as error:
            tries += 1
            if not error.again or tries == TRIES:
                raise
            time.sleep(BACKOFF_SECONDS * 2 ** (tries - 1))


def _receive(artefact: Artefact, url: str, part: Path, have: int) -> None:
    """One request: append to `part` from byte `have` on, or anew where the server sends everything."""
    # Compression on the way would make lengths and ranges count other bytes than the file's.
    headers = {"Accept-Encoding": "identity"} | ({"Range": f"bytes={have}-"} if have else {})
    try:
        with requests.get(url, headers=headers, stream=True, timeout=TIMEOUT_SECONDS) as response:
            start = _start(response, part, have)
            total = _total(response, start)
            with (
                part.open("ab" if start else "wb") as stream,
                _meter(artefact.file, start, artefact.size or total) as advance,
            ):
                for chunk in response.iter_content(CHUNK_BYTES):
                    stream.write(chunk)
                    advance(len(chunk))
    except requests.RequestException as error:
        raise _explained(error) from error
    # What requests lets through where a redirect's address is none.
    except ValueError as error:
        raise _FetchError("the server redirects to a malformed address") from error
    got = part.stat().st_size
    expected = artefact.size if total is None else total
    if expected is not None and got < expected:
        raise _FetchError(f"the connection ended after {got} of {expected} bytes", again=True)


def _start(response: requests.Response, part: Path, have: int) -> int:
    """Position in the file of the body's first byte; raises _FetchError for anything but the file."""
    status = response.status_code
    range_sent = response.headers.get("Content-Range", "")
    if status == 416 or (status == 206 and not range_sent.startswith(f"bytes {have}-")):
        part.unlink(missing_ok=True)
        raise _FetchError(f"the server does not continue at byte {have}", again=True)
    if status not in {200, 206}:
        raise _FetchError(f"HTTP status {status}", again=status >= 500 or status == 429)
    if response.headers.get("Content-Type", "").startswith("text/html"):
        raise _FetchError("the server sent a web page instead of the file")
    return have if status == 206 else 0


def _total(response: requests.Response, start: int) -> int | None:
    length = response.headers.get("Content-Length", "")
    return start + int(length) if length.isdecimal() else None


def _explained(error: requests.RequestException) -> _FetchError:
    """A short reason: the text of a connection error names Python objects and fills several lines."""
    if isinstance(error, requests.exceptions.SSLError):
        return _FetchError("the server's certificate is not accepted")
    if isinstance(error, requests.TooManyRedirects):
        return _FetchError("the server redirects in circles")
    if isinstance(error, requests.Timeout):
        return _FetchError("the server did not answer in time", again=True)
    if isinstance(error, requests.exceptions.ChunkedEncodingError):
        return _FetchError("the connection was dropped", again=True)
    if isinstance(error, requests.ConnectionError):
        return _FetchError("the connection to the server failed", again=True)
    return _FetchError(type(error).__name__)


@contextmanager
def _meter(what: str, start: int, total: int | None) -> Iterator[Callable[[int], None]]:
    """Show the bytes so far: a bar on a terminal, otherwise at most one line per PLAIN_SECONDS."""
    if not sys.stdout.isatty():
        yield _plain_meter(what, start, total)
        return
    columns = (
        TextColumn("{task.description}"),
        BarColumn(),
        DownloadColumn(),
        TransferSpeedColumn(),
        TimeRemainingColumn(),
    )
    with Progress(*columns, console=Console()) as progress:
        task = progress.add_task(what, completed=start, total=total)
        yield lambda count: progress.advance(task, count)


def _plain_meter(what: str, start: int, total: int | None) -> Callable[[int], None]:
    done, shown = start, time.monotonic()
    of_total = f" of {total / 1e6:.0f}" if total else ""

    def advance(count: int) -> None:
        nonlocal done, shown
        done += count
        now = time.monotonic()
        if now - shown >= PLAIN_SECONDS:
            shown = now
            say(f"{what}: {done / 1e6:.0f}{of_total} MB")

    return advance
