"""BUSI obtained, unpacked and verified: a tiny made-up data set with its own manifest, and the real one."""

import errno
import io
import os
import re
import shutil
import stat
import zipfile
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from bench import fetch as fetch_module
from bench.data import busi
from bench.data.categories import CATEGORIES
from bench.errors import UserError
from tests.http_server import LocalServer

IMAGES = ("benign/benign (1)", "benign/benign (2)", "malignant/malignant (1)", "normal/normal (1)")


@pytest.fixture
def folder(tmp_path, monkeypatch):
    """A folder with four images and five masks of several modes, and the manifest patched to match."""
    root = tmp_path / "Dataset_BUSI_with_GT"
    random = np.random.default_rng(0)
    for name in CATEGORIES:
        (root / name).mkdir(parents=True)
    for index, name in enumerate(IMAGES):
        shape = (12 + index, 17)
        Image.fromarray(random.integers(0, 256, (*shape, 3), np.uint8)).save(root / f"{name}.png")
        mask = Image.fromarray(random.random(shape) > 0.5)
        mask.convert(("1", "L", "RGB", "P")[index]).save(root / f"{name}_mask.png")
    Image.new("RGBA", (17, 12), (255, 255, 255, 255)).save(root / "benign/benign (1)_mask_1.png")
    monkeypatch.setattr(busi, "MANIFEST", tmp_path / "manifest.csv")
    busi.write_manifest(root, busi.MANIFEST)
    return root


def zipped(folder: Path, leading: str = "Dataset_BUSI_with_GT/") -> Path:
    path = folder.parent / "busi.zip"
    with zipfile.ZipFile(path, "w") as archive:
        for file in sorted(folder.rglob("*.png")):
            archive.write(file, leading + file.relative_to(folder).as_posix())
    return path


def add(path: Path, name: str, content: bytes = b"x", mode: int = 0) -> Path:
    with zipfile.ZipFile(path, "a") as archive:
        info = zipfile.ZipInfo(name)
        info.external_attr = mode << 16
        archive.writestr(info, content)
    return path


def refused(source: Path | str | None, folder: Path) -> str:
    """The message of the refusal; nothing is left at the target or beside it."""
    with pytest.raises(UserError) as caught:
        busi.obtain(folder.parent / "out" / "raw", folder.parent / "downloads", str(source) if source else None)
    out = folder.parent / "out"
    assert not out.exists() or list(out.iterdir()) == []
    assert "\n" not in str(caught.value)
    return str(caught.value)


def contents(root: Path) -> dict[str, bytes]:
    return {file.relative_to(root).as_posix(): file.read_bytes() for file in root.rglob("*") if file.is_file()}


@pytest.mark.parametrize("leading", ["", "Dataset_BUSI_with_GT/", "a/b/", "a\\"])
def test_a_zip_is_copied_byte_for_byte(folder, tmp_path, leading):
    busi.obtain(tmp_path / "raw", tmp_path / "downloads", str(zipped(folder, leading)))
    assert contents(tmp_path / "raw") == contents(folder)


@pytest.mark.parametrize("below", [".", ".."])
def test_a_folder_is_copied_byte_for_byte(folder, tmp_path, below):
    expected = contents(folder)
    busi.obtain(tmp_path / "raw", tmp_path / "downloads", str(folder / below))
    assert contents(tmp_path / "raw") == expected


def test_the_archive_is_downloaded_without_a_source(folder, tmp_path, monkeypatch):
    with LocalServer({"/busi.zip": zipped(folder).read_bytes()}) as server:
        monkeypatch.setattr(busi, "ARCHIVE", replace(busi.ARCHIVE, urls=(server.url("/busi.zip"),)))
        busi.obtain(tmp_path / "raw", tmp_path / "downloads", None)
        busi.obtain(tmp_path / "raw", tmp_path / "downloads", "")
    assert contents(tmp_path / "raw") == contents(folder)
    assert server.count["/busi.zip"] == 1


def test_a_bad_download_is_to_be_deleted(folder, tmp_path):
    (tmp_path / "downloads").mkdir()
    (tmp_path / "downloads" / busi.ARCHIVE.file).write_bytes(b"no zip")
    message = refused(None, folder)
    assert "is not an intact zip archive" in message
    assert "delete" in message


def test_neither_source_nor_network(folder, monkeypatch):
    monkeypatch.setattr(fetch_module, "BACKOFF_SECONDS", 0)
    with LocalServer() as server:
        gone = server.url("/busi.zip")
    monkeypatch.setattr(busi, "ARCHIVE", replace(busi.ARCHIVE, urls=(gone,)))
    message = refused(None, folder)
    assert "BUSI_ZIP" in message
    assert busi.PAGE in message


def test_leftovers_of_operating_systems_are_passed_over(folder, tmp_path):
    path = zipped(folder)
    for name in ("__MACOSX/benign/._benign (1).png", "benign/.DS_Store", "benign/Thumbs.db", "README.txt"):
        add(path, name)
    busi.obtain(tmp_path / "raw", tmp_path / "downloads", str(path))
    assert contents(tmp_path / "raw") == contents(folder)


def test_a_copy_encoded_anew_passes(folder, tmp_path):
    for file in sorted(folder.rglob("*.png")):
        Image.open(file).convert("RGBA").save(file, compress_level=1)
    busi.obtain(tmp_path / "raw", tmp_path / "downloads", str(folder))
    assert contents(tmp_path / "raw") == contents(folder)


@pytest.mark.parametrize("name", ["benign/benign (2).png", "benign/benign (1)_mask.png"])
def test_an_altered_pixel_is_named(folder, name):
    image = Image.open(folder / name).convert("RGB")
    old = image.getpixel((3, 4))
    image.putpixel((3, 4), tuple(255 - value for value in old))
    image.save(folder / name)
    assert f"1 altered ({name})" in refused(zipped(folder), folder)


def test_another_size_is_altered(folder):
    Image.new("RGB", (3, 3)).save(folder / "normal/normal (1).png")
    assert "1 altered (normal/normal (1).png)" in refused(folder, folder)


def test_missing_and_extra_files_are_named(folder):
    (folder / "benign/benign (2).png").rename(folder / "benign/benign (9).png")
    message = refused(zipped(folder), folder)
    assert "1 missing (benign/benign (2).png)" in message
    assert "1 extra (benign/benign (9).png)" in message


def test_many_names_are_cut_short(folder):
    shutil.rmtree(folder / "benign")
    (folder / "normal/normal (1).png").unlink()
    message = refused(folder, folder)
    assert "6 missing (" in message
    assert message.count(".png") == busi.NAMES_SHOWN


@pytest.mark.parametrize("kind", ["zip", "folder"])
def test_a_truncated_file_is_named(folder, kind):
    file = folder / "malignant/malignant (1).png"
    file.write_bytes(file.read_bytes()[:300])
    source = zipped(folder) if kind == "zip" else folder
    assert "1 damaged (malignant/malignant (1).png)" in refused(source, folder)


def test_a_damaged_member_is_named(folder):
    path = zipped(folder)
    content = (folder / "malignant/malignant (1).png").read_bytes()
    path.write_bytes(path.read_bytes().replace(content, content[:-30] + bytes(30)))
    assert "1 damaged (malignant/malignant (1).png)" in refused(path, folder)


@pytest.mark.parametrize(("kind", "method"), [("zip", "stat"), ("folder", "stat"), ("folder", "FileIO")])
def test_what_may_not_be_read_is_named(folder, monkeypatch, kind, method):
    """The superuser may read everything, so that a private file has to be played."""
    source = zipped(folder) if kind == "zip" else folder
    owner, private = (io, folder / "benign/benign (1).png") if method == "FileIO" else (Path, source)
    allowed = getattr(owner, method)

    def asked(path: Path, *arguments: object, **options: object) -> object:
        if path == private:
            raise PermissionError(errno.EACCES, "Permission denied", str(path))
        return allowed(path, *arguments, **options)

    monkeypatch.setattr(owner, method, asked)
    with pytest.raises(UserError) as caught:
        busi.obtain(folder.parent / "raw", folder.parent, str(source))
    assert str(caught.value) == f"{private} may not be read - mend its permissions"


def test_a_truncated_archive_is_refused(folder):
    path = zipped(folder)
    path.write_bytes(path.read_bytes()[:-500])
    assert "is not an intact zip archive" in refused(path, folder)


@pytest.mark.parametrize(
    "name",
    ["../benign/benign (1).png", "/benign/b.png", "a/../../b.png", "..\\b.png", "C:\\b.png", "../b.txt"],
)
def test_entries_that_leave_the_target_are_refused(folder, name):
    assert "unsafe entry" in refused(add(zipped(folder), name), folder)


def test_a_link_in_the_archive_is_refused(folder):
    path = add(zipped(folder), "benign/link.png", b"/etc/passwd", stat.S_IFLNK | 0o777)
    assert "unsafe entry 'benign/link.png'" in refused(path, folder)


def test_an_absurd_size_is_refused_before_it_is_written(folder, monkeypatch):
    file = folder / "benign/benign (1).png"
    path = folder.parent / "bomb.zip"
    file.write_bytes(bytes(busi.PNG_OVERHEAD * 5))
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.write(file, "benign/benign (1).png")
    monkeypatch.setattr(shutil, "copyfileobj", lambda *_: pytest.fail("it was written"))
    assert "1 damaged (benign/benign (1).png)" in refused(path, folder)


def test_two_copies_in_one_source_are_refused(folder):
    path = add(zipped(folder), "other/benign/benign (1).png")
    assert "two files benign/benign (1).png" in refused(path, folder)


def test_a_source_that_does_not_exist_is_named(folder):
    assert "BUSI_ZIP names /nowhere/busi.zip" in refused("/nowhere/busi.zip", folder)


def test_a_full_disk_is_reported(folder, monkeypatch):
    def full(*_args: object) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(shutil, "copyfileobj", full)
    assert "No space left on device" in refused(folder, folder)


def test_what_stood_at_raw_stays_after_a_failure(folder, tmp_path):
    (tmp_path / "raw").mkdir()
    (tmp_path / "raw/kept").touch()
    (folder / "benign/benign (2).png").unlink()
    with pytest.raises(UserError):
        busi.obtain(tmp_path / "raw", tmp_path / "downloads", str(folder))
    assert contents(tmp_path / "raw") == {"kept": b""}


@pytest.mark.parametrize("mode", ["1", "L", "P", "RGB", "RGBA", "LA"])
def test_masks_of_every_mode_read_the_same(tmp_path, mode):
    expected = np.random.default_rng(1).random((5, 7)) > 0.5
    Image.fromarray(expected).convert("RGB").convert(mode).save(tmp_path / "m.png")
    mask = busi.read_mask(tmp_path / "m.png")
    assert mask.dtype == np.bool_
    np.testing.assert_array_equal(mask, expected)


def test_a_mask_is_where_any_colour_exceeds_127_whatever_alpha_says(tmp_path):
    pixels = [(128, 0, 0, 0), (0, 0, 255, 255), (127, 127, 127, 255), (0, 0, 0, 255)]
    Image.fromarray(np.array([pixels], np.uint8)).save(tmp_path / "m.png")
    assert busi.read_mask(tmp_path / "m.png").tolist() == [[True, True, False, False]]


def test_images_of_grey_modes_become_rgb(tmp_path):
    grey = np.arange(35, dtype=np.uint8).reshape(5, 7)
    for mode in ("L", "RGB", "RGBA", "P"):
        Image.fromarray(grey).convert(mode).save(tmp_path / "i.png")
        image = busi.read_rgb(tmp_path / "i.png")
        assert (image.shape, image.dtype, image.flags.writeable) == ((5, 7, 3), np.uint8, True)
        np.testing.assert_array_equal(image, np.stack([grey] * 3, axis=2))


def test_reading_what_is_no_png_names_the_file(tmp_path):
    (tmp_path / "i.png").write_bytes(b"GIF89a")
    with pytest.raises(UserError, match=r"i\.png is not a readable PNG"):
        busi.read_rgb(tmp_path / "i.png")
    with pytest.raises(UserError, match=r"gone\.png is missing"):
        busi.read_mask(tmp_path / "gone.png")


def test_the_manifest_holds_the_whole_data_set():
    names = list(busi.manifest())
    assert len(names) == 1578
    assert names == sorted(names)
    images = [name for name in names if "_mask" not in name]
    assert [sum(name.startswith(kind) for name in images) for kind in CATEGORIES] == [437, 210, 133]
    masks = {re.sub(r"_mask(_\d)?", "", name) for name in names if "_mask" in name}
    assert masks == set(images)
    several = {re.sub(r"_mask_\d", "", name) for name in names if "_mask_" in name}
    assert len(several) == 17
    assert "malignant/malignant (53).png" in several


@pytest.mark.busi
def test_the_real_archive_passes_in_full(tmp_path):
    source = os.environ.get("BUSI_ZIP")
    if not source:
        pytest.skip("BUSI_ZIP names no copy of the data set")
    busi.obtain(tmp_path / "raw", tmp_path / "downloads", source)
    assert set(contents(tmp_path / "raw")) == set(busi.manifest())
    masks = [busi.read_mask(file).any() for file in (tmp_path / "raw/normal").glob("*_mask.png")]
    assert (len(masks), any(masks)) == (133, False)
