"""Writing all or nothing, and digests of content."""

import errno
import fcntl
import multiprocessing
import os
import shutil
import signal
from pathlib import Path

import pytest

from bench.errors import UserError
from bench.files import digest, read_json, replacing_file, replacing_folder, write_json

FULL = OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))


def names(folder: Path) -> list[str]:
    return sorted(file.name for file in folder.iterdir())


def write_file(path: Path, error: BaseException | None = None) -> None:
    with replacing_file(path) as temporary:
        temporary.write_text("new")
        if error:
            raise error


def write_folder(path: Path, error: BaseException | None = None) -> None:
    with replacing_folder(path) as temporary:
        (temporary / "new.txt").write_text("new")
        if error:
            raise error


def test_a_file_appears_with_its_folders_when_the_block_ends(tmp_path):
    write_file(tmp_path / "a" / "b.txt")
    assert (tmp_path / "a" / "b.txt").read_text() == "new"
    assert names(tmp_path / "a") == ["b.txt"]


def test_a_folder_appears_with_its_parents_when_the_block_ends(tmp_path):
    write_folder(tmp_path / "a" / "b")
    assert names(tmp_path / "a") == ["b"]
    assert names(tmp_path / "a" / "b") == ["new.txt"]
    assert (tmp_path / "a" / "b").stat().st_mode & 0o777 == 0o755


def test_a_folder_takes_the_place_of_what_stood_there(tmp_path):
    (tmp_path / "folder").mkdir()
    (tmp_path / "folder" / "old.txt").write_text("old")
    (tmp_path / "file").write_text("old")
    (tmp_path / "link").symlink_to(tmp_path / "kept", target_is_directory=True)
    (tmp_path / "kept").mkdir()
    for name in ("folder", "file", "link"):
        write_folder(tmp_path / name)
        assert names(tmp_path / name) == ["new.txt"]
    assert names(tmp_path / "kept") == []


def test_killed_while_the_old_folder_goes_the_new_one_stands(tmp_path, monkeypatch):
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / "old.txt").write_text("old")

    def killed(_path, ignore_errors=False):
        if not ignore_errors:
            raise KeyboardInterrupt

    monkeypatch.setattr(shutil, "rmtree", killed)
    with pytest.raises(KeyboardInterrupt):
        write_folder(tmp_path / "out")
    assert names(tmp_path / "out") == ["new.txt"]


def test_what_a_killed_process_left_goes_and_what_a_living_one_fills_stays(tmp_path):
    for name in ("out", "out.2"):
        process = multiprocessing.get_context("spawn").Process(target=die_within, args=(tmp_path / name,))
        process.start()
        process.join()
    assert len(names(tmp_path)) == 2
    write_folder(tmp_path / "out")
    (left, _) = names(tmp_path)
    assert left.startswith(".out.2.")
    with replacing_folder(tmp_path / "out.2") as filled:
        (filled / "new.txt").write_text("first")
        write_folder(tmp_path / "out.2")
        assert left not in names(tmp_path)
        assert filled.is_dir()
    assert (tmp_path / "out.2" / "new.txt").read_text() == "first"
    assert names(tmp_path) == ["out", "out.2"]


def test_a_folder_that_was_taken_for_a_leftover_is_made_again(tmp_path, monkeypatch):
    flock, taken = fcntl.flock, []

    def overtaken(handle, how):
        if not taken:
            taken.extend(tmp_path.iterdir())
            shutil.rmtree(taken[0])
        flock(handle, how)

    monkeypatch.setattr(fcntl, "flock", overtaken)
    write_folder(tmp_path / "out")
    assert len(taken) == 1
    assert names(tmp_path) == ["out"]


def test_where_processes_replace_a_folder_at_the_same_instant_the_last_one_wins(tmp_path, monkeypatch):
    replace, others = Path.replace, ["1", "2", "3"]

    def overtaken(self, target):
        if others and target == tmp_path / "out":
            folder_of(target, {others.pop(): "theirs"})
        return replace(self, target)

    monkeypatch.setattr(Path, "replace", overtaken)
    write_folder(tmp_path / "out")
    assert others == []
    assert names(tmp_path) == ["out"]
    assert names(tmp_path / "out") == ["new.txt"]


def die_within(path: Path) -> None:
    with replacing_folder(path) as temporary:
        (temporary / "half").write_text("")
        os.kill(os.getpid(), signal.SIGKILL)


def test_nothing_is_seen_before_the_block_ends(tmp_path):
    with replacing_folder(tmp_path / "out") as temporary:
        (temporary / "half").write_text("")
        assert not (tmp_path / "out").exists()
        assert temporary.parent == tmp_path


@pytest.mark.parametrize("error", [ValueError("ours"), KeyboardInterrupt(), FULL], ids=["defect", "ctrl-c", "full"])
@pytest.mark.parametrize("write", [write_file, write_folder])
def test_after_an_error_nothing_new_is_left(tmp_path, write, error):
    with pytest.raises(UserError if error is FULL else type(error)):
        write(tmp_path / "out", error)
    assert names(tmp_path) == []


@pytest.mark.parametrize("error", [ValueError("ours"), KeyboardInterrupt(), FULL], ids=["defect", "ctrl-c", "full"])
def test_after_an_error_the_old_content_stays(tmp_path, error):
    (tmp_path / "file").write_text("old")
    (tmp_path / "folder").mkdir()
    (tmp_path / "folder" / "old.txt").write_text("old")
    for write, name in ((write_file, "file"), (write_folder, "folder")):
        with pytest.raises(UserError if error is FULL else type(error)):
            write(tmp_path / name, error)
    assert names(tmp_path) == ["file", "folder"]
    assert (tmp_path / "file").read_text() == "old"
    assert names(tmp_path / "folder") == ["old.txt"]


@pytest.mark.parametrize("write", [write_file, write_folder])
@pytest.mark.parametrize("number", [errno.ENOSPC, errno.EROFS, errno.EACCES, errno.EDQUOT])
def test_a_refusal_of_the_disk_is_one_line_that_names_the_place(tmp_path, write, number):
    with pytest.raises(UserError) as caught:
        write(tmp_path / "out", OSError(number, os.strerror(number), str(tmp_path / ".out.tmp")))
    assert str(caught.value).startswith(f"cannot write {tmp_path / 'out'}: {os.strerror(number)} - ")
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("write", [write_file, write_folder])
@pytest.mark.parametrize(
    "error",
    [
        ConnectionRefusedError(errno.ECONNREFUSED, "refused"),
        PermissionError(errno.EACCES, "denied", "/elsewhere/input.png"),
    ],
)
def test_an_error_about_something_else_passes_unchanged(tmp_path, write, error):
    with pytest.raises(type(error)):
        write(tmp_path / "out", error)


class LibraryError(Exception):
    """As that of safetensors: no OSError."""


@pytest.mark.parametrize("write", [write_file, write_folder])
@pytest.mark.parametrize(
    ("error", "reason"),
    [
        (LibraryError("I/O error: No space left on device (os error 28)"), "No space left on device"),
        (shutil.Error([("from", "to", "[Errno 30] Read-only file system: 'to'")]), "Read-only file system"),
        (OSError("5000 requested and 4190 written"), "5000 requested and 4190 written"),
    ],
    ids=["safetensors", "copytree", "numpy"],
)
def test_a_refusal_in_the_words_of_a_library_is_one_line_too(tmp_path, write, error, reason):
    with pytest.raises(UserError) as caught:
        write(tmp_path / "out", error)
    assert str(caught.value).startswith(f"cannot write {tmp_path / 'out'}: {reason} - ")
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("write", [write_file, write_folder])
@pytest.mark.parametrize("error", [RuntimeError("unexpected pos 64 vs 0"), OSError("encoder error -2")])
def test_an_error_without_a_reason_is_the_disks_while_that_takes_no_more(tmp_path, monkeypatch, write, error):
    def full(_handle):
        if names(tmp_path):
            raise FULL

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(UserError, match=r"out: No space left on device - "):
        write(tmp_path / "out", error)
    assert names(tmp_path) == []


@pytest.mark.parametrize("write", [write_file, write_folder])
@pytest.mark.parametrize(
    "error", [RuntimeError("unable to write to file </torch_1>: No space left on device (28)"), OSError("truncated")]
)
def test_while_the_disk_takes_more_such_an_error_passes_unchanged(tmp_path, write, error):
    with pytest.raises(type(error)) as caught:
        write(tmp_path / "out", error)
    assert caught.value is error
    assert names(tmp_path) == []


@pytest.mark.parametrize("write", [write_file, write_folder])
def test_a_missing_input_is_not_blamed_on_the_disk(tmp_path, write):
    with pytest.raises(FileNotFoundError):
        write(tmp_path / "out", FileNotFoundError(errno.ENOENT, "gone"))


def test_a_user_error_inside_the_block_passes_unchanged(tmp_path):
    with pytest.raises(UserError, match=r"^the cause$"):
        write_folder(tmp_path / "out", UserError("the cause"))


def test_json_is_read_as_written(tmp_path):
    write_json(tmp_path / "a.json", {"b": [1, None]})
    assert (tmp_path / "a.json").read_text().endswith("}\n")
    assert read_json(tmp_path / "a.json") == {"b": [1, None]}


def test_missing_and_damaged_json_are_user_errors(tmp_path):
    with pytest.raises(UserError, match="missing"):
        read_json(tmp_path / "a.json")
    (tmp_path / "a.json").write_text("{")
    with pytest.raises(UserError, match="damaged"):
        read_json(tmp_path / "a.json")


def folder_of(path: Path, files: dict[str, str]) -> Path:
    for name, text in files.items():
        (path / name).parent.mkdir(parents=True, exist_ok=True)
        (path / name).write_text(text)
    return path


FILES = {"a": "1", "b/c": "2", "b/d": ""}


def test_the_digest_of_a_folder_is_of_its_content_alone(tmp_path):
    one = folder_of(tmp_path / "one", FILES)
    other = folder_of(tmp_path / "elsewhere" / "other", dict(reversed(FILES.items())))
    os.utime(other / "a", (0, 0))
    assert digest(one) == digest(other)


@pytest.mark.parametrize(
    "changed",
    [
        {**FILES, "a": "3"},
        {"a": "1", "b/c": "2"},
        {"a": "1", "b/e": "2", "b/d": ""},
        {"a": "2", "b/c": "1", "b/d": ""},
        {"a": "1", "x/c": "2", "x/d": ""},
    ],
    ids=["content", "fewer files", "another name", "contents exchanged", "another folder"],
)
def test_the_digest_of_a_folder_changes_with_names_and_content(tmp_path, changed):
    assert digest(folder_of(tmp_path / "one", FILES)) != digest(folder_of(tmp_path / "other", changed))


def test_the_digest_of_a_file_is_its_sha_256(tmp_path):
    (tmp_path / "a").write_bytes(b"abc")
    assert digest(tmp_path / "a") == "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad"


def test_the_digest_of_a_missing_path_is_a_user_error(tmp_path):
    with pytest.raises(UserError, match="missing"):
        digest(tmp_path / "a")
