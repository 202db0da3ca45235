"""proxy/upstream/owed.py: how much a client has still to take."""

from __future__ import annotations

import asyncio
import socket
import sys

import pytest

from proxy.upstream.owed import owed, taken
from tests.gateway.fakes import FakeTransport


async def test_what_stands_in_both_buffers_counts() -> None:
    """The kernel takes a part; together it is all of it, until the client reads."""
    ours, theirs = socket.socketpair()
    loop = asyncio.get_running_loop()
    transport, _ = await loop.create_connection(asyncio.Protocol, sock=ours)
    try:
        size = 5_000_000
        assert owed(transport) == 0
        transport.write(b"x" * size)
        before = owed(transport)
        assert 0 < transport.get_write_buffer_size() < before
        theirs.setblocking(False)
        taken = 0
        while taken < size:
            try:
                taken += len(theirs.recv(1 << 20))
            except BlockingIOError:
                await asyncio.sleep(0)
        assert owed(transport) == 0
    finally:
        transport.abort()
        theirs.close()


async def test_over_tcp_it_is_what_is_not_acknowledged() -> None:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        theirs = socket.socket()
        theirs.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        theirs.connect(listener.getsockname())
        ours, _ = listener.accept()
    loop = asyncio.get_running_loop()
    transport, _ = await loop.create_connection(asyncio.Protocol, sock=ours)
    try:
        transport.write(b"x" * 50_000)
        first = owed(transport)
        received = len(theirs.recv(2000, socket.MSG_WAITALL))
        assert received == 2000
        assert 0 < owed(transport) <= first <= 50_000
        assert transport.get_write_buffer_size() < owed(transport)
    finally:
        transport.abort()
        theirs.close()


def test_a_socket_that_cannot_tell_owes_what_the_loop_holds() -> None:
    transport = FakeTransport()
    transport.unsent = 7
    assert owed(transport) == 7


async def test_a_client_that_has_gone_owes_nothing() -> None:
    ours, theirs = socket.socketpair()
    transport, _ = await asyncio.get_running_loop().create_connection(asyncio.Protocol, sock=ours)
    theirs.close()
    transport.abort()
    for _ in range(5):
        await asyncio.sleep(0)
    assert owed(transport) == 0


def test_without_a_count_what_is_owed_says_what_was_taken() -> None:
    transport = FakeTransport()
    transport.unsent = 7
    before = taken(transport)
    transport.unsent = 6
    assert taken(transport) > before


@pytest.mark.parametrize("info", [bytes(104), bytes(128)], ids=["short", "zero"])
def test_a_kernel_that_does_not_count_is_asked_for_what_is_owed(
    monkeypatch: pytest.MonkeyPatch, info: bytes
) -> None:
    """An old one, and gVisor, which fills in little: 0 is not that nothing was taken."""
    transport = FakeTransport()
    monkeypatch.setattr(transport.sock, "getsockopt", lambda *_: info, raising=False)
    transport.unsent = 7
    before = taken(transport)
    transport.unsent = 6
    assert taken(transport) > before


@pytest.mark.skipif(sys.platform != "linux", reason="other kernels keep no such count")
async def test_what_was_taken_is_known_though_more_was_written_meanwhile() -> None:
    """As from the buffer that TLS has behind that of its transport, which nobody can look into."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        theirs = socket.socket()
        theirs.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        theirs.connect(listener.getsockname())
        ours, _ = listener.accept()
    loop = asyncio.get_running_loop()
    transport, _ = await loop.create_connection(asyncio.Protocol, sock=ours)
    try:
        transport.write(b"x" * 50_000)
        before = taken(transport), owed(transport)
        transport.write(b"x" * 50_000)
        assert len(theirs.recv(20_000, socket.MSG_WAITALL)) == 20_000
        assert owed(transport) > before[1]
        assert taken(transport) > before[0]
    finally:
        transport.abort()
        theirs.close()
