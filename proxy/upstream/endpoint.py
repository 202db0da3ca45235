"""One endpoint: its idle connections, how a new one is made, and how it does."""

from __future__ import annotations

import asyncio
import ssl
from dataclasses import dataclass
from errno import EADDRNOTAVAIL
from heapq import nsmallest
from time import monotonic
from typing import TYPE_CHECKING, Final, Protocol

from proxy.core.health import Standing
from proxy.errors import ConnectTimeout, Overloaded
from proxy.upstream import resolve
from proxy.upstream.connection import UpstreamConnection
from proxy.upstream.deadlines import NEVER
from proxy.upstream.handshake import unreachable
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
    max_pending: int = 0


class Owner(Protocol):
    """Who decides about an endpoint: its pool."""

    def to_eject(self, endpoint: Endpoint, why: str) -> None:
        """Too many requests have failed there, the last one because of `why`."""


class Endpoint:
    """One endpoint and its connections: a `proxy.core.balance.Candidate`.

    `address` is where it is, `authority` what goes into `Host` for it. `load` counts the requests
    under way, the making of their connections included; the connections in `apart` carry streams.
    One that is `leaving` finishes what it has and keeps no connection.
    """

    def __init__(
        self,
        address: Address,
        settings: ConnectSettings,
        loop: asyncio.AbstractEventLoop,
        deadlines: Deadlines,
        *,
        authority: str | None = None,
        share: float = 1.0,
        standing: Standing | None = None,
    ) -> None:
        self.name = str(address)
        self.address = address
        self.authority = (authority or address.authority).encode("ascii")
        self.standing = standing or Standing(None, None)
        self.owner: Owner | None = None
        self.share = self.weight = share
        self.load = 0
        self.turn = 0.0
        self.leaving = False
        self._settings = settings
        self._loop = loop
        self._deadlines = deadlines
        self._outbox = Outbox(loop)
        self._idle: list[UpstreamConnection] = []
        self._open: set[UpstreamConnection] = set()
        self._connecting = 0
        self.apart: set[UpstreamConnection] = set()
        self._waiting: dict[asyncio.Future[UpstreamConnection | None], None] = {}

    def __repr__(self) -> str:
        state = "leaving" if self.leaving else self.standing.state
        return f"<Endpoint {self.name} {state} open={self.open} idle={self.idle}>"

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
            # Here and in give_back calls are written out: most requests come by.
            if connection.transport is not None and not connection.transport.is_closing():
                connection.reused = True
                connection.read_deadline = NEVER  # it was that of an idle connection
                return connection
        return None

    @property
    def streams(self) -> int:
        """How many of the connections are set apart."""
        return len(self.apart)

    @property
    def waiting(self) -> int:
        """How many requests wait for a connection."""
        return len(self._waiting)

    @property
    def is_full(self) -> bool:
        """Whether no connection can be made, and none is idle."""
        return not self._idle and self._has_no_room()

    def _has_no_room(self) -> bool:
        return self.open - len(self.apart) >= self._settings.max_connections

    def _has_too_many(self) -> bool:
        return self.open - len(self.apart) > self._settings.max_connections

    async def connect(self, timeout: float) -> UpstreamConnection:
        """Make a new connection within `timeout` seconds; where there is no room for more, wait
        for as long at most for room or for a connection. Raises ConnectTimeout,
        UpstreamUnreachable, Overloaded.

        The time that was waited is not taken off that of connecting: an endpoint is not to be
        blamed for being late when the others before it have used the time up.
        """
        given = await self._place(timeout)
        if given is not None:
            return given
        try:
            connection = await self.dial(timeout)
            self._open.add(connection)
        finally:
            self._connecting -= 1
            if self._waiting:
                self._make_room()
        self._deadlines.watch(connection)
        return connection

    async def _place(self, patience: float) -> UpstreamConnection | None:
        """Return None when one more connection may be made, which counts as being made from now
        on; or one that was given back. Raises Overloaded after `patience` seconds.
        """
        until = monotonic() + patience
        while self._has_no_room():
            self._close_oldest()
            if self._has_no_room():
                self._end_slowest()
            if not self._has_no_room():
                break
            given = await self._queue(until - monotonic())
            if given is None or _is_open(given):
                return given
            # It has ended in the turn in which it was given.
        self._connecting += 1
        return None

    async def _queue(self, patience: float) -> UpstreamConnection | None:
        """Wait for a connection that somebody gives back, or for room to make one: None, and it
        counts as being made. Raises Overloaded.
        """
        if len(self._waiting) >= self._settings.max_pending:
            raise Overloaded(
                f"{self.open} connections to the endpoint are open and {self.waiting} requests "
                "wait for one (connections, pending)"
            )
        turn: asyncio.Future[UpstreamConnection | None] = self._loop.create_future()
        self._waiting[turn] = None
        try:
            async with asyncio.timeout(patience):
                return await turn
        except TimeoutError as error:
            self._pass_on(turn)
            raise Overloaded("no connection to the endpoint became free in time") from error
        except BaseException:
            self._pass_on(turn)
            raise
        finally:
            self._waiting.pop(turn, None)

    def _pass_on(self, turn: asyncio.Future[UpstreamConnection | None]) -> None:
        """Whoever waited has left: give back what came in the same turn of the loop."""
        if not turn.done() or turn.cancelled():
            return
        given = turn.result()
        if given is not None:
            self._keep(given)
        else:
            self._connecting -= 1
            self._make_room()

    def _make_room(self) -> None:
        """Let those who wait make connections, as many as there is room for."""
        while self._waiting and not self._has_no_room():
            turn = self._next_turn()
            if turn is not None:
                self._connecting += 1
                turn.set_result(None)

    def _next_turn(self) -> asyncio.Future[UpstreamConnection | None] | None:
        """Return whoever has waited for longest, None if nobody does any more."""
        while self._waiting:
            turn = next(iter(self._waiting))
            del self._waiting[turn]
            if not turn.done():
                return turn
        return None

    async def dial(self, timeout: float) -> UpstreamConnection:
        """Make a connection that does not count and is not looked after, within `timeout` seconds.
        Raises ConnectTimeout, UpstreamUnreachable.
        """
        try:
            async with asyncio.timeout(timeout):
                return await self._connect()
        except TimeoutError as error:
            raise ConnectTimeout(f"no connection within {timeout:g} s") from error
        except OSError as error:
            raise unreachable(error, tls=self.address.scheme == "https") from error

    def set_apart(self, connection: UpstreamConnection) -> None:
        """The connection carries a stream, which may last for hours: it does not count among
        those that requests share.
        """
        self.apart.add(connection)
        self._make_room()

    def rejoin(self, connection: UpstreamConnection) -> None:
        """The stream has ended."""
        self.apart.discard(connection)

    def failed(self, why: str) -> None:
        """A request has failed here."""
        if self.standing.fail(monotonic()) and self.owner is not None:
            self.owner.to_eject(self, why)

    def adopt(self, like: Endpoint) -> None:
        """Go on as `like`, the same endpoint in a newer configuration, would begin; connections
        stay, and so does what is known by the same rules.
        """
        self._settings = like._settings
        self.share = self.weight = like.share
        self.standing = like.standing
        self._make_room()

    def leave(self) -> None:
        """Take no more requests: idle connections end now, busy ones with their requests."""
        self.leaving = True
        self.close_idle()

    def _close_oldest(self) -> None:
        """Make room: a connection that only waits must not keep a request from having its own.

        Where streams have ended, there may be more of them than fit.
        """
        while self._idle and self._has_no_room():
            oldest = self._idle.pop(0)
            self._open.discard(oldest)
            oldest.abort()

    def _end_slowest(self) -> None:
        """Make room: the exchange whose client has kept it waiting for longest gives way. Else a
        few slow clients could take all the places there are.
        """
        latest = monotonic() - _SLOW
        late = (each for each in self._open if each.waits_since <= latest)
        waiting = [each for each in late if each not in self.apart]  # those take no place
        for each in nsmallest(_CANDIDATES, waiting, key=lambda each: each.waits_since):
            if each.give_way is not None and each.give_way():
                self._open.discard(each)
                each.abort()
                return

    async def _connect(self) -> UpstreamConnection:
        address = self.address
        if address.path is not None:
            _, connection = await self._loop.create_unix_connection(self._protocol, address.path)
            return connection
        failure: OSError | None = None
        for host in await resolve.to_try(self._loop, address.host, address.port):
            try:
                return await self._connect_to(host)
            except ssl.SSLError:
                raise  # somebody is there
            except OSError as error:
                failure = error
        raise failure or OSError(EADDRNOTAVAIL, "the name has no address")

    async def _connect_to(self, host: str) -> UpstreamConnection:
        address, settings = self.address, self._settings
        tls = address.scheme == "https"
        _, connection = await self._loop.create_connection(
            self._protocol,
            host,
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
        pool_idle = self._settings.pool_idle
        if self.leaving or not pool_idle:
            connection.abort()
        elif self._waiting:
            self._keep(connection)
        else:
            connection.idle_since = now = monotonic()
            connection.read_deadline = now + pool_idle
            self._idle.append(connection)

    def _keep(self, connection: UpstreamConnection) -> None:
        """Give the connection to whoever waits for one, or keep it; one that has ended meanwhile,
        or is one too many since its stream has ended, is no good to either.
        """
        if self.leaving or self._has_too_many() or not _is_open(connection):
            connection.abort()
            return
        turn = self._next_turn()
        if turn is not None:
            connection.reused = True
            turn.set_result(connection)
            return
        connection.idle_since = now = monotonic()
        connection.read_deadline = now + self._settings.pool_idle
        self._idle.append(connection)

    def _lost(self, connection: UpstreamConnection) -> None:
        self._open.discard(connection)
        self.apart.discard(connection)
        self._deadlines.forget(connection)
        if connection in self._idle:
            self._idle.remove(connection)
        if self._waiting:
            self._make_room()

    def close_idle(self) -> None:
        """Close the connections that wait for a request."""
        for connection in self._idle:
            connection.abort()
        self._idle.clear()


def _is_open(connection: UpstreamConnection) -> bool:
    return connection.transport is not None and not connection.transport.is_closing()
