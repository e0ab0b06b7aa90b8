"""Items on Ray, on a local instance or on the cluster that RAY_ADDRESS names. Imported only where it is used.

Ray schedules, keeps workers warm and runs the items of lost workers and nodes again; bench.ray_worker says what such a
worker does. The project's code travels along, so that a node needs nothing but the libraries.
"""

import importlib
import logging
import os
import re
import shutil
import socket
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import replace
from pathlib import Path
from typing import Any

import ray
from ray.exceptions import NodeDiedError, OutOfMemoryError, RayError, RayTaskError, WorkerCrashedError
from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy

from bench import sources
from bench.engine import Work, on_gpu
from bench.errors import UserError
from bench.files import refusals_explained, replacing_folder
from bench.progress import say
from bench.ray_worker import Home, Job, Packed, identity, package_versions, run_item, unpack
from bench.schema import Engine
from bench.store import WAITING, Item, Store
from bench.weights import weights_folder

# How often an item is run again after its worker or node was lost; counted anew when another process had it meanwhile.
RETRIES = 3
# After so long items that another process had are asked for again.
AGAIN_SECONDS = 1.0
LOST = (WorkerCrashedError, NodeDiedError, OutOfMemoryError)
# What Ray was given: what to call the item in progress, the item and its key by reference.
Pending = dict[Any, tuple[str, Item, str]]
COLOURS = "\x1b\\[[0-9;]*m"
CONNECT_SECONDS = 10.0
# Ray's sockets lie some 75 characters below its folder, and Linux takes 107.
LONGEST_TEMP = 30


def run(work: Work, store: Store, engine: Engine) -> None:
    """Compute all of `work` into `store`, as many items at once as there is room for.

    An item that raises ends the run with its own error; items that finished stay in the store, the others are
    cancelled and keep their checkpoints. UserError: no such cluster, or an item whose worker is lost again and again.
    """
    with refusals_explained(store.root):
        store.root.mkdir(parents=True, exist_ok=True)
    with _connected(engine):
        if lacks := too_large(work, engine, ray.nodes()):  # type: ignore[no-untyped-call]
            if not os.environ.get("RAY_ADDRESS"):
                raise UserError(f"{lacks}, and this machine gets no other - lower it, or set engine.device: cpu")
            say(f"{lacks}: waiting for such a node")
        job = _job(store)
        # One function for all items: Ray hands a warm worker from an item to the next only where it is the same.
        task = ray.remote(run_item)

        def submitted(item: Item, key: str) -> Any:
            abroad = replace(item, inputs={name: path.absolute() for name, path in item.inputs.items()})
            run_one = task.options(name=item.name, max_retries=RETRIES, **resources(item, engine))
            return run_one.remote(job, abroad, key)

        pending = {
            submitted(item, key): (f"[{position}/{len(work)}] {item.name}", item, key)
            for position, (item, key) in enumerate(work, 1)
        }
        _collect(pending, submitted, job)


def _job(store: Store) -> Job:
    store, here = Store(store.root.absolute(), store.checkpoint_seconds), ray.get_runtime_context().get_node_id()
    home = None
    if os.environ.get("RAY_ADDRESS"):
        strategy = NodeAffinitySchedulingStrategy(here, soft=False)
        home = ray.remote(Home).options(num_cpus=0, scheduling_strategy=strategy).remote(store)
    return Job(home, Path.cwd(), here, store, identity(store.root), package_versions(), weights_folder().absolute())


def resources(item: Item, engine: Engine) -> dict[str, float]:
    """What an item takes of a node, as Ray's options; on a GPU its share and one core, which feeds the GPU."""
    if on_gpu(item):
        return {"num_cpus": 1, "num_gpus": engine.gpus_per_item}
    return {"num_cpus": engine.threads}


def too_large(work: Work, engine: Engine, nodes: Sequence[Mapping[str, Any]]) -> str:
    """What to say where an item takes more of something than any node has, else ""; nodes as ray.nodes() gives them."""
    for what, option, resource, setting in (
        ("cores", "num_cpus", "CPU", "engine.threads"),
        ("GPUs", "num_gpus", "GPU", "engine.gpus_per_item"),
    ):
        needed = max(resources(item, engine).get(option, 0.0) for item, _ in work)
        largest = max((node["Resources"].get(resource, 0.0) for node in nodes if node["Alive"]), default=0.0)
        if needed > largest:
            return f"no node has the {needed:g} {what} that an item takes ({setting}), the largest has {largest:g}"
    return ""


def _collect(pending: Pending, submitted: Callable[[Item, str], Any], job: Job) -> None:
    """Take results as they come. After a failure only what has ended by then; the first failure is raised.

    submitted(item, key) gives an item to Ray once more. What another process has rests until then and takes no cores,
    which that process may need.
    """
    failure: BaseException | None = None
    resting: list[tuple[str, Item, str]] = []
    again, named = 0.0, set[str]()
    while pending or resting:
        if resting and not failure and time.monotonic() >= again:
            pending |= {submitted(item, key): (place, item, key) for place, item, key in resting}
            resting.clear()
        ended = _ended(pending, 0.0 if failure else max(again - time.monotonic(), 0.0) if resting else None)
        if not ended:
            if failure:
                break
            continue
        place, item, key = pending.pop(ended[0])
        try:
            answer = ray.get(ended[0])
        except RayError as error:
            failure = failure or _explained(error, item)
            result, outcome = None, "failed"
        else:
            if answer is None:
                if not (failure or key in named):
                    say(f"{place}: {WAITING}")
                named.add(key)
                again = again if resting else time.monotonic() + AGAIN_SECONDS
                resting.append((place, item, key))
                continue
            seconds, result = answer
            outcome = f"done in {seconds:.0f} s"
        if result is not None:
            _add(result, job.store, key)
        if job.home:
            with suppress(RayError):  # a home that was lost holds nothing
                ray.get(job.home.free.remote(key))
        say(f"{place}: {outcome}")
    if failure:
        raise failure


def _ended(pending: Pending, seconds: float | None) -> list[Any]:
    """One of `pending` that has ended or ends within `seconds` (None: however long it takes), in a list; else []."""
    if not pending:
        time.sleep(seconds or 0)
        return []
    ended: list[Any] = ray.wait(list(pending), timeout=seconds, fetch_local=False)[0]
    return ended


def _add(result: Packed, store: Store, key: str) -> None:
    """Put a result that came from another node into the store; the home holds its lock."""
    if not store.find(key):
        with replacing_folder(store.root / key) as out:
            unpack(result, out)
    shutil.rmtree(store.partial(key), ignore_errors=True)


def _explained(error: RayError, item: Item) -> BaseException:
    """What became of an item: its own error, with its remote traceback as a note, or the loss of its worker."""
    if isinstance(error, LOST):
        reason = " ".join(str(error).split())
        fewer = "a larger engine.gpus_per_item" if on_gpu(item) else "engine.kind: inline"
        return UserError(
            f"{item.name}: its process was lost {RETRIES + 1} times, perhaps for want of memory - run again to go on"
            f" from its last checkpoint, with fewer items at once ({fewer}). Ray says: {reason}"
        )
    # An error that cannot be made again here arrives as one of Ray's that holds its text.
    cause: BaseException = error.cause if isinstance(error, RayTaskError) else error
    cause.add_note(f"{item.name}, on a Ray worker:\n{re.sub(COLOURS, '', str(error))}")
    return cause


@contextmanager
def _connected(engine: Engine) -> Iterator[None]:
    """Ray for the length of the block: the cluster at RAY_ADDRESS, or an instance of our own that leaves nothing."""
    address = os.environ.get("RAY_ADDRESS")
    if address:
        _check(address)
    top = tempfile.gettempdir()
    # mkdtemp makes a folder of a new name that only this user may read, wherever it lies.
    folder = Path(tempfile.mkdtemp(prefix="ray-", dir=top if len(top) <= LONGEST_TEMP else "/tmp"))  # noqa: S108
    try:
        where: Mapping[str, Any] = {"address": address} if address else _local(folder, engine)
        code = _code(folder / "code")
        try:
            ray.init(**where, runtime_env={"working_dir": str(code)}, logging_level=logging.WARNING)
        except Exception as error:  # Ray has no error of its own for this
            reason = " ".join(str(error).split())
            raise UserError(f"no Ray {f'cluster at {address}' if address else 'here'}: {reason}") from error
        say(f"Ray: {f'cluster at {address}' if address else 'this machine'}, {_size()}")
        yield
    finally:
        ray.shutdown()
        shutil.rmtree(folder, ignore_errors=True)


def _check(address: str) -> None:
    """Raise UserError where no cluster answers at once; Ray itself would go on trying for a quarter of an hour."""
    if "://" in address:
        raise UserError(f"RAY_ADDRESS is {address} - give <host>:<port> of the cluster's head, on one of its nodes")
    if address == "auto":
        return
    host, _, port = address.rpartition(":")
    try:
        socket.create_connection((host.strip("[]"), int(port)), CONNECT_SECONDS).close()
    except (OSError, ValueError) as error:
        raise UserError(f"no Ray cluster at {address} ({error}) - start it, or unset RAY_ADDRESS") from error


def _local(folder: Path, engine: Engine) -> dict[str, Any]:
    """Options of a local instance with the cores that this process may use, and room for one item at least."""
    return {
        "address": "local",
        "num_cpus": max(len(os.sched_getaffinity(0)), engine.threads),
        "include_dashboard": False,
        "_temp_dir": str(folder),
        # Without a limit Ray repeats an item for ever that needs more memory than there is.
        "_system_config": {"task_oom_retries": RETRIES},
    }


def _code(folder: Path) -> Path:
    """Copy the project's code to `folder`, which the workers get as working folder and import from before all else.

    The sources are those that the items' keys name, whatever was edited since.
    """
    left = shutil.ignore_patterns("__pycache__", ".*")
    for package in sources.PACKAGES:
        for place in importlib.import_module(package).__path__:
            shutil.copytree(place, folder / package, ignore=left, dirs_exist_ok=True)
    for file, source in sources.BEGAN_WITH.items():
        copy = folder / file.relative_to(sources.ROOT)
        copy.parent.mkdir(parents=True, exist_ok=True)
        copy.write_bytes(source)
    return folder


def _size() -> str:
    total: dict[str, float] = ray.cluster_resources()  # type: ignore[no-untyped-call]
    return f"{total.get('CPU', 0):.0f} cores, {total.get('GPU', 0):.0f} GPUs"
