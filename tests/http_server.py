"""A local HTTP server with the faults of the real ones, for tests of downloads."""

import os
import threading
from collections import Counter
from collections.abc import Mapping
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from types import TracebackType
from typing import Any
from unittest.mock import patch

LOCAL = "127.0.0.1"


class LocalServer:
    """Serves bytes by path on 127.0.0.1 while the `with` block runs.

    files: path (`/a.bin`) to content; may be changed while it runs.
    drops: path to a number of bytes; the connection is cut after so many bytes of the body, once.
    ranges: whether Range requests are honoured (206, 416) or answered with everything (200).
    lengths: whether a Content-Length is sent; without it only the end of the connection ends the body.
    early: bytes by which the answer to a Range request begins too early, once.
    redirects: path to the path or URL where it redirects (302).
    statuses: path to a list of status codes, answered one a request before the content is served;
        a single int is answered always.
    types: path to the Content-Type, application/octet-stream when absent.
    count: path to the number of requests; ranges_seen: (path, Range header or None) of each request.
    """

    def __init__(
        self,
        files: Mapping[str, bytes] | None = None,
        *,
        drops: Mapping[str, int] | None = None,
        ranges: bool = True,
        lengths: bool = True,
        early: int = 0,
        redirects: Mapping[str, str] | None = None,
        statuses: Mapping[str, int | list[int]] | None = None,
        types: Mapping[str, str] | None = None,
    ) -> None:
        self.files = dict(files or {})
        self.drops = dict(drops or {})
        self.ranges = ranges
        self.lengths = lengths
        self.early = early
        self.redirects = dict(redirects or {})
        self.statuses = {path: [s] * 1000 if isinstance(s, int) else list(s) for path, s in (statuses or {}).items()}
        self.types = dict(types or {})
        self.count: Counter[str] = Counter()
        self.ranges_seen: list[tuple[str, str | None]] = []

    def url(self, path: str) -> str:
        return f"http://{LOCAL}:{self._http.server_address[1]}{path}"

    def __enter__(self) -> "LocalServer":
        handler = type("Handler", (_Handler,), {"owner": self})
        self._http = ThreadingHTTPServer((LOCAL, 0), handler)
        self._http.daemon_threads = True
        # A short poll makes leaving the block quick.
        self._thread = threading.Thread(target=self._http.serve_forever, args=(0.01,), daemon=True)
        self._thread.start()
        # A proxy in the environment cannot reach this server.
        self._environment = patch.dict(os.environ, {"NO_PROXY": LOCAL, "no_proxy": LOCAL})
        self._environment.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._environment.stop()
        self._http.shutdown()
        self._http.server_close()
        self._thread.join()


class _Handler(BaseHTTPRequestHandler):
    owner: LocalServer

    def do_GET(self) -> None:
        owner, path = self.owner, self.path
        owner.count[path] += 1
        owner.ranges_seen.append((path, self.headers.get("Range")))
        if owner.statuses.get(path):
            self._head(owner.statuses[path].pop(0), {"Content-Length": "0"})
        elif path in owner.redirects:
            self._head(302, {"Location": owner.redirects[path], "Content-Length": "0"})
        elif path in owner.files:
            self._file(owner.files[path])
        else:
            self._head(404, {"Content-Length": "0"})

    def _file(self, content: bytes) -> None:
        start, status, headers = 0, 200, {}
        asked = self.headers.get("Range")
        if asked and self.owner.ranges:
            start, status = int(asked.removeprefix("bytes=").rstrip("-")), 206
            if start >= len(content):
                self._head(416, {"Content-Range": f"bytes */{len(content)}", "Content-Length": "0"})
                return
            start, self.owner.early = start - self.owner.early, 0
            headers["Content-Range"] = f"bytes {start}-{len(content) - 1}/{len(content)}"
        if self.owner.lengths:
            headers["Content-Length"] = str(len(content) - start)
        headers["Content-Type"] = self.owner.types.get(self.path, "application/octet-stream")
        self._head(status, headers)
        self.wfile.write(content[start:][: self.owner.drops.pop(self.path, None)])

    def _head(self, status: int, headers: Mapping[str, str]) -> None:
        self.send_response(status)
        for name, value in headers.items():
            self.send_header(name, value)
        self.end_headers()

    def log_message(self, format: str, *args: Any) -> None:
        """Say nothing: the test's output is not a server's log."""
