"""What runs on the nodes of a Ray cluster: an item, and the actor through which it reaches the project's folder.

The project's folder is that of the machine where the command was given, its home. An item that runs there uses inputs
and store as they are. Elsewhere nothing of it is assumed to be within reach: inputs come from the home's actor, once
for a node, checkpoints go back to it while the item computes, and the result goes back when it has ended. Meanwhile
the home holds the item's lock, so that no other process computes it or takes its checkpoints for leftovers.
"""

import importlib.metadata
import os
import socket
import tempfile
import threading
import time
from collections.abc import Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import ray
from numpy.typing import NDArray
from ray.exceptions import RayError, RayTaskError

from bench.errors import UserError
from bench.files import digest, discard, replacing_file
from bench.progress import say
from bench.store import CHECKPOINTS, OUT, PACKAGES, HeldError, Item, Store

# Files by relative name, uint8 (n,); a folder's name leads to None.
Packed = dict[str, NDArray[np.uint8] | None]
# Number and time of files by relative name: what tells a newer one.
State = dict[str, tuple[int, int]]
PAUSE_SECONDS = 1.0
# Sending checkpoints takes at most this share of an item's time.
PUSH_SHARE = 0.1
# After one that the home could not take.
REFUSED_SECONDS = 30.0
UNUSED_SECONDS = 7 * 24 * 3600.0


def pack(path: Path) -> Packed:
    """A file (under the name "") or the content of a folder, mapped from the disk rather than read."""
    if path.is_file():
        return {"": _mapped(path)}
    found = {file.relative_to(path).as_posix(): file for file in sorted(path.rglob("*"))}
    return {name: None if file.is_dir() else _mapped(file) for name, file in found.items()}


def _mapped(file: Path) -> NDArray[np.uint8]:
    # An empty file cannot be mapped. Ray copies plain arrays straight into shared memory, other kinds by pickling.
    return np.asarray(np.memmap(file, np.uint8, "r")) if file.stat().st_size else np.empty(0, np.uint8)


def unpack(packed: Packed, path: Path) -> None:
    """Write what `pack` gave to `path`; a folder may be there already."""
    if "" not in packed:
        path.mkdir(parents=True, exist_ok=True)
    for name, content in packed.items():
        place = path / name if name else path
        folder = place if content is None else place.parent
        folder.mkdir(parents=True, exist_ok=True)
        if content is not None:
            content.tofile(place)


def package_versions() -> dict[str, str]:
    """Installed versions of the libraries that decide a result's last bits; "" for one that is missing."""
    versions = {}
    for package in PACKAGES:
        try:
            versions[package] = importlib.metadata.version(package)
        except importlib.metadata.PackageNotFoundError:
            versions[package] = ""
    return versions


def check_versions(expected: Mapping[str, str]) -> None:
    """Raise a UserError that names this node and the libraries whose version is not the expected one."""
    found = package_versions()
    wrong = [
        f"{package} {found[package] or 'missing'} ({version} needed)"
        for package, version in expected.items()
        if found[package] != version
    ]
    if wrong:
        raise UserError(
            f"node {socket.gethostname()} has other libraries than the machine of this command: {', '.join(wrong)}"
            " - install requirements/run.txt there"
        )


class Home:
    """The project's folder as seen from other nodes: an actor on the machine where the command was given.

    store: the run store, its root an absolute path. Paths in calls are absolute paths on this machine.
    """

    def __init__(self, store: Store) -> None:
        self._store = store
        self._digests: dict[Path, str] = {}
        self._packed: dict[str, ray.ObjectRef[Packed]] = {}
        self._held: dict[str, ExitStack] = {}

    def take(self, key: str) -> bool:
        """Hold the lock of an item for this run until `free`; False while a process outside it does."""
        if key not in self._held:
            held = ExitStack()
            try:
                held.enter_context(self._store.lock(key, wait=False))
            except HeldError:
                return False
            self._held[key] = held
        return True

    def free(self, key: str) -> None:
        """Give up the lock of an item, where it is held."""
        if held := self._held.pop(key, None):
            held.close()

    def has(self, key: str) -> bool:
        """Whether the item is finished."""
        return self._store.find(key) is not None

    def digest(self, path: Path) -> str:
        """SHA-256 of an input. Raises UserError when it is missing."""
        if path not in self._digests:
            self._digests[path] = digest(path)
        return self._digests[path]

    def packed(self, path: Path) -> list["ray.ObjectRef[Packed]"]:
        """An input in the object store, as a list of one so that Ray hands over the reference and not the content."""
        content = self.digest(path)
        if content not in self._packed:
            self._packed[content] = ray.put(pack(path))
        return [self._packed[content]]

    def unfinished(self, key: str) -> Packed:
        """What the store holds of an unfinished item: its record and checkpoints."""
        partial = self._store.partial(key)
        return {name: _mapped(partial / name) for name in _state(partial)}

    def keep(self, key: str, files: Packed) -> None:
        """Take a newer `unfinished` of an item that is held; checkpoints that are no longer among it go."""
        if key not in self._held or self._store.find(key):
            return  # sent by a node that was thought lost
        partial = self._store.partial(key)
        for name, content in files.items():
            assert content is not None
            with replacing_file(partial / name) as temporary:
                content.tofile(temporary)
        for name in set(_state(partial)) - set(files):
            (partial / name).unlink()


@dataclass(frozen=True)
class Job:
    """What an item must know about its home.

    home: the actor's handle, None where all workers are at home. folder: where the command was given, an absolute
    path. node: Ray's id of the home's node. store: the run store, its root an absolute path. identity: device and
    number of the store's folder. versions: of the home's libraries. weights: its weights folder.
    """

    home: Any
    folder: Path
    node: str
    store: Store
    identity: tuple[int, int]
    versions: Mapping[str, str]
    weights: Path

    def is_here(self) -> bool:
        """Whether this process sees the project's folder: same node of Ray, and the same store at the same path."""
        if ray.get_runtime_context().get_node_id() != self.node:
            return False
        with suppress(OSError):
            return identity(self.store.root) == self.identity
        return False


def identity(folder: Path) -> tuple[int, int]:
    """What tells a folder from every other of this machine, whatever it is called."""
    status = folder.stat()
    return status.st_dev, status.st_ino


def run_item(job: Job, item: Item, key: str) -> tuple[float, Packed | None] | None:
    """Compute one item; seconds, and its result where it does not lie in the home's store already.

    None, at once, where another process has the item: that process may need the cores that waiting would take.
    """
    start = time.monotonic()
    check_versions(job.versions)
    if job.is_here():
        os.environ["BUSBENCH_WEIGHTS"] = str(job.weights)
        os.chdir(job.folder)  # what an item keeps for others has a relative place
        if job.home:
            _answer(job.home.free.remote(key))  # held for a node that was lost
        try:
            job.store.compute(item, key, wait=False)
        except HeldError:
            return None
        return time.monotonic() - start, None
    if not _answer(job.home.take.remote(key)):
        return None
    if _answer(job.home.has.remote(key)):
        return time.monotonic() - start, None
    cache = _cache()
    (cache / "weights").mkdir(exist_ok=True)
    os.utime(cache / "weights")
    os.environ.setdefault("BUSBENCH_WEIGHTS", str(cache / "weights"))
    inputs = {name: _brought(job.home, path, cache) for name, path in item.inputs.items()}
    with tempfile.TemporaryDirectory(dir=cache) as scratch:
        store = Store(Path(scratch), job.store.checkpoint_seconds)
        unpack(_answer(job.home.unfinished.remote(key)), store.partial(key))
        with _pushed(job.home, key, store.partial(key)):
            try:
                folder = store.compute(replace(item, inputs=inputs), key)
            except UserError as error:
                raise UserError(f"{error} (on node {socket.gethostname()})") from error
        # The mapped files stay readable after the folder has gone.
        return time.monotonic() - start, pack(folder)


def _answer(reference: Any) -> Any:
    """The result of a call of the home; a UserError there is one here."""
    # While the main thread of a worker waits, Ray lends its cores to a further item; another thread may wait.
    with ThreadPoolExecutor(1) as thread:
        try:
            return thread.submit(ray.get, reference).result()
        except RayTaskError as error:
            raise error.cause from error


def _cache() -> Path:
    """This user's folder for inputs on this node; what lay unused for a week goes."""
    folder = Path(tempfile.gettempdir()) / f"busbench-{os.getuid()}"
    folder.mkdir(mode=0o700, exist_ok=True)
    if folder.stat().st_uid != os.getuid():
        raise UserError(f"{folder} belongs to another user - set TMPDIR for the Ray node")
    for place in folder.iterdir():
        with suppress(OSError):
            if time.time() - place.stat().st_mtime > UNUSED_SECONDS:
                discard(place)
    return folder


def _brought(home: Any, path: Path, cache: Path) -> Path:
    """The input in this node's cache, brought there first when it is missing; all workers of the node share it."""
    content = _answer(home.digest.remote(path))
    place = cache / f"{content}-{path.name}"
    if not place.exists():
        (reference,) = _answer(home.packed.remote(path))
        with tempfile.TemporaryDirectory(dir=cache) as scratch:
            temporary = Path(scratch) / path.name
            unpack(_answer(reference), temporary)
            if digest(temporary) != content:
                raise UserError(f"{path} changed while it was in use - run again")
            try:
                temporary.rename(place)
            except OSError:
                if not place.exists():  # else another worker was faster
                    raise
    os.utime(place)
    return place


@contextmanager
def _pushed(home: Any, key: str, partial: Path) -> Iterator[None]:
    """While the block computes in the folder `partial`, send new checkpoints home, in a thread of its own."""
    end = threading.Event()
    there = _state(partial / CHECKPOINTS)
    thread = threading.Thread(target=_push, args=(home, key, partial, there, end), daemon=True)
    thread.start()
    try:
        yield
    finally:
        end.set()
        thread.join()


def _push(home: Any, key: str, partial: Path, sent: State, end: threading.Event) -> None:
    pause = PAUSE_SECONDS
    while not end.wait(pause):
        start = time.monotonic()
        try:
            state = _state(partial / CHECKPOINTS)
            if state != sent:
                ray.get(home.keep.remote(key, {name: _mapped(partial / name) for name in _state(partial)}))
                sent = state
        except FileNotFoundError:
            continue  # replaced or renamed between looking and reading
        except RayTaskError as error:
            say(f"a checkpoint could not be kept: {error.cause}")
            pause = REFUSED_SECONDS
            continue
        except RayError as error:
            say(f"checkpoints are no longer sent: {error}")
            return
        pause = max(PAUSE_SECONDS, (time.monotonic() - start) * (1 / PUSH_SHARE - 1))


def _state(folder: Path) -> State:
    """The State of an unfinished item's files, but for its results to be and files still being written."""
    state: State = {}
    for file in sorted(folder.rglob("*")):
        name = file.relative_to(folder)
        if file.is_file() and not file.name.startswith(".") and name.parts[0] != OUT:
            status = file.stat()
            state[name.as_posix()] = (status.st_ino, status.st_mtime_ns)
    return state
