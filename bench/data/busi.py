"""The BUSI data set: obtained, unpacked safely and verified pixel by pixel (METHOD 8.1-8.3).

Al-Dhabyani et al., "Dataset of breast ultrasound images", Data in Brief 28:104863 (2020): 780 images and 798
masks in three classes. Copies of the archive differ in their bytes (re-packed, PNGs encoded anew) but not in
their pixels, so the manifest holds hashes of pixels.
"""

import csv
import hashlib
import io
import shutil
import stat
import zipfile
import zlib
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path, PurePosixPath
from tempfile import TemporaryDirectory
from typing import IO

from PIL import Image

from bench.artefacts import BUSI
from bench.data.categories import CATEGORIES
from bench.data.decode import UNREADABLE, read_mask, read_rgb
from bench.errors import UserError
from bench.fetch import fetch
from bench.files import replacing_file, replacing_folder
from bench.progress import track

PAGE = "https://scholar.cu.edu.eg/?q=afahmy/pages/dataset"
ARCHIVE = BUSI
MANIFEST = Path(__file__).with_name("busi_manifest.csv")
NAMES_SHOWN = 5
READERS = 4
PNG_OVERHEAD = 1 << 20
BAD_MEMBER = (zipfile.BadZipFile, zlib.error, EOFError, RuntimeError)


@dataclass(frozen=True)
class Entry:
    """What the manifest says of one PNG: width and height in pixels, SHA-256 of its decoded pixels."""

    width: int
    height: int
    sha256: str


@dataclass(frozen=True)
class _Member:
    """One PNG of a source: its declared size in bytes and how to open it."""

    size: int
    open: Callable[[], IO[bytes]]


Faults = dict[str, list[str]]


def obtain(raw: Path, downloads: Path, source: str | None) -> None:
    """Fill the folder `raw` with the verified data set, `<class>/<name>.png`, byte for byte, all or nothing.

    `source` is a zip or an unpacked folder (the value of BUSI_ZIP); folders above the class folders are
    stripped, and files that are no PNGs or that operating systems leave behind are passed over. Without it
    the archive is downloaded to `downloads`. Raises UserError when there is no source and no network, when
    the source is unsafe or unreadable, or when a file is missing, extra, damaged or altered.
    """
    origin = Path(source).expanduser() if source else _download(downloads)
    with _permissions_explained(origin):
        if not origin.exists():
            raise UserError(f"BUSI_ZIP names {origin}, which does not exist - set it to Dataset_BUSI.zip or its folder")
    advice = f"set BUSI_ZIP to a fresh copy from {PAGE}"
    if not source:
        advice = f"delete {origin} and run again, or {advice}"
    with replacing_folder(raw) as temporary, _permissions_explained(origin):
        if origin.is_dir():
            faults = _copy(_folder_members(origin), temporary)
        else:
            faults = _unzip(origin, temporary, advice)
        faults["altered"] = []
        _verify(temporary, faults)
        if any(faults.values()):
            raise UserError(f"{origin} is not the complete BUSI data set: {_listed(faults)} - {advice}")


@contextmanager
def _permissions_explained(origin: Path) -> Iterator[None]:
    """Raise UserError in the place of the block's PermissionError where that is about `origin` or what lies in it."""
    try:
        yield
    except PermissionError as error:
        if not Path(str(error.filename)).is_relative_to(origin):
            raise
        raise UserError(f"{error.filename} may not be read - mend its permissions") from error


def check(downloads: Path, source: str | None) -> None:
    """Obtain the data set as `obtain` does and drop it again, so that only a downloaded archive stays."""
    downloads.mkdir(parents=True, exist_ok=True)
    with TemporaryDirectory(dir=downloads) as temporary:
        obtain(Path(temporary) / "raw", downloads, source)


def manifest() -> dict[str, Entry]:
    """Name (`benign/benign (1).png`) to Entry for the 1,578 PNGs of BUSI, sorted by name."""
    with MANIFEST.open(encoding="utf-8", newline="") as stream:
        return {
            row["name"]: Entry(int(row["width"]), int(row["height"]), row["sha256"]) for row in csv.DictReader(stream)
        }


def write_manifest(folder: Path, path: Path) -> None:
    """Write the manifest of the PNGs at `folder`/<class>/ to the CSV file `path`; how MANIFEST was made."""
    files = {f"{file.parent.name}/{file.name}": file for name in CATEGORIES for file in folder.glob(f"{name}/*.png")}
    with replacing_file(path) as temporary, temporary.open("w", encoding="utf-8", newline="") as stream:
        table = csv.writer(stream, lineterminator="\n")
        table.writerow(("name", "width", "height", "sha256"))
        for name in sorted(files):
            entry = _entry(name, files[name])
            table.writerow((name, entry.width, entry.height, entry.sha256))


def _entry(name: str, path: Path) -> Entry:
    pixels = read_mask(path) if "_mask" in name else read_rgb(path)
    height, width = pixels.shape[:2]
    return Entry(width, height, hashlib.sha256(pixels.tobytes()).hexdigest())


def _download(downloads: Path) -> Path:
    try:
        return fetch(ARCHIVE, downloads)
    except UserError as error:
        raise UserError(f"{error}, or set BUSI_ZIP to your copy of it (official page: {PAGE})") from error


def _unzip(origin: Path, target: Path, advice: str) -> Faults:
    try:
        with zipfile.ZipFile(origin) as archive:
            return _copy(_zip_members(archive, origin), target)
    except zipfile.BadZipFile as error:
        raise UserError(f"{origin} is not an intact zip archive ({error}) - {advice}") from error


def _zip_members(archive: zipfile.ZipFile, origin: Path) -> dict[str, _Member]:
    members: dict[str, _Member] = {}
    for info in archive.infolist():
        _refuse_unsafe(info, origin)
        name = None if info.is_dir() else _name(PurePosixPath(info.filename.replace("\\", "/")))
        if name:
            _add(members, name, _Member(info.file_size, partial(archive.open, info)), origin)
    return members


def _refuse_unsafe(info: zipfile.ZipInfo, origin: Path) -> None:
    path = PurePosixPath(info.filename.replace("\\", "/"))
    drive = bool(path.parts) and path.parts[0].endswith(":")
    link = stat.S_ISLNK(info.external_attr >> 16)
    if path.is_absolute() or ".." in path.parts or drive or link:
        raise UserError(f"{origin} holds the unsafe entry {info.filename!r} - do not use it, take it from {PAGE}")


def _folder_members(origin: Path) -> dict[str, _Member]:
    members: dict[str, _Member] = {}
    for file in sorted(item for item in origin.rglob("*") if item.is_file()):
        name = _name(PurePosixPath(file.relative_to(origin).as_posix()))
        if name:
            _add(members, name, _Member(file.stat().st_size, partial(io.FileIO, file)), origin)
    return members


def _add(members: dict[str, _Member], name: str, member: _Member, origin: Path) -> None:
    if name in members:
        raise UserError(f"{origin} holds two files {name} - remove one copy of the data set")
    members[name] = member


def _name(path: PurePosixPath) -> str | None:
    """The name in the manifest's form: leading folders stripped; None for what is no PNG of the data set."""
    junk = any(part.startswith(".") or part == "__MACOSX" for part in path.parts)
    if junk or path.suffix.lower() != ".png":
        return None
    parts = path.parts[-2:] if len(path.parts) > 1 and path.parts[-2] in CATEGORIES else path.parts
    return "/".join(parts)


def _copy(members: dict[str, _Member], target: Path) -> Faults:
    """Copy the members that the manifest knows into `target`; return what is missing, extra or damaged."""
    known = manifest()
    for folder in CATEGORIES:
        (target / folder).mkdir()
    damaged = []
    for name in track(sorted(known.keys() & members.keys()), "unpacking BUSI"):
        if not _copy_one(members[name], target / name, known[name]):
            damaged.append(name)
    return {
        "missing": sorted(known.keys() - members.keys()),
        "extra": sorted(members.keys() - known.keys()),
        "damaged": damaged,
    }


def _copy_one(member: _Member, path: Path, entry: Entry) -> bool:
    """False when the member is damaged, or larger than any PNG of its width and height can sensibly be."""
    if member.size > 4 * entry.width * entry.height + PNG_OVERHEAD:
        return False
    try:
        with member.open() as stream, path.open("wb") as copy:
            shutil.copyfileobj(stream, copy)
    except BAD_MEMBER:
        path.unlink(missing_ok=True)
        return False
    return True


def _verify(folder: Path, faults: Faults) -> None:
    """Compare the pixels of what was copied with the manifest; adds to `faults`."""
    known = manifest()
    absent = {*faults["missing"], *faults["damaged"]}
    names = [name for name in known if name not in absent]
    with ThreadPoolExecutor(READERS) as readers:
        kinds = readers.map(lambda name: _fault(name, folder / name, known[name]), names)
        for name, kind in zip(names, track(kinds, "verifying BUSI", len(names)), strict=True):
            if kind:
                faults[kind].append(name)


def _fault(name: str, path: Path, entry: Entry) -> str | None:
    try:
        # The header is compared first: a small file may claim to decode to gigabytes.
        with Image.open(path, formats=("PNG",)) as image:
            if image.size != (entry.width, entry.height):
                return "altered"
        return None if _entry(name, path) == entry else "altered"
    except (UserError, *UNREADABLE):
        return "damaged"


def _listed(faults: Faults) -> str:
    kinds = {kind: sorted(names) for kind, names in faults.items() if names}
    each = max(1, NAMES_SHOWN // len(kinds))
    return "; ".join(
        f"{len(names)} {kind} ({', '.join(names[:each])}{', ...' if len(names) > each else ''})"
        for kind, names in kinds.items()
    )
