"""The body of one request, as it comes from the client: bounded, timed, asked for when the
client waits to be asked.
"""

from __future__ import annotations

from time import monotonic
from typing import TYPE_CHECKING, Final

from aiohttp.web_protocol import RequestPayloadError

from proxy.core import framing
from proxy.errors import BadRequest, BodyTooLarge
from proxy.upstream.deadlines import NEVER

if TYPE_CHECKING:
    from proxy.core.head import RequestHead
    from proxy.gateway.downstream import Downstream, Payload

_CONTINUE: Final = b"HTTP/1.1 100 Continue\r\n\r\n"


class RequestBody:
    """A body on its way in. `received` counts the bytes that were read from it."""

    __slots__ = ("_asked", "_client", "_idle", "_limit", "_payload", "received")

    def __init__(self, client: Downstream, payload: Payload, head: RequestHead) -> None:
        self._client = client
        self._payload = payload
        self._asked = not framing.expects_continue(head)
        self._limit: int | None = None
        self._idle = 0.0
        self.received = 0

    def __repr__(self) -> str:
        return f"<RequestBody received={self.received} complete={self.complete}>"

    def limit(self, size: int | None, idle: float) -> None:
        """Allow at most `size` bytes (None: any), with no pause of more than `idle` seconds."""
        self._limit = size
        self._idle = idle

    @property
    def complete(self) -> bool:
        """Whether the client has sent all of it."""
        return self._payload.is_eof()

    def whole(self) -> bytes | None:
        """Return the body if all of it has come, b"" if there is none; else None. Raises
        BodyTooLarge.
        """
        if not self._payload.is_eof():
            return None
        data = self._payload.read_nowait(-1)
        self._count(data)
        return data

    async def read(self) -> bytes:
        """Return the next bytes, b"" at the end. Raises BadRequest, BodyTooLarge,
        RequestTimeout.
        """
        client = self._client
        if not self._asked:
            self._asked = True
            client.write(_CONTINUE)
        client.read_deadline = deadline = monotonic() + self._idle
        try:
            data = await self._payload.readany()
        except RequestPayloadError as error:
            raise BadRequest("the body's framing is broken") from error
        finally:
            if client.read_deadline == deadline:  # else it is that of a connection that closes
                client.read_deadline = NEVER
        self._count(data)
        return data

    def _count(self, data: bytes) -> None:
        self.received += len(data)
        if self._limit is not None and self.received > self._limit:
            raise BodyTooLarge(f"body of over {self._limit} bytes (limits.body)")
