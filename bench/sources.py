"""Which of the project's modules a module needs, found by reading its imports (nothing is imported)."""

import ast
import hashlib
import sys
from contextlib import suppress
from functools import cache
from importlib.abc import MetaPathFinder
from pathlib import Path

from bench.errors import UserError

ROOT = Path(__file__).resolve().parents[1]
PACKAGES = ("bench", "baselines")
# Modules that carry a result without deciding it, so that editing them makes nothing stale; and why.
HARNESS = {
    "baselines": "a package without code",
    "bench": "a package without code",
    "bench.artefacts": "reads hashes, which count in the keys of what they decide",
    "bench.data": "a package without code",
    "bench.stages": "a package without code",
    "bench.engine": "where items run, not what they do",
    "bench.errors": "one exception",
    "bench.fetch": "what it brings is verified by hash",
    "bench.files": "writing all or nothing",
    "bench.methods": "finds the methods, whose sources count",
    "bench.paths": "places",
    "bench.pool": "where images are worked on, not how",
    "bench.precision": "its answer is part of an item's settings",
    "bench.process_engine": "as bench.engine",
    "bench.progress": "prints",
    "bench.ray_engine": "as bench.engine",
    "bench.ray_worker": "as bench.engine",
    "bench.schema": "checks values, which count themselves",
    "bench.seeds": "names runs",
    "bench.settings": "reads values, which count themselves",
    "bench.sources": "part of an item's key",
    "bench.store": "keeps items by key",
    "bench.weights": "the place of checkpoints, which are verified by hash",
}


def _found() -> dict[Path, bytes]:
    """The sources as they are now. What editors put beside them may be gone again, or be a link to nothing."""
    sources = {}
    for file in sorted(file for package in PACKAGES for file in (ROOT / package).rglob("*.py")):
        with suppress(FileNotFoundError):
            sources[file] = file.read_bytes()
    return sources


# The sources as this process found them. Keys name these, and no others are imported, whatever is edited meanwhile.
BEGAN_WITH = _found()
EDITED = "was edited since this command began, so no key says what it makes - give the command again"


class EditedError(UserError, ImportError):
    """A module was edited since this process began.

    An ImportError, because a process that others are forked from passes over these: the item that needs it says so.
    """


class _AsBegun(MetaPathFinder):
    """Lets a module be imported that is as this process found it; EditedError for one that was edited since."""

    def find_spec(self, fullname: str, path: object, target: object = None) -> None:
        file = source_file(fullname)
        if fullname not in HARNESS and file in BEGAN_WITH and file.read_bytes() != BEGAN_WITH[file]:
            raise EditedError(f"{fullname} {EDITED}")


sys.meta_path.insert(0, _AsBegun())


def source_file(module: str) -> Path | None:
    """The file of a project module, or None for modules of other projects."""
    if module.split(".", maxsplit=1)[0] not in PACKAGES:
        return None
    return next(filter(Path.is_file, _places(module)), None)


def _places(module: str) -> tuple[Path, Path]:
    base = ROOT.joinpath(*module.split("."))
    return base / "__init__.py", base.with_suffix(".py")


@cache
def imports(module: str) -> frozenset[str]:
    """Project modules that `module` imports anywhere in its text, the packages they lie in included."""
    names: set[str] = set()
    for node in ast.walk(ast.parse(_source(module))):
        if isinstance(node, ast.Import):
            names.update(alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and node.module:
            names.add(node.module)
            names.update(f"{node.module}.{alias.name}" for alias in node.names)
    parents = {name.rsplit(".", depth)[0] for name in names for depth in range(1, name.count(".") + 1)}
    return frozenset(name for name in names | parents if source_file(name))


def closure(*modules: str) -> list[str]:
    """`modules` and every project module they need, directly or not, sorted."""
    found: set[str] = set()
    waiting = list(modules)
    while waiting:
        module = waiting.pop()
        if module not in found:
            found.add(module)
            waiting.extend(imports(module))
    return sorted(found)


def source_digest(*modules: str) -> str:
    """SHA-256 over the sources, as this process began with them, of the closure of `modules`, HARNESS left out."""
    total = hashlib.sha256()
    for module in (name for name in closure(*modules) if name not in HARNESS):
        total.update(f"{module}\0{hashlib.sha256(_source(module)).hexdigest()}\n".encode())
    return total.hexdigest()


def digest_of_all() -> str:
    """SHA-256 over all sources but HARNESS, as this process began with them: others that began after an edit differ."""
    total = hashlib.sha256()
    harness = {source_file(module) for module in HARNESS}
    for file in sorted(BEGAN_WITH.keys() - harness):
        total.update(f"{file}\0{hashlib.sha256(BEGAN_WITH[file]).hexdigest()}\n".encode())
    return total.hexdigest()


def _source(module: str) -> bytes:
    """A module's source as this process found it, or as it is where the module is new."""
    for file in _places(module):
        if file in BEGAN_WITH:
            return BEGAN_WITH[file]
    found = source_file(module)
    assert found is not None, module
    return found.read_bytes()
