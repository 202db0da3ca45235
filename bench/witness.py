"""An honest client of a besieged gateway, and what it saw.

It asks in four ways: on connections that it keeps (so that its requests are in the lane), on new
connections, for `health_path` on new connections, and on the admin listener.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from contextlib import suppress
from dataclasses import dataclass, field
from time import perf_counter
from typing import Final

from bench import tokens

SOURCE: Final = "127.0.0.2"
"""The address that it comes from: another than the attackers'."""
_KEPT: Final = 8
_PATIENCE: Final = 5.0
"""Seconds after which a request has failed."""
_EVERY: Final = {"kept": 0.05, "new": 0.1, "health": 0.25, "admin": 0.5}
"""Seconds between two requests; of the kept connections on each."""


@dataclass(slots=True)
class Seen:
    """What became of one kind of request: seconds of each that succeeded, what the others met."""

    seconds: list[float] = field(default_factory=list)
    failures: dict[str, int] = field(default_factory=dict)

    @property
    def sent(self) -> int:
        """How many were sent."""
        return len(self.seconds) + sum(self.failures.values())

    def quantile(self, share: float) -> float:
        """Return the seconds within which this share of those that succeeded was answered."""
        ordered = sorted(self.seconds)
        return ordered[min(len(ordered) - 1, int(share * len(ordered)))] if ordered else 0.0


class Witness:
    """Asks from `async with` on until its end; `seen` says what it saw, by kind."""

    def __init__(self, port: int, admin: int, cookie: str) -> None:
        self.seen = {kind: Seen() for kind in _EVERY}
        line = f"Cookie: {tokens.COOKIE}={cookie}\r\n"
        self._request = f"GET /api/me HTTP/1.1\r\nHost: api.example.com\r\n{line}\r\n".encode()
        self._port, self._admin = port, admin
        self._tasks: list[asyncio.Task[None]] = []
        self._writers: set[asyncio.StreamWriter] = set()

    async def __aenter__(self) -> Witness:
        jobs: list[Callable[[], Awaitable[None]]] = [self._keep for _ in range(_KEPT)]
        jobs += [self._new, self._health, self._healthy]
        self._tasks = [asyncio.ensure_future(job()) for job in jobs]
        return self

    async def __aexit__(self, *_: object) -> None:
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        for writer in self._writers:
            writer.transport.abort()
        while self._writers:
            await asyncio.wait_for(_gone(self._writers.pop()), _PATIENCE)

    async def _keep(self) -> None:
        """Ask again and again on one connection; where it was closed while idle, on another."""
        streams: tuple[asyncio.StreamReader, asyncio.StreamWriter] | None = None
        while True:
            reused = streams is not None
            try:
                if streams is None:
                    streams = await self._connect(self._port)
                began = perf_counter()
                await _ask(*streams, self._request, self.seen["kept"], began)
            except _Stale:
                streams = None
                if reused:
                    continue  # what every client does
                _fail(self.seen["kept"], "closed")
            except (OSError, TimeoutError, _Refused) as error:
                streams = None
                _fail(self.seen["kept"], _name(error))
            await asyncio.sleep(_EVERY["kept"])

    async def _new(self) -> None:
        await self._each("new", self._port, self._request)

    async def _health(self) -> None:
        request = b"GET /healthz HTTP/1.1\r\nHost: lb\r\nConnection: close\r\n\r\n"
        await self._each("health", self._port, request)

    async def _healthy(self) -> None:
        request = b"GET /-/healthy HTTP/1.1\r\nHost: localhost\r\n\r\n"
        await self._each("admin", self._admin, request)

    async def _each(self, kind: str, port: int, request: bytes) -> None:
        """Ask again and again, on a new connection each time."""
        while True:
            writer: asyncio.StreamWriter | None = None
            began = perf_counter()
            try:
                reader, writer = await self._connect(port)
                await _ask(reader, writer, request, self.seen[kind], began)
            except (OSError, TimeoutError, _Refused, _Stale) as error:
                _fail(self.seen[kind], _name(error))
            finally:
                if writer is not None:
                    writer.transport.abort()
                    self._writers.discard(writer)
            await asyncio.sleep(_EVERY[kind])

    async def _connect(self, port: int) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
        async with asyncio.timeout(_PATIENCE):
            streams = await asyncio.open_connection("127.0.0.1", port, local_addr=(SOURCE, 0))
        self._writers.add(streams[1])
        return streams


async def _gone(writer: asyncio.StreamWriter) -> None:
    with suppress(OSError):
        await writer.wait_closed()


class _Stale(Exception):
    """The connection had been closed before an answer."""


class _Refused(Exception):
    """An answer that is not a 200."""


async def _ask(
    reader: asyncio.StreamReader,
    writer: asyncio.StreamWriter,
    request: bytes,
    seen: Seen,
    began: float,
) -> None:
    """Ask once and note a success. Raises OSError, TimeoutError, _Refused, _Stale."""
    try:
        async with asyncio.timeout(_PATIENCE):
            writer.write(request)
            head = await reader.readuntil(b"\r\n\r\n")
            await reader.readexactly(_length(head))
    except (asyncio.IncompleteReadError, ConnectionError):
        writer.close()
        raise _Stale from None
    except TimeoutError:
        writer.close()
        raise
    status = head.split(b" ", 2)[1].decode()
    if status != "200":
        writer.close()
        raise _Refused(status)
    seen.seconds.append(perf_counter() - began)


def _length(head: bytes) -> int:
    for line in head.split(b"\r\n"):
        name, _, value = line.partition(b":")
        if name.lower() == b"content-length":
            return int(value)
    return 0


def _fail(seen: Seen, why: str) -> None:
    seen.failures[why] = seen.failures.get(why, 0) + 1


def _name(error: Exception) -> str:
    if isinstance(error, _Refused):
        return str(error)
    return {_Stale: "closed", TimeoutError: "timeout"}.get(type(error), type(error).__name__)


async def watch(witness: Witness, look: Callable[[], None], seconds: float) -> None:
    """Let `witness` ask for so long, and `look` four times a second."""
    loop = asyncio.get_running_loop()
    end = loop.time() + seconds
    async with witness:
        while loop.time() < end:
            with suppress(OSError):
                look()
            await asyncio.sleep(0.25)
