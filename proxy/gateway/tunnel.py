"""A WebSocket, spliced: after the 101 bytes pass both ways unread.

Only the ends of the frames that go to the client are followed, so that a Close of ours can be put
between two of them: when the session ends, and when this instance goes away.
"""

from __future__ import annotations

import asyncio
from contextlib import suppress
from time import monotonic
from typing import TYPE_CHECKING, Final

from proxy.core.answer import answer_head
from proxy.core.frames import SESSION_ENDED, FrameTracker, accept_key, close_frame
from proxy.errors import UpstreamProtocol
from proxy.upstream.deadlines import NEVER

if TYPE_CHECKING:
    from proxy.core.answer import Answer
    from proxy.core.decision import Permit
    from proxy.core.exchange import Exchange
    from proxy.core.headers import ResponseFilter
    from proxy.gateway.downstream import Downstream
    from proxy.upstream.connection import UpstreamConnection


async def run_tunnel(
    x: Exchange,
    permit: Permit,
    answer: Answer,
    rules: ResponseFilter,
    client: Downstream,
    upstream: UpstreamConnection,
) -> None:
    """Answer the client with the 101, which was accepted (`check_accepted`), and splice the
    connections until one of them ends. Extensions are between client and endpoint.
    """
    head = answer_head(x, answer, rules, close=False, upgrade=True)
    x.status = answer.status
    client.head_sent = True
    client.write(head.data)
    expires = None if permit.session is None else permit.session.expires
    lifetime = None if expires is None else expires - x.now
    tunnel = Tunnel(client, upstream, permit.route.timeouts.stream_idle, lifetime)
    try:
        await tunnel.run()
    finally:
        x.bytes_in, x.bytes_out = tunnel.bytes_in, tunnel.bytes_out
        upstream.abort()


def check_accepted(answer: Answer, key: bytes) -> None:
    """Raise UpstreamProtocol when the 101 does not accept this WebSocket (RFC 6455 section 4.1, on
    the server's response, points 2 to 4).
    """
    sent: dict[bytes, bytes] = {name.lower(): value for name, value in answer.fields}
    if sent.get(b"upgrade", b"").strip().lower() != b"websocket":
        raise UpstreamProtocol("a 101 that does not switch to websocket")
    if b"upgrade" not in {o.strip().lower() for o in (answer.connection or b"").split(b",")}:
        raise UpstreamProtocol("a 101 without Connection: Upgrade")
    if sent.get(b"sec-websocket-accept", b"").strip() != accept_key(key):
        raise UpstreamProtocol("a 101 with a wrong Sec-WebSocket-Accept")


_LAST_FRAME: Final = 1.0
"""Seconds that a frame to the client may still take to end when a Close is due."""


class Tunnel:
    """Two connections spliced. `patience` is how long nothing may pass, `lifetime` how long the
    session lasts (s).
    """

    def __init__(
        self,
        client: Downstream,
        upstream: UpstreamConnection,
        patience: float | None,
        lifetime: float | None,
    ) -> None:
        self._client = client
        self._upstream = upstream
        self._patience = patience
        self._ends = NEVER if lifetime is None else monotonic() + lifetime
        self._frames = FrameTracker()
        self._closing: int | None = None
        self._done: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self.bytes_in = 0
        self.bytes_out = 0

    def __repr__(self) -> str:
        return f"<Tunnel in={self.bytes_in} out={self.bytes_out} closing={self._closing}>"

    async def run(self) -> None:
        """Splice until either side ends; what is on its way to the client is still sent."""
        self._upstream.on_writable = self._upstream_writable
        behind = self._upstream.take_over(self._from_upstream)
        early = self._client.open_tunnel(self)
        if behind:
            self._from_upstream(behind)
        if early:
            self.from_client(early)
        self._moved()
        if self._upstream.transport is None:
            self._finish()
        await self._done

    def close(self, code: int) -> None:
        """End the tunnel with a Close frame of this code, as soon as no frame to the client is
        half sent.
        """
        self._closing = code
        if self._frames.between and not self._done.done():
            with suppress(ConnectionError):
                self._client.write(close_frame(code))
            self._finish()

    def expire(self) -> None:
        """Nothing has passed for too long, or the session has ended."""
        if self._closing is None and monotonic() >= self._ends:
            self._client.read_deadline = monotonic() + _LAST_FRAME
            self.close(SESSION_ENDED)
            return
        self._finish()

    # What the two connections call.

    def from_client(self, data: bytes) -> None:
        """Bytes came from the client."""
        self.bytes_in += len(data)
        if self._upstream.transport is not None:
            self._upstream.write(data)
        self._moved()

    def _from_upstream(self, data: bytes) -> None:
        """Bytes came from the endpoint; b"" is its end."""
        if not data or self._done.done():
            self._finish()
            return
        self.bytes_out += len(data)
        self._frames.feed(data)
        try:
            self._client.write(data)
        except ConnectionError:
            self._finish()
            return
        if self._closing is not None:
            self.close(self._closing)
        else:
            self._moved()

    def client_gone(self) -> None:
        """The client's connection has ended."""
        self._finish()

    def client_writable(self, writable: bool) -> None:
        """The client takes bytes again, or is behind: then the endpoint waits."""
        _hold(self._upstream.transport, held=not writable)

    def _upstream_writable(self, writable: bool) -> None:
        _hold(self._client.transport, held=not writable)

    def _moved(self) -> None:
        if self._closing is None:
            idle = NEVER if self._patience is None else monotonic() + self._patience
            self._client.read_deadline = min(idle, self._ends)

    def _finish(self) -> None:
        if not self._done.done():
            self._done.set_result(None)


def _hold(transport: asyncio.Transport | None, *, held: bool) -> None:
    """Stop or go on reading from a connection, if there still is one."""
    if transport is None or transport.is_closing():
        return
    if held:
        transport.pause_reading()
    else:
        transport.resume_reading()
