"""Stand-ins for what surrounds the data path: a transport, a client's connection, a gateway."""

from __future__ import annotations

import asyncio
import socket
import sys
from collections.abc import Callable
from typing import Any, Final, cast

from proxy.config.model import Limits
from proxy.core.client import Client
from proxy.core.head import RequestHead
from proxy.errors import ProxyError
from proxy.gateway.downstream import Begun, Downstream, Payload, Splice
from proxy.gateway.listener import ClientConnection, ClientServer
from proxy.upstream.deadlines import NEVER, Deadlines

PEER: Final = ("203.0.113.7", 50000)


class FakeSocket:
    """Notes the options that are set on it; `acked` is the kernel's count of what was taken, if it
    keeps one (tcp_info).
    """

    def __init__(self, family: int = socket.AF_INET) -> None:
        self.family = family
        self.type = socket.SOCK_STREAM
        self.options: list[tuple[Any, ...]] = []
        self.acked: int | None = None

    def setsockopt(self, *option: Any) -> None:
        self.options.append(option)

    def getsockopt(self, *_option: Any) -> bytes:
        return b"" if self.acked is None else bytes(120) + self.acked.to_bytes(8, sys.byteorder)

    def fileno(self) -> int:
        return -1

    def dup(self) -> socket.socket:
        raise OSError("there is no socket behind it")


class FakeTransport(asyncio.Transport):
    """Keeps what is written, and calls the protocol back when it ends, at the loop's next turn."""

    def __init__(
        self, protocol: asyncio.Protocol | None = None, *, family: int = socket.AF_INET
    ) -> None:
        super().__init__()
        self.sock = FakeSocket(family)
        self.written = bytearray()
        self.writes = 0
        self.calls: list[str] = []
        self.unsent = 0
        self.half_closes = True
        self.reading = True
        self._protocol = protocol
        self._closing = False

    def get_extra_info(self, name: str, default: Any = None) -> Any:
        inet = self.sock.family != socket.AF_UNIX
        known = {"socket": self.sock, "peername": PEER if inet else ""}
        return known.get(name, default)

    def set_protocol(self, protocol: asyncio.BaseProtocol) -> None:
        assert isinstance(protocol, asyncio.Protocol)
        self._protocol = protocol

    def get_protocol(self) -> asyncio.BaseProtocol:
        assert self._protocol is not None
        return self._protocol

    def write(self, data: bytes | bytearray | memoryview) -> None:
        assert not self._closing, "uvloop would raise here"
        self.written += data
        self.writes += 1

    def can_write_eof(self) -> bool:
        return self.half_closes

    def write_eof(self) -> None:
        self.calls.append("write_eof")

    def pause_reading(self) -> None:
        self.reading = False

    def resume_reading(self) -> None:
        self.reading = True

    def is_closing(self) -> bool:
        return self._closing

    def get_write_buffer_size(self) -> int:
        return self.unsent

    def close(self) -> None:
        self._end("close")

    def abort(self) -> None:
        self._end("abort")

    def _end(self, how: str) -> None:
        if not self._closing or how == "abort":
            self.calls.append(how)
        ended = not self._closing or (how == "abort" and self.unsent)
        self._closing = True
        if ended and (how == "abort" or not self.unsent):
            self.unsent = 0
            if self._protocol is not None:
                asyncio.get_running_loop().call_soon(self._protocol.connection_lost, None)


Handler = Callable[[Downstream, RequestHead, Payload], Any]


class FakeGateway:
    """Answers by `handler`; keeps the heads and the errors that it was given, in order."""

    def __init__(self, handler: Handler | None = None) -> None:
        self.closing = False
        self.trusted = {PEER[0]}
        self.offered: list[bytes] = []
        self.heads: list[RequestHead] = []
        self.payloads: list[Payload] = []
        self.errors: list[ProxyError] = []
        self._handler = handler

    def enter(self, _client: Downstream, data: bytes) -> Begun | None:
        self.offered.append(data)
        return None

    def trusts(self, peer: str) -> bool:
        return peer in self.trusted

    async def handle(self, client: Downstream, head: RequestHead, payload: Payload) -> bool:
        self.heads.append(head)
        self.payloads.append(payload)
        if self._handler is not None:
            return bool(await self._handler(client, head, payload))
        client.write(b"<%b>" % head.target.encode())
        return not client.closes

    async def turn_away(self, client: Downstream, head: RequestHead, why: ProxyError) -> None:
        self.errors.append(why)
        client.write(b"<%d>" % (200 if head.target == "/health" else why.status))

    async def refuse(self, client: Downstream, error: ProxyError) -> None:
        self.errors.append(error)
        client.write(b"<%d>" % error.status)

    @property
    def targets(self) -> list[str]:
        """The targets of the requests so far."""
        return [head.target for head in self.heads]


class Listener:
    """A connection of a client over a fake transport, to a fake gateway."""

    def __init__(
        self,
        handler: Handler | None = None,
        *,
        limits: Limits | None = None,
        family: int = socket.AF_INET,
        tls: bool = False,
        server: ClientServer | None = None,
    ) -> None:
        loop = asyncio.get_running_loop()
        self.gateway = FakeGateway(handler)
        self.deadlines = Deadlines(loop)
        self.server = server or ClientServer(
            self.gateway, limits or Limits(), self.deadlines, tls=tls
        )
        self.client = cast("ClientConnection", self.server())
        self.transport = FakeTransport(self.client, family=family)
        self.client.connection_made(self.transport)

    async def feed(self, *pieces: bytes) -> None:
        """Hand in bytes as the event loop would, with time to answer after each piece."""
        for piece in pieces:
            self.client.data_received(piece)
            await turns()

    def expire(self) -> None:
        """Let the deadline for what the client sends pass."""
        self.client.read_deadline = 0.0
        self.client.expire()

    @property
    def written(self) -> bytes:
        """What the client was sent."""
        return bytes(self.transport.written)


async def turns(count: int = 6) -> None:
    """Let the loop turn, so that what is ready to run has run."""
    for _ in range(count):
        await asyncio.sleep(0)


class FakeClient:
    """A client's connection as the gateway sees it; `gone` makes every write fail."""

    def __init__(self, *, address: str = "203.0.113.7") -> None:
        self.head_sent = False
        self.whoever = Client(address, "http", trusted=False)
        self.read_deadline = NEVER
        self.waits_since = NEVER
        self.transport: asyncio.Transport | None = FakeTransport()
        self.closes = False
        self.stalled = False
        self.gone = False
        self.written = bytearray()
        self.writes: list[bytes] = []
        self.drains = 0
        self.aborted = False
        self.tail = b""
        self.tunnel: Splice | None = None
        self.lane: list[Begun | str] = []

    def write(self, data: bytes) -> None:
        if self.gone:
            raise ConnectionResetError("the client is gone")
        self.written += data
        self.writes.append(data)

    async def drain(self) -> None:
        self.drains += 1

    def give_way(self) -> bool:
        self.abort()
        return True

    def abort(self) -> None:
        self.aborted = True

    def passed(self) -> None:
        self.lane.append("passed")

    def take_back(self, begun: Begun) -> None:
        self.lane.append(begun)

    def open_tunnel(self, tunnel: Splice) -> bytes:
        self.tunnel = tunnel
        return self.tail


class FakePayload:
    """A body that comes in these pieces; an exception among them is raised when it is its turn.

    `eof` says that all of it is there before anybody reads.
    """

    def __init__(self, *pieces: bytes | BaseException, eof: bool = False) -> None:
        self._pieces = list(pieces)
        self._eof = eof or not pieces

    def is_eof(self) -> bool:
        return self._eof

    def read_nowait(self, n: int = -1) -> bytes:
        assert n == -1
        data = b"".join(piece for piece in self._pieces if isinstance(piece, bytes))
        self._pieces.clear()
        return data

    async def readany(self) -> bytes:
        await asyncio.sleep(0)
        if not self._pieces:
            self._eof = True
            return b""
        piece = self._pieces.pop(0)
        if isinstance(piece, BaseException):
            raise piece
        return piece
