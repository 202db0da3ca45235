"""A small service behind the gateway, for load: what it says proves which request it answers."""

from __future__ import annotations

import asyncio
import base64
import hashlib
import re
from types import TracebackType
from typing import Final, Self

LENGTH: Final = re.compile(rb"\r\ncontent-length: *(\d+)\r\n", re.IGNORECASE)
_BACKLOG: Final = 2048
"""What waits behind a restart comes at once; asyncio's own limit is 100."""
_KEY: Final = re.compile(rb"\r\nsec-websocket-key: *(\S+)\r\n", re.IGNORECASE)
_SWITCHED: Final = (
    b"HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n"
    b"Sec-WebSocket-Accept: %s\r\n\r\n"
)


class Service:
    """A service that answers with its name, the target and the size of the body; it echoes what
    comes after an upgrade.
    """

    def __init__(self, name: str, host: str = "127.0.0.1", port: int = 0) -> None:
        self.name = name
        self.requests = 0
        self._where = host, port
        self._server: asyncio.Server | None = None
        self._tasks: set[asyncio.Task[None]] = set()

    async def __aenter__(self) -> Self:
        self._server = await asyncio.start_server(self._serve, *self._where, backlog=_BACKLOG)
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        assert self._server is not None
        self._server.close()
        tasks = list(self._tasks)
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    @property
    def url(self) -> str:
        """Where it is."""
        assert self._server is not None
        return f"http://127.0.0.1:{self._server.sockets[0].getsockname()[1]}"

    async def begun(self, method: str, target: str) -> None:
        """Hear of a request whose head has come."""

    async def reply(
        self,
        method: str,  # noqa: ARG002 - for those that note it
        target: str,  # noqa: ARG002
        body: bytes,
        writer: asyncio.StreamWriter,
    ) -> bool:
        """Answer a request that has come whole; return whether it was the last."""
        self.requests += 1
        writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n%s" % (len(body), body))
        return False

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        self._tasks.add(task)
        try:
            while not await self._answered(reader, writer):
                pass
        except (OSError, asyncio.IncompleteReadError, asyncio.CancelledError):
            pass
        finally:
            self._tasks.discard(task)
            writer.close()

    async def _answered(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> bool:
        """Answer one request; return whether it was the last."""
        head = await reader.readuntil(b"\r\n\r\n")
        method, target = head.decode("latin-1").split(" ", 2)[:2]
        await self.begun(method, target)
        if b"\r\nupgrade:" in head.lower():
            writer.write(_SWITCHED % _accepted(head))
            while piece := await reader.read(1 << 16):
                writer.write(_unmasked(piece))
            return True
        found = LENGTH.search(head)
        size = len(await reader.readexactly(int(found[1]))) if found else 0
        told = b"%s %s %d" % (self.name.encode(), target.encode(), size)
        return await self.reply(method, target, told, writer)


def _accepted(head: bytes) -> bytes:
    """Return what proves that an upgrade was understood (RFC 6455 section 4.2.2)."""
    found = _KEY.search(head)
    assert found is not None
    guid = b"258EAFA5-E914-47DA-95CA-C5AB0DC85B11"
    return base64.b64encode(hashlib.sha1(found[1] + guid, usedforsecurity=False).digest())


def _unmasked(frame: bytes) -> bytes:
    """Return a short masked frame as a server sends it. What is not one comes back as it is."""
    if len(frame) < 6 or not frame[1] & 0x80:
        return frame
    size, mask = frame[1] & 0x7F, frame[2:6]
    body = bytes(byte ^ mask[at % 4] for at, byte in enumerate(frame[6:]))
    return bytes([frame[0], size]) + body
