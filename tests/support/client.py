"""A client that sends exact bytes: whatever a test wants to send, well-formed or not.

Nothing here waits for a length of time: reads end by data, by the end of the connection, or, when
the server is at fault, by a deadline that raises TimeoutError.
"""

from __future__ import annotations

import asyncio
import socket
import ssl
import struct
from collections.abc import Callable, Sequence
from types import TracebackType
from typing import Final, Self

from tests.support.answers import Answer, Answers, parse_answers

DEADLINE: Final = 10.0
"""Seconds until a server that does not answer fails the test."""

_PIECE: Final = 1 << 16


class _Wire(asyncio.Protocol):
    """Collects what arrives, also what came before a reset (asyncio's StreamReader loses that)."""

    def __init__(self) -> None:
        self.received = bytearray()
        self.eof = False
        self.reset = False
        self.changed = asyncio.Event()
        self.writable = asyncio.Event()
        self.writable.set()

    def data_received(self, data: bytes) -> None:
        self.received += data
        self.changed.set()

    def eof_received(self) -> bool:
        self.eof = True
        self.changed.set()
        return True

    def connection_lost(self, exc: Exception | None) -> None:
        self.reset = self.reset or exc is not None
        self.eof = True
        self.changed.set()
        self.writable.set()

    def pause_writing(self) -> None:
        self.writable.clear()

    def resume_writing(self) -> None:
        self.writable.set()


class RawClient:
    """One connection. `async with RawClient(port) as client:`.

    With `window` (bytes) the kernel's receive buffer is that small and nothing is read before
    `read_on()`. `host` is a number, of IPv4 or IPv6. With `tls` the server must show a certificate
    for `localhost`; `preamble` is sent before the handshake. Instead of a port, a text is the path
    of a unix socket. `source` is the address to come from.
    """

    def __init__(
        self,
        port: int | str,
        *,
        host: str = "127.0.0.1",
        window: int | None = None,
        source: str | None = None,
        tls: ssl.SSLContext | None = None,
        preamble: bytes = b"",
    ) -> None:
        self._preamble = preamble
        self._address = port if isinstance(port, str) else (host, port)
        self._window = window
        self._source = source
        self._tls = tls
        self._wire = _Wire()
        self._transport: asyncio.Transport | None = None

    async def __aenter__(self) -> Self:
        sock = socket.socket(_family(self._address))
        if self._window is not None:
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, self._window)
        if self._source is not None:
            sock.bind((self._source, 0))
        sock.setblocking(False)
        loop = asyncio.get_running_loop()
        try:
            await loop.sock_connect(sock, self._address)
            await loop.sock_sendall(sock, self._preamble)
        except BaseException:  # a cancellation too
            sock.close()
            raise
        self._transport, _ = await loop.create_connection(
            lambda: self._wire,
            sock=sock,
            ssl=self._tls,
            server_hostname="localhost" if self._tls else None,
        )
        if self._window is not None:
            # Not in connection_made: uvloop, and asyncio up to 3.11.3, begin to read after it.
            self._transport.pause_reading()
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.transport.abort()

    @property
    def own_host(self) -> str:
        """The address that the server sees as its client's."""
        return str(self.transport.get_extra_info("sockname")[0])

    @property
    def transport(self) -> asyncio.Transport:
        """The open connection."""
        assert self._transport is not None
        return self._transport

    @property
    def received(self) -> bytes:
        """Every byte that the server sent."""
        return bytes(self._wire.received)

    @property
    def size(self) -> int:
        """How many bytes the server sent."""
        return len(self._wire.received)

    @property
    def eof(self) -> bool:
        """Whether the server ended the connection, orderly or not."""
        return self._wire.eof

    @property
    def reset(self) -> bool:
        """Whether the connection ended with a reset."""
        return self._wire.reset

    async def send(self, data: bytes, *, deadline: float = DEADLINE) -> None:
        """Send `data`; a server that has closed meanwhile is not an error. Raises TimeoutError."""
        async with asyncio.timeout(deadline):
            for start in range(0, len(data), _PIECE):
                if self._wire.reset or self.transport.is_closing():
                    return
                self.transport.write(data[start : start + _PIECE])
                await self._wire.writable.wait()

    def post(self, data: bytes) -> None:
        """Send `data` without waiting until the server takes it."""
        self.transport.write(data)

    def half_close(self) -> None:
        """Say that nothing more will be sent."""
        if not self.transport.is_closing():
            self.transport.write_eof()

    def reset_connection(self) -> None:
        """End the connection with a reset."""
        sock = self.transport.get_extra_info("socket")
        if not self.transport.is_closing():
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
            self.transport.abort()

    def read_on(self) -> None:
        """Read what a client with a `window` has left unread."""
        self.transport.resume_reading()

    async def wait(self, ready: Callable[[], bool], *, deadline: float = DEADLINE) -> None:
        """Wait until `ready()` holds, looking whenever something arrives. Raises TimeoutError."""
        async with asyncio.timeout(deadline):
            while not ready():
                self._wire.changed.clear()
                await self._wire.changed.wait()

    async def read_until_closed(self, *, deadline: float = DEADLINE) -> bytes:
        """Wait for the end of the connection and return every byte of it. Raises TimeoutError."""
        await self.wait(lambda: self.eof, deadline=deadline)
        return self.received

    def answers(self, methods: Sequence[str] = ()) -> Answers:
        """Return what has arrived so far as answers to requests with these `methods`."""
        return parse_answers(self._wire.received, eof=self.eof, methods=methods)

    def answer_from(self, start: int) -> Answer:
        """Return the whole answer that begins behind the first `start` bytes, the last there is."""
        [answer] = parse_answers(self.received[start:], eof=self.eof).all
        return answer

    async def read_answers(
        self, count: int = 1, *, methods: Sequence[str] = (), deadline: float = DEADLINE
    ) -> list[Answer]:
        """Wait for `count` final answers and return all that there are. Raises TimeoutError.

        Fewer come back when the connection ends, or stops being HTTP, before.
        """

        wanted = 0

        def enough() -> bool:
            nonlocal wanted
            if self.size < wanted and not self.eof:
                return False
            answers = self.answers(methods)
            wanted = self.size + answers.lacking
            return self.eof or answers.garbage or len(answers.final) >= count

        await self.wait(enough, deadline=deadline)
        return self.answers(methods).final


def _family(address: str | tuple[str, int]) -> socket.AddressFamily:
    if isinstance(address, str):
        return socket.AF_UNIX
    return socket.AF_INET6 if ":" in address[0] else socket.AF_INET


async def exchange(
    port: int | str,
    data: bytes,
    *,
    method: str = "GET",
    host: str = "127.0.0.1",
    tls: ssl.SSLContext | None = None,
    deadline: float = DEADLINE,
) -> Answer:
    """Send one request on a connection of its own and return its final answer."""
    async with RawClient(port, host=host, tls=tls) as client:
        await client.send(data, deadline=deadline)
        answers = await client.read_answers(methods=(method,), deadline=deadline)
        assert answers, f"no answer, but {client.received!r}"
        return answers[0]
