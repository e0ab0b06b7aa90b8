"""A project of its own, the package `toy`, and items of it, for the tests of the run store and of sources."""

from pathlib import Path
from typing import Any

from bench.schema import Engine
from bench.store import Item

INLINE = Engine(kind="inline", device="cpu", threads=1, gpus_per_item=1.0, checkpoint_seconds=0.0)
WORK = '''
"""Toy work."""
from pathlib import Path

from toy.helpers.low import LOW


def run(settings, inputs, out):
    import toy.late

    with inputs["counter"].parent.joinpath("counter").open("a") as file:
        file.write(settings["name"] + "\\n")
    (out / "half").write_text("")
    if settings.get("error"):
        raise {"ValueError": ValueError, "KeyboardInterrupt": KeyboardInterrupt}[settings["error"]]
    (out / "result").write_text(settings["name"])
'''
TREE = {
    "toy/__init__.py": "",
    "toy/work.py": WORK,
    "toy/late.py": "VALUE = 1\n",
    "toy/method.py": "VALUE = 1\n",
    "toy/unrelated.py": "VALUE = 1\n",
    "toy/helpers/__init__.py": "",
    "toy/helpers/low.py": "import json\nfrom toy.helpers import deep\n\nLOW = 1\n",
    "toy/helpers/deep.py": "from numpy import array\n",
}


def item(root: Path, name: str = "a", modules: tuple[str, ...] = (), **settings: Any) -> Item:
    data = root / "data"
    data.mkdir(exist_ok=True)
    (data / "input").write_text("content") if not (data / "input").exists() else None
    return Item(f"item {name}", "toy.work:run", {"name": name, **settings}, {"counter": data / "input"}, modules)


def runs(root: Path) -> list[str]:
    file = root / "data" / "counter"
    return file.read_text().split() if file.exists() else []


def names(folder: Path) -> list[str]:
    return sorted(file.name for file in folder.iterdir()) if folder.exists() else []


def rewrite(tree: Path, body: str) -> None:
    """Give the toy work another body."""
    lines = "".join(f"    {line}\n" for line in body.splitlines())
    (tree / "toy" / "work.py").write_text(f"from bench.store import *\n\ndef run(settings, inputs, out):\n{lines}")
