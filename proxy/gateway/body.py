"""The body of one request, as it comes from the client: bounded, timed, asked for when the
client waits to be asked.

A deadline between two pieces alone is met for ever by a byte now and then, each of which holds a
connection to the endpoint (R.U.D.Y.). So time is a credit: it starts at `body_idle`, the wait for
the client takes from it, and each byte gives `1 / body_rate` seconds back, up to `body_idle` again.
While the endpoint is behind nobody waits for the client, and nothing is taken.
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

_AHEAD: Final = 16 * 1024
"""Bytes of a body with a length that are taken in before an endpoint is asked. Of thousands of slow
bodies none then holds a place at the endpoint that has not brought as much.
"""
_CONTINUE: Final = b"HTTP/1.1 100 Continue\r\n\r\n"


class RequestBody:
    """A body on its way in. `received` counts the bytes that were read from it."""

    __slots__ = (
        "_ahead",
        "_asked",
        "_client",
        "_credit",
        "_idle",
        "_limit",
        "_payload",
        "_rate",
        "_sized",
        "received",
    )

    def __init__(self, client: Downstream, payload: Payload, head: RequestHead) -> None:
        self._client = client
        self._payload = payload
        self._asked = not framing.expects_continue(head)
        self._sized = not framing.is_chunked(head)
        self._ahead = b""
        self._limit: int | None = None
        self._idle = self._credit = 0.0
        self._rate: int | None = None
        self.received = 0

    def __repr__(self) -> str:
        return f"<RequestBody received={self.received} complete={self.complete}>"

    def limit(self, size: int | None, idle: float, rate: int | None) -> None:
        """Allow at most `size` bytes (None: any), with no pause of more than `idle` seconds, and
        not fewer than `rate` bytes per second for longer than that (None: any).
        """
        self._limit = size
        self._idle = self._credit = idle
        self._rate = rate

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

    async def beginning(self) -> bytes | None:
        """Take in what should be there before an endpoint is asked. Return the body if that is all
        of it, else None. Raises what `read` does.

        A body in chunks may be one half of a conversation, of which nothing is held back.
        """
        if not self._sized:
            return None
        pieces = b""
        while len(pieces) < _AHEAD:
            data = await self.read()
            if not data:
                return pieces
            pieces += data
        self._ahead = pieces
        return None

    @property
    def lag(self) -> float:
        """Seconds by which the client is behind the least rate: a byte now and then does not make
        up for them.
        """
        return self._idle - self._credit

    async def read(self) -> bytes:
        """Return the next bytes, b"" at the end. Raises BadRequest, BodyTooLarge,
        RequestTimeout.
        """
        if self._ahead:
            data, self._ahead = self._ahead, b""
            return data
        client = self._client
        if not self._asked:
            self._asked = True
            client.write(_CONTINUE)
        began = monotonic()
        client.waits_since = began - self.lag
        client.read_deadline = deadline = began + self._credit
        try:
            data = await self._payload.readany()
        except RequestPayloadError as error:
            raise BadRequest("the body's framing is broken") from error
        finally:
            client.waits_since = NEVER
            if client.read_deadline == deadline:  # else it is that of a connection that closes
                client.read_deadline = NEVER
        self._count(data)
        if self._rate is not None:
            left = self._credit + began - monotonic() + len(data) / self._rate
            self._credit = min(left, self._idle)
        return data

    def _count(self, data: bytes) -> None:
        self.received += len(data)
        if self._limit is not None and self.received > self._limit:
            raise BodyTooLarge(f"body of over {self._limit} bytes (limits.body)")
