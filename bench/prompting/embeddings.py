"""Image embeddings kept on disk, so that other boxes on the same images cost only the mask decoder."""

import fcntl
import hashlib
import importlib.metadata
import json
import os
import shutil
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from math import prod
from pathlib import Path

import numpy as np
import numpy.typing as npt
import torch

from bench.files import digest, read_json, refusals_explained, replacing_file
from bench.progress import say
from bench.runtime import Context
from bench.sources import source_digest

# Of all networks' embeddings together: three times the 647 tumours of BUSI, at 2 MiB an image.
LIMIT = 4 * 2**30
PACK, INDEX, LOCK = "embeddings.f16", "index.json", "lock"
# Beside the checkpoint, what decides an embedding's last bits.
PACKAGES = ("pillow", "segment-anything", "torch", "torchvision")


def network_key(checkpoint: Path, where: Context) -> str:
    """SHA-256 (hex) of all that decides an image's embedding, the image left out."""
    made_by = {
        "checkpoint": digest(checkpoint),
        "precision": "bf16" if where.bf16 else "fp32",
        "device": where.device.type,
        "threads": torch.get_num_threads(),
        "sources": source_digest("bench.prompting.sam"),
        "packages": {package: importlib.metadata.version(package) for package in PACKAGES},
    }
    return hashlib.sha256(json.dumps(made_by, sort_keys=True).encode()).hexdigest()


class Embeddings:
    """The embeddings of one network: float16 rows in one packed file, found by the content of their image.

    folder: of all networks' embeddings, in which `key` names this one's. shape: (C, h, w) of one embedding.

    A row is written before the index names it, and the index is replaced as a whole, so a crash loses at most the rows
    that no index names; the next writer overwrites them. Several processes may share the folder, of one network or of
    several: who reads or writes holds the folder's lock, so no file goes or changes its order meanwhile.
    """

    def __init__(self, folder: Path, key: str, shape: tuple[int, int, int]) -> None:
        self._folder = folder / key
        self._shape = shape
        self._row_bytes = prod(shape) * np.dtype(np.float16).itemsize
        self._folder.mkdir(parents=True, exist_ok=True)
        with self._locked(fcntl.LOCK_SH):
            self._read_index()  # so that others' files make room first

    def through(
        self,
        images: Sequence[npt.NDArray[np.uint8]],
        embed: Callable[[Sequence[npt.NDArray[np.uint8]]], torch.Tensor],
    ) -> torch.Tensor:
        """Embeddings, float32 (B, C, h, w), of `images`: read where they are kept, else made by `embed` and kept.

        Both kinds are rounded to float16, so that it does not matter which ones were there.
        """
        names = [hashlib.sha256(repr(image.shape).encode() + image.tobytes()).hexdigest() for image in images]
        with self._locked(fcntl.LOCK_SH):
            index = self._read_index()
            rows = {name: self._read(index[name]) for name in names if name in index}
        missing = {name: image for name, image in zip(names, images, strict=True) if name not in rows}
        if missing:
            made = dict(zip(missing, embed(list(missing.values())).half().cpu().numpy(), strict=True))
            self._append(made)
            rows |= made
        return torch.from_numpy(np.stack([rows[name] for name in names])).float()

    @contextmanager
    def _locked(self, how: int) -> Iterator[None]:
        file = self._folder.parent / LOCK
        with refusals_explained(file):
            # Over NFS a shared lock needs a file that is open for reading, an exclusive one for writing.
            lock = file.open("a+")
        with lock:
            fcntl.flock(lock, how)
            yield

    def _read(self, row: int) -> npt.NDArray[np.float16]:
        flat = np.fromfile(self._folder / PACK, np.float16, prod(self._shape), offset=row * self._row_bytes)
        return flat.reshape(self._shape)

    def _read_index(self) -> dict[str, int]:
        """Row by image. Rows that the packed file lacks, because it was removed or cut, are not listed."""
        index, pack = self._folder / INDEX, self._folder / PACK
        if not index.is_file() or not pack.is_file():
            return {}
        os.utime(pack)  # in use: the last to make room
        complete = pack.stat().st_size // self._row_bytes
        return {name: row for row, name in enumerate(read_json(index)[:complete])}

    def _append(self, made: dict[str, npt.NDArray[np.float16]]) -> None:
        with self._locked(fcntl.LOCK_EX):
            index = self._read_index()  # another process may have written meanwhile
            new = {name: row for name, row in made.items() if name not in index}
            if not self._make_room(len(new) * self._row_bytes):
                return
            pack = self._folder / PACK
            with replacing_file(self._folder / INDEX) as file:
                pack.touch()
                with pack.open("r+b") as stream:
                    stream.seek(len(index) * self._row_bytes)
                    for row in new.values():
                        stream.write(row.tobytes())
                    stream.truncate()
                    os.fsync(stream.fileno())
                file.write_text(json.dumps([*index, *new]), encoding="utf-8")

    def _make_room(self, size: int) -> bool:
        """Whether `size` more bytes fit below LIMIT, after other networks' files went, the longest unused first."""
        packs = {file: file.stat() for file in self._folder.parent.glob(f"*/{PACK}")}
        total = sum(pack.st_size for pack in packs.values()) + size
        own = packs.get(self._folder / PACK)
        if size + (own.st_size if own else 0) > LIMIT:
            return False
        for file in sorted(packs, key=lambda file: packs[file].st_mtime):
            if total > LIMIT and file.parent != self._folder:
                say(f"embeddings of another network make room: {file.parent} is removed")
                shutil.rmtree(file.parent)
                total -= packs[file].st_size
        return True
