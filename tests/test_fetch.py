"""Downloads against a local server with the faults of the real ones."""

import errno
import hashlib
import io
import random
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
import requests

from bench import fetch as module
from bench.errors import UserError
from bench.fetch import Artefact, fetch
from tests.http_server import LocalServer

CONTENT = random.Random(1).randbytes(300_000)
OTHER = random.Random(2).randbytes(300_000)
SHA = hashlib.sha256(CONTENT).hexdigest()


@pytest.fixture(autouse=True)
def _impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "BACKOFF_SECONDS", 0)
    monkeypatch.setattr(module, "CHUNK_BYTES", 10_000)


def artefact(*urls: str, sha256: str | None = SHA, size: int | None = len(CONTENT)) -> Artefact:
    return Artefact("a.bin", urls, sha256, size, "none")


def names(folder: Path) -> list[str]:
    return sorted(item.name for item in folder.iterdir())


def test_download_then_hit_without_network(tmp_path):
    with LocalServer({"/a.bin": CONTENT}) as server:
        wanted = artefact(server.url("/a.bin"))
        path = fetch(wanted, tmp_path / "new" / "folder")
        assert path.read_bytes() == CONTENT
    assert fetch(wanted, path.parent) == path
    assert server.count["/a.bin"] == 1
    assert names(path.parent) == ["a.bin"]


def test_callers_at_the_same_time_download_once(tmp_path):
    with LocalServer({"/a.bin": CONTENT}) as server, ThreadPoolExecutor(4) as pool:
        wanted = artefact(server.url("/a.bin"))
        paths = list(pool.map(lambda _: fetch(wanted, tmp_path), range(4)))
    assert [path.read_bytes() for path in paths] == [CONTENT] * 4
    assert server.count["/a.bin"] == 1


def test_a_dropped_connection_is_continued(tmp_path):
    with LocalServer({"/a.bin": CONTENT}, drops={"/a.bin": 100_000}) as server:
        assert fetch(artefact(server.url("/a.bin")), tmp_path).read_bytes() == CONTENT
    first, second = server.ranges_seen
    assert first == ("/a.bin", None)
    assert 0 < int(second[1].removeprefix("bytes=").rstrip("-")) <= 100_000


@pytest.mark.parametrize("size", [len(CONTENT), None])
def test_a_part_of_an_earlier_run_is_continued(tmp_path, size):
    (tmp_path / "a.bin.part").write_bytes(CONTENT[:123])
    with LocalServer({"/a.bin": CONTENT}) as server:
        assert fetch(artefact(server.url("/a.bin"), size=size), tmp_path).read_bytes() == CONTENT
    assert server.ranges_seen == [("/a.bin", "bytes=123-")]


def test_a_drop_is_noticed_by_the_known_size_where_the_server_names_none(tmp_path):
    with LocalServer({"/a.bin": CONTENT}, drops={"/a.bin": 100_000}, lengths=False) as server:
        assert fetch(artefact(server.url("/a.bin")), tmp_path).read_bytes() == CONTENT
    assert server.count["/a.bin"] == 2


def test_a_drop_is_noticed_by_the_hash_where_nobody_knows_the_size(tmp_path):
    with (
        LocalServer({"/a.bin": CONTENT}, drops={"/a.bin": 100_000}, lengths=False) as server,
        pytest.raises(UserError, match=f"SHA-256 [0-9a-f]{{64}} instead of {SHA} .100000 bytes."),
    ):
        fetch(artefact(server.url("/a.bin"), size=None), tmp_path)
    assert names(tmp_path) == ["a.bin.wrong"]


def test_a_range_that_begins_elsewhere_starts_over(tmp_path):
    (tmp_path / "a.bin.part").write_bytes(CONTENT[:1000])
    with LocalServer({"/a.bin": CONTENT}, early=10) as server:
        assert fetch(artefact(server.url("/a.bin")), tmp_path).read_bytes() == CONTENT
    assert [asked for _, asked in server.ranges_seen] == ["bytes=1000-", None]


def test_a_server_without_ranges_sends_everything_again(tmp_path):
    with LocalServer({"/a.bin": CONTENT}, drops={"/a.bin": 100_000}, ranges=False) as server:
        assert fetch(artefact(server.url("/a.bin")), tmp_path).read_bytes() == CONTENT
    assert server.count["/a.bin"] == 2


@pytest.mark.parametrize("length", [len(CONTENT), len(CONTENT) + 5])
def test_a_part_as_long_as_the_file_or_longer(tmp_path, length):
    (tmp_path / "a.bin.part").write_bytes((CONTENT + b"12345")[:length])
    with LocalServer({"/a.bin": CONTENT}) as server:
        assert fetch(artefact(server.url("/a.bin")), tmp_path).read_bytes() == CONTENT
    assert server.count["/a.bin"] == (0 if length == len(CONTENT) else 1)


def test_status_416_starts_over(tmp_path):
    (tmp_path / "a.bin.part").write_bytes(CONTENT + b"more")
    with LocalServer({"/a.bin": CONTENT}) as server:
        assert fetch(artefact(server.url("/a.bin"), size=None), tmp_path).read_bytes() == CONTENT
    assert [asked for _, asked in server.ranges_seen] == [f"bytes={len(CONTENT) + 4}-", None]


def test_a_part_of_another_file_is_given_up(tmp_path):
    (tmp_path / "a.bin.part").write_bytes(OTHER[:1000])
    with LocalServer({"/a.bin": CONTENT}) as server:
        assert fetch(artefact(server.url("/a.bin")), tmp_path).read_bytes() == CONTENT
    assert [asked for _, asked in server.ranges_seen] == ["bytes=1000-", None]
    assert names(tmp_path) == ["a.bin"]


def test_a_file_cut_short_for_good_names_the_size(tmp_path):
    with (
        LocalServer({"/a.bin": CONTENT[:-10]}) as server,
        pytest.raises(UserError, match=f"{len(CONTENT) - 10} bytes instead of {len(CONTENT)}"),
    ):
        fetch(artefact(server.url("/a.bin"), sha256=None), tmp_path)
    assert names(tmp_path) == ["a.bin.wrong"]


def test_a_connection_that_always_drops_keeps_the_part(tmp_path, monkeypatch):
    monkeypatch.setattr(module, "TRIES", 1)
    with LocalServer({"/a.bin": CONTENT}, drops={"/a.bin": 100_000}) as server:
        with pytest.raises(UserError, match="dropped"):
            fetch(artefact(server.url("/a.bin")), tmp_path)
        assert names(tmp_path) == ["a.bin.part"]
        assert fetch(artefact(server.url("/a.bin")), tmp_path).read_bytes() == CONTENT


def test_wrong_content_is_moved_aside_and_the_next_mirror_used(tmp_path, capsys):
    with LocalServer({"/bad/a.bin": OTHER, "/good/a.bin": CONTENT}) as server:
        path = fetch(artefact(server.url("/bad/a.bin"), server.url("/good/a.bin")), tmp_path)
    assert path.read_bytes() == CONTENT
    assert (tmp_path / "a.bin.wrong").read_bytes() == OTHER
    assert names(tmp_path) == ["a.bin", "a.bin.wrong"]
    assert "kept as a.bin.wrong" in capsys.readouterr().out


def test_a_missing_file_is_asked_for_once_a_mirror(tmp_path):
    with LocalServer({"/good/a.bin": CONTENT}) as server:
        fetch(artefact(server.url("/bad/a.bin"), server.url("/good/a.bin")), tmp_path)
    assert server.count == {"/bad/a.bin": 1, "/good/a.bin": 1}


def test_a_busy_server_is_asked_again(tmp_path):
    with LocalServer({"/a.bin": CONTENT}, statuses={"/a.bin": [503, 429]}) as server:
        assert fetch(artefact(server.url("/a.bin")), tmp_path).read_bytes() == CONTENT
    assert server.count["/a.bin"] == 3


def test_a_redirect_is_followed(tmp_path):
    with LocalServer({"/b.bin": CONTENT}, redirects={"/a.bin": "/b.bin"}) as server:
        assert fetch(artefact(server.url("/a.bin")), tmp_path).read_bytes() == CONTENT


def test_a_redirect_to_another_server_is_followed_and_continued_there(tmp_path):
    with LocalServer({"/b.bin": CONTENT}, drops={"/b.bin": 100_000}) as other:
        with LocalServer(redirects={"/a.bin": other.url("/b.bin")}) as server:
            assert fetch(artefact(server.url("/a.bin")), tmp_path).read_bytes() == CONTENT
        assert server.count["/a.bin"] == other.count["/b.bin"] == 2
    assert other.ranges_seen[1][1] is not None


def test_a_redirect_to_other_content_is_moved_aside(tmp_path):
    with (
        LocalServer({"/b.bin": OTHER}) as other,
        LocalServer(redirects={"/a.bin": other.url("/b.bin")}) as server,
        pytest.raises(UserError, match=r"wrong content, kept as a\.bin\.wrong"),
    ):
        fetch(artefact(server.url("/a.bin")), tmp_path)
    assert names(tmp_path) == ["a.bin.wrong"]


def test_a_redirect_to_where_nobody_answers_leads_to_the_next_mirror(tmp_path, capsys):
    with LocalServer() as gone:
        nowhere = gone.url("/b.bin")
    with LocalServer({"/c.bin": CONTENT}, redirects={"/a.bin": nowhere}) as server:
        urls = server.url("/a.bin"), server.url("/c.bin")
        assert fetch(artefact(*urls), tmp_path).read_bytes() == CONTENT
    assert "the connection to the server failed" in capsys.readouterr().out


@pytest.mark.parametrize(
    "address", ["http://[bad/", f"http://.{'a' * 70}.com/", "http://\xff\xfe/"], ids=["brackets", "label", "bytes"]
)
def test_a_redirect_to_a_malformed_address_leads_to_the_next_mirror(tmp_path, capsys, address):
    with LocalServer({"/c.bin": CONTENT}, redirects={"/a.bin": address}) as server:
        urls = server.url("/a.bin"), server.url("/c.bin")
        assert fetch(artefact(*urls), tmp_path).read_bytes() == CONTENT
    assert server.count["/a.bin"] == 1
    assert "redirects to a malformed address" in capsys.readouterr().out


def test_redirects_in_circles_are_given_up(tmp_path, capsys):
    circle = {"/a.bin": "/b.bin", "/b.bin": "/a.bin"}
    with LocalServer({"/c.bin": CONTENT}, redirects=circle) as server:
        urls = server.url("/a.bin"), server.url("/c.bin")
        assert fetch(artefact(*urls), tmp_path).read_bytes() == CONTENT
    assert server.count.total() < 50
    assert "redirects in circles" in capsys.readouterr().out


def test_a_web_page_is_not_the_file(tmp_path):
    with (
        LocalServer({"/a.bin": b"<html>please log in"}, types={"/a.bin": "text/html; charset=utf-8"}) as server,
        pytest.raises(UserError, match="web page"),
    ):
        fetch(artefact(server.url("/a.bin"), sha256=None, size=None), tmp_path)
    assert names(tmp_path) == []


def test_the_last_message_is_one_line_with_what_to_do(tmp_path):
    with LocalServer(statuses={"/two/a.bin": 503}) as server:
        urls = server.url("/one/a.bin"), server.url("/two/a.bin")
        with pytest.raises(UserError) as caught:
            fetch(artefact(*urls), tmp_path)
    assert server.count["/two/a.bin"] == module.TRIES
    for text in ("a.bin", urls[0], "503", str(tmp_path), "by hand"):
        assert text in str(caught.value)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("error", "reason"),
    [
        (requests.exceptions.SSLError(), "certificate"),
        (requests.ConnectTimeout(), "in time"),
        (requests.ConnectionError(), "connection to the server failed"),
        (requests.exceptions.InvalidURL(), "InvalidURL"),
    ],
)
def test_network_errors_are_put_shortly(tmp_path, monkeypatch, error, reason):
    def fail(*_args: object, **_kwargs: object) -> None:
        raise error

    monkeypatch.setattr(requests, "get", fail)
    with pytest.raises(UserError, match=reason):
        fetch(artefact("https://example.invalid/a.bin"), tmp_path)


def test_a_full_disk_is_reported_with_the_file(tmp_path, monkeypatch):
    def full(*_args: object, **_kwargs: object) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    with LocalServer({"/a.bin": CONTENT}) as server:
        monkeypatch.setattr(Path, "open", full)
        with pytest.raises(UserError, match=r"cannot write .*a\.bin: No space left.*free space"):
            fetch(artefact(server.url("/a.bin")), tmp_path)


def test_a_hash_prefix_suffices(tmp_path):
    with LocalServer({"/a.bin": CONTENT}) as server:
        path = fetch(artefact(server.url("/a.bin"), sha256=SHA[:8], size=None), tmp_path)
    with pytest.raises(UserError):
        fetch(artefact(sha256="0" * 8, size=None), path.parent)


@pytest.mark.parametrize("sha256", ["0676ba6", "0676BA61", "0" * 65, "not hex!"])
def test_a_bad_hash_in_the_table_is_refused(sha256):
    with pytest.raises(ValueError, match=r"a\.bin"):
        artefact(sha256=sha256)


def test_a_wrong_file_put_there_by_hand_is_left_alone(tmp_path):
    path = tmp_path / "a.bin"
    path.write_bytes(OTHER)
    with LocalServer({"/a.bin": CONTENT}) as server, pytest.raises(UserError) as caught:
        fetch(artefact(server.url("/a.bin")), tmp_path)
    for text in (str(path), SHA, hashlib.sha256(OTHER).hexdigest(), "delete"):
        assert text in str(caught.value)
    assert path.read_bytes() == OTHER
    assert not server.count


def test_a_folder_in_the_place_of_the_file_is_refused(tmp_path):
    (tmp_path / "a.bin").mkdir()
    with pytest.raises(UserError, match="not a regular file"):
        fetch(artefact(), tmp_path)


def test_progress_in_plain_lines(tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(module, "PLAIN_SECONDS", 0)
    with LocalServer({"/a.bin": CONTENT * 10}) as server:
        fetch(artefact(server.url("/a.bin"), sha256=None, size=None), tmp_path)
    assert "a.bin: 3 of 3 MB" in capsys.readouterr().out


def test_progress_as_a_bar_on_a_terminal(tmp_path, monkeypatch):
    class Terminal(io.StringIO):
        def isatty(self) -> bool:
            return True

    terminal = Terminal()
    monkeypatch.setattr(sys, "stdout", terminal)
    monkeypatch.setenv("TERM", "xterm")
    with LocalServer({"/a.bin": CONTENT}) as server:
        fetch(artefact(server.url("/a.bin")), tmp_path)
    assert "300.0/300.0 kB" in terminal.getvalue()
