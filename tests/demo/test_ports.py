"""The page's port: free on every loopback address, or not taken at all."""

from __future__ import annotations

import errno
import socket
from collections.abc import Iterator
from contextlib import closing

import pytest

from proxy.demo import ports


@pytest.fixture
def taken() -> Iterator[int]:
    """A port on which somebody listens."""
    with closing(socket.create_server(("127.0.0.1", 0))) as other:
        yield other.getsockname()[1]


@pytest.fixture
def opened() -> Iterator[list[socket.socket]]:
    """What a test puts here is closed after it."""
    sockets: list[socket.socket] = []
    yield sockets
    for one in sockets:
        one.close()


def test_all_sockets_share_one_port_and_are_on_loopback(opened: list[socket.socket]) -> None:
    opened += ports.bind_loopback(0)
    names = [one.getsockname()[:2] for one in opened]
    assert {address for address, _ in names} <= {"127.0.0.1", "::1"}
    assert len({port for _, port in names}) == 1


def test_a_port_that_is_taken_is_refused(taken: int) -> None:
    with pytest.raises(OSError, match=r".") as refused:
        ports.bind_loopback(taken)
    assert refused.value.errno == errno.EADDRINUSE


def test_a_port_that_is_taken_on_ipv6_only_is_refused(opened: list[socket.socket]) -> None:
    """A browser would find the other server first."""
    try:
        other = socket.create_server(("::1", 0), family=socket.AF_INET6)
    except OSError:  # a machine without IPv6, where one address is all there is
        opened += ports.bind_loopback(0)
        assert len(opened) == 1
        return
    opened.append(other)
    with pytest.raises(OSError, match=r".") as refused:
        ports.bind_loopback(other.getsockname()[1])
    assert refused.value.errno == errno.EADDRINUSE


def test_a_port_that_is_taken_is_stepped_over(
    taken: int, opened: list[socket.socket], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(ports, "FIRST_PORT", taken)
    opened += ports.bind_first_free()
    assert opened[0].getsockname()[1] != taken


def test_a_stopped_server_frees_its_port() -> None:
    first = ports.bind_loopback(0)
    port = first[0].getsockname()[1]
    with closing(socket.create_connection(("127.0.0.1", port))):
        for one in first:
            one.close()
    again = ports.bind_loopback(port)
    for one in again:
        one.close()
    assert again
