"""One endpoint: its idle connections, and how a new one is made."""

from __future__ import annotations

import asyncio
import ssl
from dataclasses import dataclass
from heapq import nsmallest
from time import monotonic
from typing import TYPE_CHECKING, Final

from proxy.errors import ConnectTimeout, Overloaded, ProxyError, UpstreamUnreachable
from proxy.upstream.connection import UpstreamConnection
from proxy.upstream.deadlines import NEVER
from proxy.upstream.outbox import Outbox

if TYPE_CHECKING:
    from proxy.config.model import Endpoint as Address
    from proxy.upstream.deadlines import Deadlines


_SLOW: Final = 1.0
"""Seconds for which a client may keep an exchange waiting though others need its place."""
_CANDIDATES: Final = 16
"""How many are asked whether they give way, since asking costs a system call."""


@dataclass(frozen=True, slots=True)
class ConnectSettings:
    """How connections to the endpoints of one upstream are made and kept.

    `pool_idle` is seconds; `tls` is there when one of the endpoints is https.
    """

    pool_idle: float
    max_connections: int
    tls: ssl.SSLContext | None
    server_name: str | None


class Endpoint:
    """One endpoint and its connections."""

    def __init__(
        self,
        address: Address,
        settings: ConnectSettings,
        loop: asyncio.AbstractEventLoop,
        deadlines: Deadlines,
    ) -> None:
        self.name = str(address)
        self.authority = address.authority.encode("ascii")
        self._address = address
        self._settings = settings
        self._loop = loop
        self._deadlines = deadlines
        self._outbox = Outbox(loop)
        self._idle: list[UpstreamConnection] = []
        self._open: set[UpstreamConnection] = set()
        self._connecting = 0

    def __repr__(self) -> str:
        return f"<Endpoint {self.name} open={self.open} idle={self.idle}>"

    @property
    def open(self) -> int:
        """How many connections there are, idle ones and those being made included."""
        return len(self._open) + self._connecting

    @property
    def idle(self) -> int:
        """How many connections wait for a request."""
        return len(self._idle)

    def take_idle(self, max_age: float) -> UpstreamConnection | None:
        """Return the connection that was used last, if it has not been idle for longer than
        `max_age` seconds.

        Last in, first out keeps few connections busy, so that the others grow old and are closed by
        us before the endpoint closes them under a request.
        """
        while self._idle:
            connection = self._idle[-1]
            if monotonic() - connection.idle_since > max_age:
                return None
            self._idle.pop()
            if connection.transport is not None and not connection.transport.is_closing():
                connection.reused = True
                connection.read_deadline = NEVER  # it was that of an idle connection
                return connection
        return None

    async def connect(self, timeout: float) -> UpstreamConnection:
        """Make a new connection within `timeout` seconds. Raises ConnectTimeout,
        UpstreamUnreachable, Overloaded.
        """
        if self.open >= self._settings.max_connections:
            self._close_oldest()
        if self.open >= self._settings.max_connections:
            self._end_slowest()
        if self.open >= self._settings.max_connections:
            raise Overloaded(f"{self.open} connections to the endpoint are open (connections)")
        self._connecting += 1
        try:
            async with asyncio.timeout(timeout):
                connection = await self._connect()
        except TimeoutError as error:
            raise ConnectTimeout(f"no connection within {timeout:g} s") from error
        except OSError as error:
            raise _unreachable(error) from error
        finally:
            self._connecting -= 1
        self._open.add(connection)
        self._deadlines.watch(connection)
        return connection

    def _close_oldest(self) -> None:
        """Make room: a connection that only waits must not keep a request from having its own."""
        if self._idle:
            oldest = self._idle.pop(0)
            self._open.discard(oldest)
            oldest.abort()

    def _end_slowest(self) -> None:
        """Make room: the exchange whose client has kept it waiting for longest gives way. Else a
        few slow clients could take all the places there are.
        """
        latest = monotonic() - _SLOW
        waiting = [each for each in self._open if each.waits_since <= latest]
        for each in nsmallest(_CANDIDATES, waiting, key=lambda each: each.waits_since):
            if each.give_way is not None and each.give_way():
                self._open.discard(each)
                each.abort()
                return

    async def _connect(self) -> UpstreamConnection:
        address, settings = self._address, self._settings
        if address.path is not None:
            _, connection = await self._loop.create_unix_connection(self._protocol, address.path)
            return connection
        tls = address.scheme == "https"
        _, connection = await self._loop.create_connection(
            self._protocol,
            address.host,
            address.port,
            ssl=settings.tls if tls else None,
            server_hostname=(settings.server_name or address.host) if tls else None,
        )
        return connection

    def _protocol(self) -> UpstreamConnection:
        return UpstreamConnection(self._loop, self._outbox, self._lost)

    def give_back(self, connection: UpstreamConnection) -> None:
        """The exchange is over: keep the connection for the next one if it can be used again,
        else close it.
        """
        if not connection.end():
            return
        if not self._settings.pool_idle:
            connection.abort()
            return
        now = monotonic()
        connection.idle_since = now
        connection.read_deadline = now + self._settings.pool_idle
        self._idle.append(connection)

    def _lost(self, connection: UpstreamConnection) -> None:
        self._open.discard(connection)
        self._deadlines.forget(connection)
        if connection in self._idle:
            self._idle.remove(connection)

    def close_idle(self) -> None:
        """Close the connections that wait for a request."""
        for connection in self._idle:
            connection.abort()
        self._idle.clear()


def _unreachable(error: OSError) -> ProxyError:
    if isinstance(error, ssl.SSLCertVerificationError):
        return UpstreamUnreachable(f"TLS: {error.verify_message}")
    if isinstance(error, ssl.SSLError):
        return UpstreamUnreachable(f"TLS: {error.reason or 'the handshake failed'}")
    return UpstreamUnreachable(error.strerror or "the connection was refused")
