"""A client's connection from its first byte to its last: aiohttp's protocol, a loop of our own.

Bytes become messages in inbox.py; here they are answered. What aiohttp 3.14 does, and why `start`
is ours (the parts of aiohttp that are private and used: see inbox.py):
- Its own loop makes a task, a writer and a request object for each request (20 µs); ours answers in
  the connection's one task, and what is known in the lane without it.
- `close()` and `pre_shutdown()` leave idle connections deaf and cut uploads short, so draining is
  our own flag.
"""

from __future__ import annotations

import asyncio
import logging
import socket
import struct
from time import monotonic
from typing import TYPE_CHECKING, Final, cast

from aiohttp import web
from aiohttp.http_parser import RawRequestMessage
from aiohttp.http_writer import HttpVersion11
from aiohttp.streams import EMPTY_PAYLOAD

from proxy.core.client import Client
from proxy.errors import ProxyError
from proxy.gateway.crowd import Crowd
from proxy.gateway.pace import LINGER, Paced
from proxy.upstream.deadlines import NEVER
from proxy.upstream.outbox import Corked, Outbox
from proxy.upstream.owed import bound_unsent

if TYPE_CHECKING:
    from collections.abc import Collection

    from proxy.config.model import Limits
    from proxy.gateway.downstream import Answerer, Begun
    from proxy.upstream.deadlines import Deadlines

_log = logging.getLogger("gatelodge.gateway")

_PROMPT: Final = 3.0
"""Seconds that a connection too many has for its head: time for a lost packet to come again."""
_RESET: Final = struct.pack("ii", 1, 0)


def peer_of(transport: asyncio.BaseTransport) -> str:
    """Return the address at the other end of a connection, "unix" if it has none."""
    peer = transport.get_extra_info("peername")
    return str(peer[0]) if isinstance(peer, tuple) else "unix"


async def _never_called(_request: web.BaseRequest) -> web.StreamResponse:
    """Stand where aiohttp's loop would want a handler; ours calls the gateway."""
    raise AssertionError("aiohttp's own loop ran")


class ClientServer(web.Server):
    """Makes a ClientConnection for each connection that is accepted, and knows them all."""

    def __init__(
        self, gateway: Answerer, limits: Limits, deadlines: Deadlines, *, tls: bool
    ) -> None:
        super().__init__(_never_called)
        self.gateway = gateway
        self.limits = limits
        self.deadlines = deadlines
        self.tls = tls
        self.outbox = Outbox(asyncio.get_running_loop())
        self.arriving: Collection[object] = ()
        """Connections that are not yet a client's (arrival.py)."""
        self.crowd = Crowd(lambda: self.limits, gateway.trusts)
        self.cut: dict[str, int] = {}
        """Cause -> connections that were ended."""

    def __call__(self) -> web.RequestHandler:
        """Make the protocol of a new connection; without aiohttp's fallback, which would drop
        every limit.
        """
        return self.connect(None)

    def connect(self, source: str | None) -> ClientConnection:
        """Make the protocol of a connection; `source` is the client's address where it is another
        than the peer's (PROXY protocol).
        """
        return ClientConnection(self, asyncio.get_running_loop(), source)

    @property
    def clients(self) -> list[ClientConnection]:
        """The connections that are open."""
        return [c for c in self.connections if isinstance(c, ClientConnection)]


class ClientConnection(Corked, Paced):
    """One client's connection: its requests are answered one after the other.

    `whoever` it is, if no trusted proxy says more; `head_sent`: an answer has begun; `last`:
    the connection ends with it.
    """

    __slots__ = (
        "_outbox",
        "_server",
        "_unsent",
        "head_sent",
        "last",
        "whoever",
    )

    def __init__(
        self, server: ClientServer, loop: asyncio.AbstractEventLoop, source: str | None = None
    ) -> None:
        super().__init__(server, server, loop, server.limits, tls=server.tls)
        self._peer = source or ""
        self._server = server
        self._outbox = server.outbox
        self._unsent: list[bytes] = []
        self.head_sent = False
        self.last = False

    def __repr__(self) -> str:
        state = "closed" if self.transport is None else "busy" if self.busy else "idle"
        return f"<ClientConnection {state}>"

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._peer = self._peer or peer_of(transport)
        self.whoever = Client(self._peer, "https" if self._server.tls else "http", trusted=False)
        self._server.deadlines.watch(self)
        self.read_deadline = monotonic() + self._server.limits.idle
        bound_unsent(transport)
        self.too_many = self._server.crowd.enter(self)
        if self.too_many is not None:
            self._intake.lose()  # no lane
        super().connection_made(transport)  # last: from Python 3.12 on it runs `start` at once

    def connection_lost(self, exc: BaseException | None) -> None:
        self._server.deadlines.forget(self)
        self._server.crowd.leave(self)
        self._unsent.clear()
        task = self._task_handler
        super().connection_lost(exc)
        self._body = EMPTY_PAYLOAD  # one that was not read to its end leads back here
        if task is not None:
            task.cancel()
        begun, self.passage = self.passage, None  # else each would keep the other
        if begun is not None:
            begun.client_gone()
        if self.tunnel is not None:
            self.tunnel.client_gone()

    def enter(self, data: bytes) -> bool:
        """Let the gateway answer in the lane, if it knows this head; return whether it does."""
        self.passage = self._server.gateway.enter(self, data)
        if self.passage is None:
            return False
        self.busy, self.last = True, False
        self.read_deadline = NEVER
        return True

    def passed(self) -> None:
        """The exchange in the lane has ended with its answer; the task has waited all the time."""
        self.passage = None
        self.busy = self.head_sent = False
        self.read_deadline = monotonic() + self._server.limits.idle

    def take_back(self, begun: Begun) -> None:
        """Let the task go on with an exchange that cannot end in the lane."""
        self.passage = None
        self._queue(begun)

    def pause_writing(self) -> None:
        super().pause_writing()
        self._taken = None
        self.write_deadline = monotonic()  # the next sweep notes how much it has to take
        if self.tunnel is not None:
            self.tunnel.client_writable(False)

    def resume_writing(self) -> None:
        super().resume_writing()
        if self.transport is not None and not self.transport.is_closing():
            self.write_deadline = NEVER
        if self.tunnel is not None:
            self.tunnel.client_writable(True)

    async def start(self) -> None:
        """Answer the requests of this connection until it ends; aiohttp runs this as the
        connection's task.
        """
        gateway = self._server.gateway
        try:
            if self.too_many is not None:
                await self._turn_away(self.too_many)
                return
            while not self._force_close:
                message, payload = await self.next_message()
                self.busy = True
                if isinstance(message, RawRequestMessage):
                    modern = message.version is HttpVersion11
                    self.last = message.should_close or message.upgrade or not modern
                    head = self.head_of(message)
                    keep = await gateway.handle(self, head, payload)
                elif isinstance(message, ProxyError):
                    self._discarding, keep = True, False
                    await gateway.refuse(self, message)
                else:
                    keep = await message.go_on(payload)
                self.busy = self.head_sent = False
                if not keep or self._ends:
                    asked = isinstance(message, RawRequestMessage) and message.should_close
                    # Who did not ask for the end may have more under way. A tunnel is over.
                    self._discarding |= not asked and self.tunnel is None
                    break
                if self._paused:  # else a client that reads nothing could ask for ever more
                    await self.drain()
        except ConnectionError:
            pass  # the client is gone
        except Exception:  # noqa: BLE001 - the last resort: aiohttp would lose it without a word
            _log.exception("a connection failed")
        finally:
            self.busy = False
            self._abandon()
            self._close_gently()

    async def _turn_away(self, why: ProxyError) -> None:
        """Answer the one request of a connection too many."""
        message, _ = await self.next_message(_PROMPT)
        self.busy = self.last = self._discarding = True
        if isinstance(message, RawRequestMessage):
            await self._server.gateway.turn_away(self, self.head_of(message), why)
        else:
            await self._server.gateway.refuse(self, message)

    def _abandon(self) -> None:
        """End an exchange of the lane that was given to the task in the turn that ended it."""
        for message, _ in self._messages:
            given: object = message
            if not isinstance(given, RawRequestMessage | ProxyError):
                cast("Begun", given).client_gone()

    def eof_received(self) -> None:
        """The client sends no more, and the event loop will close: what is held goes out first."""
        self.uncork()

    def write(self, data: bytes) -> None:
        """Send bytes to the client. Raises ConnectionError when it is gone."""
        if self.transport is None:
            raise ConnectionResetError("the client is gone")
        self.cork(data)

    async def drain(self) -> None:
        """Wait until the client has taken enough of what was written."""
        await self._drain_helper()

    @property
    def closes(self) -> bool:
        """Whether the connection ends with the answer that is under way."""
        return self.last or self._ends or self._server.gateway.closing

    @property
    def _ends(self) -> bool:
        """Whether nothing follows the message under way, and nothing more is read."""
        return self._discarding and not self._messages

    @property
    def stalled(self) -> bool:
        """Whether the client is behind in taking what was written."""
        return self._paused

    def abort(self) -> None:
        """End the connection with a reset, so that what was sent so far cannot be taken for a
        whole answer.
        """
        transport = self.transport
        if transport is None:
            return
        sock = transport.get_extra_info("socket")
        if sock is not None and sock.family != socket.AF_UNIX:
            # uvloop's abort() may send a FIN, which a client takes for the regular end of a body.
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _RESET)
        transport.abort()

    def close_idle(self) -> bool:
        """Close the connection if no request is under way; return whether it was closed."""
        if self.busy or self._intake.head_bytes or self._messages:
            return False
        self._discarding = True
        self.uncork()
        self.force_close()
        return True

    def _close_gently(self) -> None:
        """Close the connection once the client has our last bytes.

        While bytes of the client may still be under way they are taken in for a moment, because
        closing with unread bytes is a reset, which can overtake our answer (RFC 9112 section 9.6).
        """
        transport = self.transport
        if transport is None or transport.is_closing():
            return
        self.uncork()
        self._taken, self.write_deadline = None, monotonic()
        if (self._body.is_eof() and not self._discarding) or not transport.can_write_eof():
            transport.close()
            return
        self._discarding = True
        self.read_deadline = monotonic() + LINGER
        transport.write_eof()
        self._resume_transport_reading()
