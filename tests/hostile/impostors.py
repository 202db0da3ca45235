"""Gateways that are none. They show what the cases, and the runner, are worth."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import Final
from urllib.parse import unquote_to_bytes

from tests.hostile.profiles import FENCE

Passing = Callable[[bytes], bytes]
"""What a pipe makes of the bytes that it passes on."""

_REFUSAL: Final = (
    b"HTTP/1.1 %d No\r\nContent-Type: application/problem+json\r\nCache-Control: no-store\r\n"
    b"Connection: close\r\nContent-Length: %d\r\n\r\n%b"
)


def refusal(status: int) -> bytes:
    """Return an answer with which a gateway could refuse a request."""
    body = b'{"status": %d, "code": "no"}' % status
    return _REFUSAL % (status, len(body), body)


IMPOSTORS: Final[dict[str, bytes | Passing]] = {
    "wide-open": bytes,
    "wide-open-and-decoding": unquote_to_bytes,
    "gullible": lambda data: data.replace(b"\r\nHost:", b"\r\nX-User-Id: u-1\r\nHost:", 1),
    "always-400": refusal(400),
    "always-401": refusal(401),
    "always-404": refusal(404),
    "always-closing": b"",
}
"""Name -> what it answers by itself to everything, or what it makes of what it passes on."""


@asynccontextmanager
async def impostor(
    reply: bytes | Passing, upstream: int, *, passes: tuple[str, ...] = (FENCE,)
) -> AsyncIterator[int]:
    """Serve on a port of its own, which is given, in front of the port `upstream`.

    What names one of `passes` is passed on by those too that answer by themselves: with the fence
    among them, only a case itself can tell such a gateway from a real one.
    """
    tasks: set[asyncio.Task[None]] = set()

    async def accept(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        tasks.add(task)
        try:
            await _serve(reader, writer, reply, upstream, passes)
        except (ConnectionError, asyncio.CancelledError):
            pass  # somebody left, or the test is over
        finally:
            tasks.discard(task)
            await _end(writer)

    server = await asyncio.start_server(accept, "127.0.0.1", 0)
    port: int = server.sockets[0].getsockname()[1]
    try:
        yield port
    finally:
        server.close()
        for task in list(tasks):
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        await asyncio.sleep(0)  # aborted transports close themselves in the loop's next round


async def _serve(
    reader: asyncio.StreamReader,
    writer: asyncio.StreamWriter,
    reply: bytes | Passing,
    upstream: int,
    passes: tuple[str, ...],
) -> None:
    first = await reader.read(1 << 16)
    if isinstance(reply, bytes) and not any(path.encode() in first for path in passes):
        writer.write(reply)
        return
    up_reader, up_writer = await asyncio.open_connection("127.0.0.1", upstream)
    try:
        up_writer.write(first if isinstance(reply, bytes) else reply(first))
        await asyncio.gather(_pump(reader, up_writer), _pump(up_reader, writer))
    finally:
        await _end(up_writer)


async def _end(writer: asyncio.StreamWriter) -> None:
    writer.close()
    try:
        await writer.wait_closed()
    except ConnectionError:
        pass  # it has ended all the more
    finally:
        writer.transport.abort()


async def _pump(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    try:
        while data := await reader.read(1 << 16):
            writer.write(data)
            await writer.drain()
    except ConnectionError:
        pass  # the other side left first, which ends the pipe as well
    writer.close()
