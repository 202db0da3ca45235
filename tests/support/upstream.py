"""An upstream that records what reaches it, to the byte, and answers as it is told.

It frames requests by itself and strictly: whatever a gateway must never emit (two framings, a bare
LF, a field name that is no token, a target with a space) lands in `violations`, and the connection
is closed.

    async with StubUpstream() as upstream:
        upstream.script("/slow", slow)              # a coroutine function that takes the Exchange
        upstream.script("/odd", b"HTTP/1.1 204 \\r\\n\\r\\n")  # or the bytes to answer with
        ...
        [request] = upstream.requests

A path without a script answers 200 with a JSON echo of the request.
"""

from __future__ import annotations

import asyncio
import hashlib
import json
import re
import socket
import ssl
import struct
from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import dataclass, field
from types import TracebackType
from typing import Final, Self

_REQUEST_LINE: Final = re.compile(rb"([!#$%&'*+\-.^_`|~0-9A-Za-z]+) ([\x21-\x7e]+) HTTP/1\.1")
_FIELD: Final = re.compile(
    rb"([!#$%&'*+\-.^_`|~0-9A-Za-z]+):[ \t]*([^\x00-\x08\x0a-\x1f\x7f]*?)[ \t]*"
)
_CHUNK_SIZE: Final = re.compile(rb"([0-9A-Fa-f]{1,8})\r\n")
_KEEP: Final = 16 << 20
"""Bytes kept of one body and of one connection; what comes after is counted and hashed only."""
_ECHO_LIMIT: Final = 1 << 16
_HEAD_LIMIT: Final = 1 << 18


class Violation(Exception):
    """The gateway sent something that is not HTTP/1.1."""


class _Ended(Exception):
    """The gateway closed the connection."""


@dataclass(slots=True)
class Recorded:
    """One request. `body` and `raw` hold the first 16 MiB; `size` and `digest` mean the whole body.

    `complete` turns true when the body's end has been read; `connection` numbers connections from
    0.
    """

    method: str
    target: str
    headers: list[tuple[bytes, bytes]]
    raw: bytearray
    connection: int
    body: bytearray = field(default_factory=bytearray)
    size: int = 0
    complete: bool = False
    _hash: hashlib._Hash = field(default_factory=hashlib.sha256, repr=False)

    @property
    def path(self) -> str:
        """The target without its query."""
        return self.target.partition("?")[0]

    @property
    def digest(self) -> str:
        """SHA-256 of the body so far, in hex."""
        return self._hash.hexdigest()

    def values(self, name: str) -> list[str]:
        """Return the values of all fields called `name`, in order, bytes as Latin-1 characters."""
        wanted = name.lower().encode()
        return [value.decode("latin-1") for key, value in self.headers if key.lower() == wanted]

    def get(self, name: str) -> str | None:
        """Return the one value of `name`, or None. Raises AssertionError when there are more."""
        values = self.values(name)
        assert len(values) <= 1, f"{name} comes {len(values)} times"
        return values[0] if values else None

    def add(self, data: bytes) -> None:
        """Note a piece of the body."""
        self.size += len(data)
        self._hash.update(data)
        self.body += data[: max(0, _KEEP - len(self.body))]


@dataclass(slots=True)
class Connection:
    """One connection from the gateway: what came, as bytes and as requests.

    `ended` is set once either side has closed it.
    """

    number: int
    received: bytearray = field(default_factory=bytearray)
    requests: list[Recorded] = field(default_factory=list)
    ended: asyncio.Event = field(default_factory=asyncio.Event)
    busy: bool = False


class Exchange:
    """What a script gets: the request, its body perhaps still on its way, and means to answer."""

    def __init__(self, request: Recorded, wire: _Wire, changed: Callable[[], None]) -> None:
        self.request = request
        self.connection = wire.connection
        self._wire = wire
        self._changed = changed
        self._body: AsyncIterator[bytes] | None = None

    async def pieces(self) -> AsyncIterator[bytes]:
        """Read the rest of the body piece by piece."""
        if self._body is None:
            self._body = self._wire.body(self.request)
        async for piece in self._body:
            self.request.add(piece)
            yield piece
        self.request.complete = True
        self._changed()

    async def read_body(self) -> bytes:
        """Read the rest of the body; return what has been kept of the whole."""
        async for _ in self.pieces():
            pass
        return bytes(self.request.body)

    async def read(self, limit: int = 1 << 16) -> bytes:
        """Read bytes that follow the request (after a 101); b"" at the end of the connection."""
        return await self._wire.read(limit)

    async def send(self, data: bytes) -> None:
        """Send bytes as fast as the gateway takes them. Raises ConnectionError when it has left."""
        self._wire.writer.write(data)
        await self._wire.writer.drain()

    def close(self) -> None:
        """Close the connection, after what was sent."""
        self._wire.writer.close()

    def abort(self) -> None:
        """Reset the connection."""
        sock = self._wire.writer.get_extra_info("socket")
        if not self._wire.writer.is_closing() and sock.family != socket.AF_UNIX:
            # Without it uvloop's abort() may send a FIN.
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        self._wire.writer.transport.abort()


Script = Callable[[Exchange], Awaitable[None]]


class _Wire:
    """One connection's bytes: reads that record."""

    def __init__(
        self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, connection: Connection
    ) -> None:
        self.reader = reader
        self.writer = writer
        self.connection = connection

    def _note(self, data: bytes, request: Recorded | None = None) -> bytes:
        kept = self.connection.received
        kept += data[: max(0, _KEEP - len(kept))]
        if request is not None:
            request.raw += data[: max(0, _KEEP - len(request.raw))]
        return data

    async def read(self, limit: int) -> bytes:
        return self._note(await self.reader.read(limit))

    async def head(self) -> bytes:
        """Read up to the blank line. Raises _Ended at the orderly end of the connection."""
        try:
            return self._note(await self.reader.readuntil(b"\r\n\r\n"))
        except asyncio.IncompleteReadError as error:
            self._note(error.partial)
            if error.partial:
                raise Violation(f"the connection ended in a head: {error.partial!r}") from None
            raise _Ended from None
        except asyncio.LimitOverrunError:
            raise Violation("a head without an end") from None

    async def _exactly(self, size: int, request: Recorded) -> bytes:
        try:
            return self._note(await self.reader.readexactly(size), request)
        except asyncio.IncompleteReadError as error:
            self._note(error.partial, request)
            request.add(error.partial)
            raise _Ended from None

    async def body(self, request: Recorded) -> AsyncIterator[bytes]:
        """Yield the body of `request` in pieces."""
        if request.values("Transfer-Encoding"):
            while size := await self._chunk_size(request):
                async for piece in self._sized(size, request):
                    yield piece
                if await self._exactly(2, request) != b"\r\n":
                    raise Violation("a chunk that is longer than its size")
            if await self._exactly(2, request) != b"\r\n":
                raise Violation("a trailer")
        else:
            async for piece in self._sized(int(request.get("Content-Length") or 0), request):
                yield piece

    async def _sized(self, size: int, request: Recorded) -> AsyncIterator[bytes]:
        while size:
            piece = self._note(await self.reader.read(min(size, 1 << 16)), request)
            if not piece:
                raise _Ended
            size -= len(piece)
            yield piece

    async def _chunk_size(self, request: Recorded) -> int:
        try:
            line = self._note(await self.reader.readuntil(b"\r\n"), request)
        except asyncio.IncompleteReadError as error:
            self._note(error.partial, request)
            raise _Ended from None
        size = _CHUNK_SIZE.fullmatch(line)
        if size is None:
            raise Violation(f"chunk size {line!r}")
        return int(size[1], 16)


def _parse(head: bytes, connection: int) -> Recorded:
    """Return the request of `head`. Raises Violation."""
    first, *lines = head[:-4].split(b"\r\n")
    request_line = _REQUEST_LINE.fullmatch(first)
    if request_line is None:
        raise Violation(f"request line {first!r}")
    headers = []
    for line in lines:
        parts = _FIELD.fullmatch(line)
        if parts is None:
            raise Violation(f"field {line!r}")
        headers.append((parts[1], parts[2]))
    method, target = request_line[1].decode(), request_line[2].decode()
    request = Recorded(method, target, headers, bytearray(head), connection)
    codings, lengths = request.values("Transfer-Encoding"), request.values("Content-Length")
    if len(codings) + len(lengths) > 1 or codings not in ([], ["chunked"]):
        raise Violation(f"Transfer-Encoding {codings}, Content-Length {lengths}")
    if lengths and not re.fullmatch("[0-9]+", lengths[0]):
        raise Violation(f"Content-Length {lengths[0]}")
    if len(request.values("Host")) != 1:
        raise Violation(f"Host {request.values('Host')}")
    return request


async def echo(exchange: Exchange) -> None:
    """Answer with what came; of the body its first 64 KiB, its size and its SHA-256."""
    await exchange.read_body()
    request = exchange.request
    answer = {
        "method": request.method,
        "target": request.target,
        "headers": [[k.decode("latin-1"), v.decode("latin-1")] for k, v in request.headers],
        "body": request.body[:_ECHO_LIMIT].decode("latin-1"),
        "size": request.size,
        "sha256": request.digest,
    }
    body = json.dumps(answer).encode()
    head = b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: %d\r\n\r\n"
    await exchange.send(head % len(body) + (b"" if request.method == "HEAD" else body))


class StubUpstream:
    """The server. Listens on 127.0.0.1, by TLS if there is a `tls`, or on a unix socket, `path`.

    Entering raises OSError when the address is taken.
    """

    def __init__(
        self,
        *,
        host: str = "127.0.0.1",
        port: int = 0,
        path: str | None = None,
        tls: ssl.SSLContext | None = None,
    ) -> None:
        self.requests: list[Recorded] = []
        self.connections: list[Connection] = []
        self.violations: list[str] = []
        self.default: Script = echo
        self._host = host
        self._port = port
        self._path = path
        self._tls = tls
        self._scripts: dict[str, Script] = {}
        self._server: asyncio.Server | None = None
        self._tasks: set[asyncio.Task[None]] = set()
        self._wires: dict[int, _Wire] = {}
        self._changed = asyncio.Event()

    async def __aenter__(self) -> Self:
        if self._path is not None:
            self._server = await asyncio.start_unix_server(
                self._accept, self._path, limit=_HEAD_LIMIT
            )
        else:
            self._server = await asyncio.start_server(
                self._accept, self._host, self._port, limit=_HEAD_LIMIT, ssl=self._tls
            )
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        assert self._server is not None
        self._server.close()
        for task in list(self._tasks):
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        await asyncio.sleep(0)  # aborted transports close themselves in the loop's next round

    @property
    def port(self) -> int:
        """The TCP port that it listens on."""
        assert self._server is not None
        port = self._server.sockets[0].getsockname()[1]
        assert isinstance(port, int)
        return port

    @property
    def url(self) -> str:
        """Its address, as the configuration of an endpoint."""
        if self._path is not None:
            return f"unix:{self._path}"
        return f"http{'s' if self._tls else ''}://127.0.0.1:{self.port}"

    def script(self, path: str, answer: Script | bytes) -> None:
        """Answer requests for `path` (any query) by `answer`; bytes go out after its body."""
        self._scripts[path] = _answer_bytes(answer) if isinstance(answer, bytes) else answer

    def forget(self) -> None:
        """Empty the record. Open connections keep their numbers and note what comes from now on."""
        self.requests.clear()
        self.violations.clear()
        for connection in self.connections:
            connection.received.clear()
            connection.requests.clear()

    @property
    def received(self) -> bytes:
        """Every byte that came, connection by connection."""
        return b"".join(bytes(connection.received) for connection in self.connections)

    async def wait(self, ready: Callable[[], bool], *, deadline: float = 10.0) -> None:
        """Wait until `ready()`, looking whenever a request begins or ends. Raises TimeoutError."""
        async with asyncio.timeout(deadline):
            while not ready():
                self._changed.clear()
                await self._changed.wait()

    def close_idle(self) -> None:
        """Close the connections with no request in progress, as a backend does after a while."""
        for wire in list(self._wires.values()):
            if not wire.connection.busy:
                wire.writer.close()

    async def retire_idle(self, *, deadline: float = 10.0) -> None:
        """End the connections with no request in progress, and wait until the other side has too.

        Not by TLS. Nobody can still send a request on one of them, as after `close_idle`. Raises
        TimeoutError when the other side keeps one open.
        """
        idle = [wire for wire in self._wires.values() if not wire.connection.busy]
        for wire in idle:
            if not wire.writer.is_closing():
                wire.writer.write_eof()
        async with asyncio.timeout(deadline):
            for wire in idle:
                await wire.connection.ended.wait()

    def _note_change(self) -> None:
        self._changed.set()

    async def _accept(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        self._tasks.add(task)
        connection = Connection(len(self.connections))
        self.connections.append(connection)
        wire = self._wires[connection.number] = _Wire(reader, writer, connection)
        try:
            while not writer.is_closing():
                await self._serve_one(wire)
            await writer.wait_closed()
        except (AssertionError, Violation) as error:
            self.violations.append(f"{type(error).__name__}: {error}")
        except (_Ended, ConnectionError, asyncio.CancelledError):
            pass  # the gateway left, or the test is over
        finally:
            writer.transport.abort()
            connection.ended.set()
            del self._wires[connection.number]
            self._tasks.discard(task)
            self._note_change()

    async def _serve_one(self, wire: _Wire) -> None:
        connection = wire.connection
        connection.busy = False
        head = await wire.head()
        connection.busy = True
        request = _parse(head, connection.number)
        self.requests.append(request)
        connection.requests.append(request)
        self._note_change()
        exchange = Exchange(request, wire, self._note_change)
        await self._scripts.get(request.path, self.default)(exchange)
        if not request.complete and not wire.writer.is_closing():
            await exchange.read_body()
        if "close" in ",".join(request.values("Connection")).lower():
            wire.writer.close()
        self._note_change()


def _answer_bytes(answer: bytes) -> Script:
    async def script(exchange: Exchange) -> None:
        await exchange.read_body()
        await exchange.send(answer)

    return script
