"""Attackers: `python -m bench.attackers KIND PORT CONNECTIONS`, a process of its own until it is
ended.

Each keeps so many connections, and makes a new one when one was closed: what a gateway that only
closes them has gained is for a moment.
"""

from __future__ import annotations

import asyncio
import socket
import sys
from collections.abc import AsyncIterator, Callable
from typing import Final

_START_EACH: Final = 0.001
"""Seconds between two connections at the start, so that the listener's backlog is not all there is
to see.
"""
_AGAIN: Final = 0.2
"""Seconds until a connection that was closed, or could not be made, is made again."""
_HOST: Final = b"Host: api.example.com\r\n"
_GET: Final = b"GET /public/small HTTP/1.1\r\n" + _HOST
_POST: Final = b"POST /public/sink HTTP/1.1\r\n" + _HOST
_CHUNKED: Final = _POST + b"Transfer-Encoding: chunked\r\n\r\n"
_LARGE: Final = b"GET /public/large HTTP/1.1\r\n" + _HOST + b"\r\n"
_WINDOW: Final = 2048
"""Bytes of the receive buffer of who does not read."""

Pieces = AsyncIterator[bytes]


async def _slowly(beginning: bytes, piece: bytes) -> Pieces:
    """A beginning at once, then a piece each second, without end."""
    yield beginning
    while True:
        await asyncio.sleep(1)
        yield piece


async def _flood(beginning: bytes, piece: bytes) -> Pieces:
    """A beginning, then as much as is taken."""
    yield beginning
    while True:
        yield piece


KINDS: Final[dict[str, tuple[str, Callable[[], Pieces]]]] = {
    "silent": ("connect and say nothing", lambda: _slowly(b"", b"")),
    "slow-heads": ("a head, one byte a second", lambda: _slowly(_GET + b"X: ", b"x")),
    "blank-lines": ("an empty line a second", lambda: _slowly(b"\r\n", b"\r\n")),
    "second-heads": (
        "a request, and behind it a head of one byte a second",
        lambda: _slowly(_GET + b"\r\n" + _GET + b"X: ", b"x"),
    ),
    "endless-heads": ("a head without end", lambda: _flood(_GET, b"X: " + b"y" * 997 + b"\r\n")),
    "kept-alive": ("a request every 20 s", lambda: _now_and_then(_GET + b"\r\n")),
    "slow-bodies": (
        "a body, one byte a second",
        lambda: _slowly(_POST + b"Content-Length: 1000000\r\n\r\n", b"x"),
    ),
    "tiny-chunks": ("a body in chunks of one byte", lambda: _flood(_CHUNKED, b"1\r\nx\r\n" * 1000)),
    "chunk-extensions": (
        "chunks with extensions of 1 kB",
        lambda: _flood(_CHUNKED, b"1;" + b"e" * 1000 + b"\r\nx\r\n"),
    ),
    "trailers": ("trailers without end", lambda: _flood(_CHUNKED + b"0\r\n", b"X: y\r\n" * 100)),
    "pipelining": (
        "requests without end, reading no answer",
        lambda: _flood(b"", (_GET + b"\r\n") * 100),
    ),
    "slow-readers": ("a large answer, of which nothing is read", lambda: _slowly(_LARGE, b"")),
    "large-bodies": (
        "bodies as fast as they are taken",
        lambda: _flood(_POST + b"Content-Length: 1000000000\r\n\r\n", b"x" * 65536),
    ),
}
"""Kind -> what it does, and what it sends."""
_UNREAD: Final = {"slow-readers", "pipelining"}


async def _now_and_then(request: bytes) -> Pieces:
    while True:
        yield request
        await asyncio.sleep(20)


async def _one(kind: str, port: int) -> None:
    """Keep one connection for ever."""
    while True:
        try:
            await _attack(kind, port)
        except OSError:
            pass
        await asyncio.sleep(_AGAIN)


async def _attack(kind: str, port: int) -> None:
    loop = asyncio.get_running_loop()
    sock = socket.socket()
    if kind in _UNREAD:
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, _WINDOW)
    with sock:
        sock.setblocking(False)
        await loop.sock_connect(sock, ("127.0.0.1", port))
        sending = asyncio.ensure_future(_send(sock, KINDS[kind][1]()))
        try:
            if kind in _UNREAD:
                await sending
            else:
                while await loop.sock_recv(sock, 65536):
                    pass
        finally:
            sending.cancel()


async def _send(sock: socket.socket, pieces: Pieces) -> None:
    loop = asyncio.get_running_loop()
    async for piece in pieces:
        if piece:
            await loop.sock_sendall(sock, piece)
        elif _is_reset(sock):
            return
        await asyncio.sleep(0)  # sending waits only when nothing more is taken


def _is_reset(sock: socket.socket) -> bool:
    return sock.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR) != 0


async def _all(kind: str, port: int, connections: int) -> None:
    async with asyncio.TaskGroup() as group:
        for _ in range(connections):
            group.create_task(_one(kind, port))
            await asyncio.sleep(_START_EACH)


if __name__ == "__main__":
    asyncio.run(_all(sys.argv[1], int(sys.argv[2]), int(sys.argv[3])))
