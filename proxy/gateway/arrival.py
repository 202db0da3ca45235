"""A connection before it is a client's: who it is (PROXY protocol), then the TLS handshake.

Only listeners that want one of these make arrivals; elsewhere a connection is a ClientConnection
from its first moment. The laws of this file:
- With `proxy_protocol` the peers in `trusted_proxies` alone may connect, and each must begin with
  the header. Whether there is one is never guessed from what comes, so nobody can choose whom we
  take him for.
- The header is read here, once, and the connection that is made afterwards has never seen it: its
  address is the client's from the start, for the log, the forwarding headers, and the lane.
- What comes behind the header, in the same segment or not, belongs to what comes next.
"""

from __future__ import annotations

import asyncio
import logging
import ssl
from collections.abc import Callable
from time import monotonic
from typing import TYPE_CHECKING, Final, Literal, cast

from proxy.core.proxy_protocol import BadProxyHeader, parse
from proxy.gateway.listener import peer_of
from proxy.upstream.deadlines import NEVER
from proxy.upstream.encrypted import bound_buffers

if TYPE_CHECKING:
    from proxy.config.model import Listen
    from proxy.gateway.listener import ClientConnection, ClientServer
    from proxy.telemetry.metrics import Metrics

_log = logging.getLogger("gatelodge.gateway")

Reason = Literal[
    "peer_untrusted",
    "proxy_header_missing",
    "proxy_header_bad",
    "proxy_header_late",
    "tls_handshake",
    "too_many_arriving",
]
"""Why a connection did not come to be: the label of gatelodge_arrivals_refused_total."""

_FIXES: Final[dict[Reason, str]] = {
    "peer_untrusted": "connections of a peer that is not trusted are closed, because "
    "listen.proxy_protocol is on; if it is your load balancer, list its address in trusted_proxies",
    "proxy_header_missing": "connections of a trusted proxy are closed, because they do not begin "
    "with a PROXY header; turn it on there (HAProxy: send-proxy-v2, nginx: proxy_protocol on), or "
    "turn listen.proxy_protocol off here",
    "proxy_header_bad": "a connection of a trusted proxy was closed, because its PROXY header is "
    "broken; what sends it?",
    "proxy_header_late": "a connection of a trusted proxy was closed, because its PROXY header did "
    "not come within limits.header_timeout; does it send one?",
    "too_many_arriving": "connections are closed, because limits.connections have connected and "
    "say nothing yet",
}


class Arrivals:
    """Makes an Arrival for each connection that is accepted, and knows those under way.

    `tls` gives the context for the next handshake; None: the listener speaks plain HTTP.
    """

    def __init__(
        self,
        server: ClientServer,
        metrics: Metrics,
        listen: Listen,
        tls: Callable[[], ssl.SSLContext] | None,
    ) -> None:
        self.server = server
        self.proxy_protocol = listen.proxy_protocol
        self.tls = tls
        self.under_way: set[Arrival] = set()
        server.arriving = self.under_way
        self.tasks: set[asyncio.Task[None]] = set()
        self._metrics = metrics
        self._told: set[Reason] = set()

    def __call__(self) -> Arrival:
        return Arrival(self)

    @property
    def factory(self) -> Callable[[], asyncio.BaseProtocol]:
        """What a listener makes its protocols with: the server itself, where nothing comes before a
        request.
        """
        return self.server if self.tls is None and not self.proxy_protocol else self

    def __repr__(self) -> str:
        return f"<Arrivals under_way={len(self.under_way)}>"

    def count(self, reason: Reason, peer: str, detail: str) -> None:
        """Count a connection that does not come to be; tell the operator once what to do."""
        refused = self._metrics.arrivals_refused
        refused[reason] = refused.get(reason, 0) + 1
        fix = _FIXES.get(reason)
        if fix is None or reason in self._told:
            _log.debug("a connection was refused", extra={"peer": peer, "reason": detail})
        else:
            self._told.add(reason)
            _log.warning(fix, extra={"peer": peer, "reason": detail})

    def stop(self) -> None:
        """Close them all."""
        for arrival in list(self.under_way):
            arrival.abort()


class Arrival(asyncio.Protocol):
    """One connection, until it is handed to a ClientConnection.

    `deadline` (time.monotonic) is when what is awaited must be here: the header, or the first byte
    of a handshake, which then has a deadline of its own.
    """

    __slots__ = (
        "_arrivals",
        "_awaits",
        "_came",
        "_client",
        "_peer",
        "_source",
        "deadline",
        "transport",
    )

    def __init__(self, arrivals: Arrivals) -> None:
        self._arrivals = arrivals
        self._awaits: Literal["header", "hello"] | None = None
        self._came = b""
        self._client: ClientConnection | None = None
        self._peer = ""
        self._source: str | None = None
        self.deadline = NEVER
        self.transport: asyncio.Transport | None = None

    def __repr__(self) -> str:
        return f"<Arrival awaits={self._awaits}>"

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        arrivals = self._arrivals
        server = arrivals.server
        self.transport = cast("asyncio.Transport", transport)
        self._peer = peer_of(transport)
        if arrivals.proxy_protocol and not server.gateway.trusts(self._peer):
            self._refuse("peer_untrusted", "not in trusted_proxies")
            return
        if len(arrivals.under_way) >= server.limits.connections:
            self._refuse("too_many_arriving", "limits.connections")
            return
        arrivals.under_way.add(self)
        server.deadlines.watch(self)
        self._await("header" if arrivals.proxy_protocol else "hello")

    def _await(self, what: Literal["header", "hello"]) -> None:
        self._awaits = what
        self.deadline = monotonic() + self._arrivals.server.limits.header_timeout

    def data_received(self, data: bytes) -> None:
        arrivals, transport = self._arrivals, self.transport
        if transport is None:
            return
        self._came += data
        if self._awaits == "header" and self._read_header():
            if arrivals.tls is None:
                self._hand_over(transport)
                return
            self._await("hello")
        if self._awaits == "hello" and self._came:
            # No sooner, so that who only looks whether the port is open costs and counts nothing.
            self._awaits, self.deadline = None, NEVER
            # What comes now, its end too, is for TLS, whose first step lets it come.
            transport.pause_reading()
            task = asyncio.get_running_loop().create_task(self._encrypt(transport))
            arrivals.tasks.add(task)  # the loop keeps none alive
            task.add_done_callback(arrivals.tasks.discard)

    def _read_header(self) -> bool:
        """Take the header off what has come; return whether it is whole."""
        try:
            header = parse(self._came)
        except BadProxyHeader as error:
            self._refuse(
                "proxy_header_missing" if error.missing else "proxy_header_bad", str(error)
            )
            return False
        if header is None:
            return False
        self._came, self._source = self._came[header.size :], header.source
        self._awaits, self.deadline = None, NEVER
        return True

    async def _encrypt(self, transport: asyncio.Transport) -> None:
        """Shake hands, then hand the connection over."""
        arrivals = self._arrivals
        if arrivals.tls is None or transport.is_closing():
            return  # closed by us
        limits = arrivals.server.limits
        loop = asyncio.get_running_loop()
        handshake = loop.create_task(
            loop.start_tls(
                transport,
                self,
                arrivals.tls(),
                server_side=True,
                ssl_handshake_timeout=limits.header_timeout,
                ssl_shutdown_timeout=limits.idle,
            )
        )
        # In the turn in which it sets its protocol it schedules what makes that ready and what
        # reads on. Bytes that are scheduled in the same turn come behind the one and, as nothing
        # is read within a turn, before whatever the other will read.
        while transport.get_protocol() is self and not handshake.done():  # noqa: ASYNC110
            await asyncio.sleep(0)
        if not handshake.done():
            came, self._came = self._came, b""
            loop.call_soon(_feed, transport.get_protocol(), came)
        try:
            encrypted = await handshake
            if encrypted is None or self.transport is None:
                raise ConnectionResetError("the connection ended")  # both loops take that for good
        except OSError as error:  # ssl.SSLError and what ends a connection
            self._leave()
            arrivals.count("tls_handshake", self._source or self._peer, _cause(error))
        except BaseException:
            self.abort()
            raise
        else:
            bound_buffers(encrypted)
            self._hand_over(encrypted)

    def _hand_over(self, transport: asyncio.Transport) -> None:
        """Make this the connection of a client, with what has come of it so far."""
        self._leave()
        came, self._came = self._came, b""
        self._client = client = self._arrivals.server.connect(self._source)
        transport.set_protocol(client)
        client.connection_made(transport)
        if came:
            client.data_received(came)

    def eof_received(self) -> None:
        """Half a connection is none that could be answered: the event loop closes it."""

    def connection_lost(self, exc: BaseException | None) -> None:
        """The connection has ended: ours, or what was the client's in the very turn of its end."""
        self.transport = None
        if self._client is not None:
            self._client.connection_lost(exc)
        elif self._awaits == "header" and self._came:
            self._refuse("proxy_header_bad", "the connection ended within the header")
        self._leave()

    def _refuse(self, reason: Reason, detail: str) -> None:
        self._arrivals.count(reason, self._peer, detail)
        self.abort()

    def abort(self) -> None:
        """End the connection without a word."""
        self._awaits, self.deadline = None, NEVER
        self._leave()
        if self.transport is not None and not self.transport.is_closing():
            self.transport.abort()

    def expire(self) -> None:
        """What is awaited did not come in time."""
        header = self._awaits == "header"
        self._refuse("proxy_header_late" if header else "tls_handshake", "limits.header_timeout")

    def close_idle(self) -> None:
        """Close the connection if nothing has come yet, or nothing since its header."""
        if self._awaits is not None and not self._came:
            self.abort()

    def _leave(self) -> None:
        self._arrivals.under_way.discard(self)
        self._arrivals.server.deadlines.forget(self)


def _feed(protocol: asyncio.BaseProtocol, data: bytes) -> None:
    """Give `data` to the protocol of TLS as if it had just been read; it is a BufferedProtocol in
    both event loops.
    """
    buffered = cast("asyncio.BufferedProtocol", protocol)
    while data:
        room = memoryview(buffered.get_buffer(len(data)))
        size = min(len(room), len(data))
        room[:size] = data[:size]
        buffered.buffer_updated(size)
        data = data[size:]


def _cause(error: OSError) -> str:
    if isinstance(error, ssl.SSLError):
        return f"TLS: {error.reason or 'the handshake failed'}"
    return error.strerror or str(error) or "the connection ended"
