"""proxy/upstream/leftover.py: an answer is not lost to a write that fails, over real sockets."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager
from pathlib import Path
from typing import Any

import pytest

from proxy.errors import UpstreamProtocol
from proxy.upstream.connection import UpstreamConnection
from proxy.upstream.leftover import leftover
from proxy.upstream.outbox import Outbox
from tests.gateway.fakes import FakeTransport, turns

BOTH_LOOPS = True

REFUSAL = b"HTTP/1.1 413 No\r\nConnection: close\r\nContent-Length: 5\r\n\r\nlarge"


@contextmanager
def listening(address: str = "") -> Iterator[socket.socket]:
    """Listen on a TCP port, or on the unix socket `address`."""
    with socket.socket(socket.AF_UNIX if address else socket.AF_INET) as listener:
        listener.bind(address or ("127.0.0.1", 0))
        listener.listen()
        yield listener


@asynccontextmanager
async def connected(
    listener: socket.socket,
) -> AsyncIterator[tuple[UpstreamConnection, socket.socket]]:
    """Connect, and have sent a request whose body goes on."""
    loop = asyncio.get_running_loop()
    connection = UpstreamConnection(loop, Outbox(loop), lambda _connection: None)
    address = listener.getsockname()
    if isinstance(address, str):
        await loop.create_unix_connection(lambda: connection, address)
    else:
        await loop.create_connection(lambda: connection, *address)
    endpoint, _ = listener.accept()
    connection.begin(bodiless=False, upgrade=False)
    connection.write(b"POST / HTTP/1.1\r\nContent-Length: 99\r\n\r\n")
    connection.uncork()
    await asyncio.sleep(0)
    with endpoint:
        yield connection, endpoint
    connection.abort()


def refuse(endpoint: socket.socket, answer: bytes) -> None:
    """Answer and close over an unread request, which is a reset."""
    assert endpoint.recv(1, socket.MSG_PEEK)
    endpoint.sendall(answer)
    endpoint.close()


async def test_the_answer_of_an_endpoint_that_reads_no_more_is_read() -> None:
    with listening() as listener:
        async with connected(listener) as (connection, endpoint):
            refuse(endpoint, REFUSAL)
            connection.write(b"more")  # fails, before the loop has looked for what came
            connection.uncork()
            assert (await connection.answer()).status == 413
            assert [await connection.read(), await connection.read()] == [b"large", b""]
            assert not connection.end()


async def test_so_it_is_over_a_unix_socket(tmp_path: Path) -> None:
    with listening(str(tmp_path / "s")) as listener:
        async with connected(listener) as (connection, endpoint):
            refuse(endpoint, REFUSAL)
            connection.write(b"more")
            connection.uncork()
            assert (await connection.answer()).status == 413


async def test_an_answer_that_was_cut_stays_cut() -> None:
    with listening() as listener:
        async with connected(listener) as (connection, endpoint):
            refuse(endpoint, REFUSAL[:-1])
            connection.write(b"more")
            connection.uncork()
            assert (await connection.answer()).status == 413
            assert await connection.read() == b"larg"
            with pytest.raises(UpstreamProtocol):
                await connection.read()


async def test_nonsense_is_no_answer_here_either() -> None:
    with listening() as listener:
        async with connected(listener) as (connection, endpoint):
            refuse(endpoint, b"nonsense\r\n\r\n")
            connection.write(b"more")
            connection.uncork()
            with pytest.raises(UpstreamProtocol, match="not HTTP"):
                await connection.answer()


async def test_a_websockets_last_frames_are_passed_on() -> None:
    got: list[bytes] = []
    with listening() as listener:
        async with connected(listener) as (connection, endpoint):
            connection.begin(bodiless=False, upgrade=True)
            switch = b"HTTP/1.1 101 S\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\r\n"
            connection.data_received(switch)
            connection.take_over(got.append)
            refuse(endpoint, b"\x88\x02\x03\xe8")
            connection.write(b"more")
            connection.uncork()
            await turns()
    assert got == [b"\x88\x02\x03\xe8", b""]


async def test_records_of_tls_are_left_alone() -> None:
    ours, theirs = socket.socketpair()

    class Tls(FakeTransport):
        def get_extra_info(self, name: str, default: Any = None) -> Any:
            return {"socket": ours, "sslcontext": "one"}.get(name, default)

    with ours, theirs:
        theirs.sendall(b"record")
        assert leftover(Tls()) == b""
        assert ours.recv(9) == b"record"


async def test_nothing_is_left_where_there_is_no_socket() -> None:
    assert leftover(FakeTransport()) == b""
