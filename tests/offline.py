"""A machine without a network, as Python code sees it."""

import errno
import socket
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any
from unittest.mock import patch


@contextmanager
def network_cut() -> Iterator[None]:
    """Refuse every connection and name look-up in the block, and fail at its end if one was tried.

    A library may swallow the refusal, hence the second. Sockets between local processes (AF_UNIX) work.
    """
    tried: list[Any] = []
    connect = socket.socket.connect

    def refused(*arguments: Any, **_options: Any) -> None:
        tried.append(arguments)
        raise OSError(errno.ENETUNREACH, "Network is unreachable")

    def connected(this: socket.socket, address: Any) -> None:
        if this.family != socket.AF_UNIX:
            refused(address)
        connect(this, address)

    with (
        patch.object(socket.socket, "connect", connected),
        patch.object(socket.socket, "connect_ex", refused),
        patch.object(socket, "getaddrinfo", refused),
    ):
        yield
    assert not tried, tried
