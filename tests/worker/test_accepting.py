"""proxy/worker/accepting.py: nobody who waits in a queue is reset; loans go back as they came."""

from __future__ import annotations

import asyncio
import select
import socket
import struct
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from typing import Final, cast

import pytest
import pytest_asyncio

from proxy.worker.accepting import OWN, Accepting
from proxy.worker.sockets import BACKLOG

SOMAXCONN: Final = Path("/proc/sys/net/core/somaxconn")
"""The most that the kernel allows a backlog to be."""


class Echo(asyncio.Protocol):
    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        writable = cast("asyncio.Transport", transport)
        writable.write(b"hello")
        writable.close()


@pytest_asyncio.fixture
async def accepting() -> AsyncIterator[Accepting]:
    made = Accepting(Echo)
    yield made
    made.close()


@pytest.fixture
def listener() -> Iterator[socket.socket]:
    """A socket that the test still has when the one under test has closed its own."""
    with socket.create_server(("127.0.0.1", 0)) as made:
        yield made


def ours(listener: socket.socket) -> socket.socket:
    made = listener.dup()
    made.setblocking(False)
    return made


async def greeted(listener: socket.socket) -> bytes:
    reader, writer = await asyncio.open_connection(*listener.getsockname())
    said = await reader.read()
    writer.close()
    return said


async def test_each_socket_is_served_until_it_is_removed(accepting: Accepting) -> None:
    with (
        socket.create_server(("127.0.0.1", 0)) as own,
        socket.create_server(("127.0.0.1", 0)) as other,
    ):
        await accepting.add(OWN, ours(own))
        await accepting.add(2, ours(other))
        assert [await greeted(each) for each in (own, other)] == [b"hello", b"hello"]
        accepting.remove(2)
        accepting.remove(2)
        assert await greeted(own) == b"hello"
        # The socket lives on: who connects waits for somebody else to accept.
        with socket.create_connection(other.getsockname()):
            assert select.select([other], [], [], 30)[0] == [other]
            assert await greeted(own) == b"hello"
            assert select.select([other], [], [], 0)[0] == [other]


async def test_the_same_loan_twice_is_one(accepting: Accepting, listener: socket.socket) -> None:
    await accepting.add(3, ours(listener))
    again = ours(listener)
    await accepting.add(3, again)
    assert again.fileno() == -1
    assert await greeted(listener) == b"hello"


async def test_who_waits_in_a_queue_when_the_sockets_close_is_served(accepting: Accepting) -> None:
    with (
        socket.create_server(("127.0.0.1", 0)) as own,
        socket.create_server(("127.0.0.1", 0)) as other,
    ):
        addresses = [own.getsockname(), other.getsockname()]
        await accepting.add(OWN, ours(own))
        await accepting.add(2, ours(other))
    await asyncio.sleep(0)
    # The loop does not turn between the connections and the look at the queues.
    clients = [socket.create_connection(address) for address in addresses for _ in range(3)]
    await accepting.stop()
    for client in clients:
        client.setblocking(False)
        assert await asyncio.get_running_loop().sock_recv(client, 99) == b"hello"
        client.close()
    for address in addresses:
        with pytest.raises(ConnectionRefusedError):
            socket.create_connection(address)


async def test_after_the_end_a_loan_is_not_taken(
    accepting: Accepting, listener: socket.socket
) -> None:
    await accepting.stop()
    late = ours(listener)
    await accepting.add(2, late)
    assert late.fileno() == -1
    assert repr(accepting) == "<Accepting []>"


async def test_as_many_may_wait_as_the_socket_was_opened_for(
    accepting: Accepting, listener: socket.socket
) -> None:
    """asyncio and uvloop listen anew with a backlog of their own."""
    await accepting.add(OWN, ours(listener))
    told = listener.getsockopt(socket.IPPROTO_TCP, socket.TCP_INFO, 32)
    most = int(SOMAXCONN.read_text(encoding="ascii"))
    # tcpi_sacked of a socket that listens (tcp_get_info in the kernel)
    assert struct.unpack_from("I", told, 28)[0] == min(BACKLOG, most)
