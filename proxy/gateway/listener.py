"""The client's side of the data path: aiohttp's server protocol and C parser, with a loop of our
own.

This is the only file that knows aiohttp's private parts; `tests/gateway/test_aiohttp_contract.py`
fails when one of them changes. What aiohttp 3.14 does, and why `start` and `data_received` are
ours:
- Its own loop makes a task, a writer and a request object for each request (20 µs); ours answers in
  the connection's one task.
- Its limits are per line and its errors are text that quotes the request. Ours: the parser's limits
  are set above `limits.head`, bytes are counted here, and whatever is wrong becomes a ProxyError
  that the gateway answers.
- An error in a body's framing is queued as if it were a next request, and the body's reader is
  never told.
- Behind an upgrade it goes on to parse HTTP. Here a connection that asked for an upgrade carries
  nothing after it.
- `close()` and `pre_shutdown()` leave idle connections deaf and cut uploads short, so draining is
  our own flag.
"""

from __future__ import annotations

import asyncio
import logging
import socket
import struct
from time import monotonic
from typing import TYPE_CHECKING, Any, Final

from aiohttp import web
from aiohttp.http_parser import RawRequestMessage
from aiohttp.http_writer import HttpVersion11
from aiohttp.streams import EMPTY_PAYLOAD, StreamReader

from proxy.core.client import Client
from proxy.core.framing import MAX_FIELDS
from proxy.core.head import RequestHead
from proxy.errors import (
    BadRequest,
    HeadTooLarge,
    Overloaded,
    ProxyError,
    RequestTimeout,
    TargetTooLong,
)
from proxy.gateway.unparsed import as_proxy_error
from proxy.upstream.deadlines import NEVER

if TYPE_CHECKING:
    from proxy.config.model import Limits
    from proxy.gateway.downstream import Answerer, Splice
    from proxy.upstream.deadlines import Deadlines

_log = logging.getLogger("gatelodge.gateway")

_LINGER: Final = 2.0
"""Seconds for which a connection that we close still takes in what the client had under way."""
_RESET: Final = struct.pack("ii", 1, 0)


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

    def __call__(self) -> web.RequestHandler:
        """Make the protocol of a new connection; without aiohttp's fallback, which would drop
        every limit.
        """
        return ClientConnection(self, asyncio.get_running_loop())

    @property
    def clients(self) -> list[ClientConnection]:
        """The connections that are open."""
        return [c for c in self.connections if isinstance(c, ClientConnection)]


class ClientConnection(web.RequestHandler):
    """One client's connection: its requests are answered one after the other.

    `read_deadline` and `write_deadline` are when the client must have sent or taken something
    (time.monotonic).
    """

    __slots__ = (
        "_body",
        "_body_bytes",
        "_discarding",
        "_head_bytes",
        "_head_lines",
        "_peer",
        "_server",
        "busy",
        "head_sent",
        "last",
        "read_deadline",
        "tunnel",
        "whoever",
        "write_deadline",
    )

    def __init__(self, server: ClientServer, loop: asyncio.AbstractEventLoop) -> None:
        room = server.limits.head * 2 + 4096
        super().__init__(
            server,
            loop=loop,
            keepalive_timeout=0,
            access_log=None,  # type: ignore[arg-type]  # aiohttp's own loop asks for None too
            auto_decompress=False,
            max_line_size=room,
            max_field_size=room,
            max_headers=MAX_FIELDS + 64,
        )
        self._server = server
        self._peer = ""
        self._body: StreamReader = EMPTY_PAYLOAD
        self._body_bytes = 0
        self._head_bytes = 0
        self._head_lines = 0
        self._discarding = False
        self.busy = False
        self.head_sent = False
        self.last = False
        self.tunnel: Splice | None = None
        self.read_deadline = NEVER
        self.write_deadline = NEVER

    def __repr__(self) -> str:
        state = "closed" if self.transport is None else "busy" if self.busy else "idle"
        return f"<ClientConnection {state}>"

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        peer = transport.get_extra_info("peername")
        self._peer = peer[0] if isinstance(peer, tuple) else "unix"
        self.whoever = Client(self._peer, "https" if self._server.tls else "http", trusted=False)
        self._server.deadlines.watch(self)
        self.read_deadline = monotonic() + self._server.limits.idle
        super().connection_made(transport)  # last: from Python 3.12 on it runs `start` at once

    def connection_lost(self, exc: BaseException | None) -> None:
        self._server.deadlines.forget(self)
        task = self._task_handler
        super().connection_lost(exc)
        self._body = EMPTY_PAYLOAD  # one that was not read to its end leads back here
        if task is not None:
            task.cancel()
        if self.tunnel is not None:
            self.tunnel.client_gone()

    def data_received(self, data: bytes) -> None:
        if self.tunnel is not None:
            self.tunnel.from_client(data)
            return
        if self._discarding:
            return
        count, begun = self._request_count, self._head_bytes
        in_body = not self._body.is_eof()
        super().data_received(data)
        if self._request_count != count:
            self._head_bytes = 0
            message, payload = self._messages[-1]
            if not isinstance(message, RawRequestMessage):
                # Taken out in _next, where it is told from a request by its type.
                before = self._head_lines if begun else 0
                error: Any = as_proxy_error(message, data, before)
                self._messages[-1] = (error, payload)
                self._discarding = True
                if not self._body.is_eof():
                    self._body.set_exception(BadRequest("the body's framing is broken"))
            self._body, self._body_bytes = payload, 0
        elif in_body:
            self._part_of_body(len(data))
        elif data and not self._upgraded:
            self._part_of_head(data)

    def pause_writing(self) -> None:
        super().pause_writing()
        if self.tunnel is not None:
            self.tunnel.client_writable(False)

    def resume_writing(self) -> None:
        super().resume_writing()
        if self.tunnel is not None:
            self.tunnel.client_writable(True)

    def _part_of_body(self, size: int) -> None:
        """Bound what is around a body: the parser would keep trailers of any size until they end.

        A body in chunks of one byte each has five bytes of framing for each of its own.
        """
        self._body_bytes += size
        body = self._body.total_bytes
        if self._body_bytes - body > self._server.limits.head * 2 + body * 8:
            self._body.set_exception(HeadTooLarge("more trailers than a head may have fields"))
            self._discarding = True

    def _part_of_head(self, data: bytes) -> None:
        """A head has begun and not ended: start its deadline, and bound what it may hold."""
        limits = self._server.limits
        if not self._head_bytes:
            self._head_lines = 0
            if self._waiter is not None:
                self.read_deadline = monotonic() + limits.header_timeout
        self._head_bytes += len(data)
        self._head_lines += data.count(b"\n")
        if self._head_bytes > limits.head * 2:
            reason = f"over {limits.head * 2} bytes of a head that does not end"
            self._queue_error(HeadTooLarge(reason) if self._head_lines else TargetTooLong(reason))

    def _queue_error(self, error: ProxyError) -> None:
        """Let the loop answer `error` as it would answer a request; nothing more is read."""
        self._discarding = True
        self._messages.append((error, EMPTY_PAYLOAD))  # type: ignore[arg-type]  # taken out in _next
        if self._waiter is not None and not self._waiter.done():
            self._waiter.set_result(None)

    async def start(self) -> None:
        """Answer the requests of this connection until it ends; aiohttp runs this as the
        connection's task.
        """
        gateway = self._server.gateway
        try:
            if len(self._server.connections) > self._server.limits.connections:
                self._discarding = True
                await gateway.refuse(self, Overloaded("limits.connections is reached"))
                return
            while not self._force_close:
                message, payload = await self._next()
                self.busy, self.head_sent = True, False
                if isinstance(message, RawRequestMessage):
                    modern = message.version is HttpVersion11
                    self.last = message.should_close or message.upgrade or not modern
                    head = self._head_of(message)
                    keep = await gateway.handle(self, head, payload)
                else:
                    self._discarding, keep = True, False
                    await gateway.refuse(self, message)
                self.busy = False
                if not keep:
                    break
                if self._paused:  # else a client that reads nothing could ask for ever more
                    await self.drain(self._server.limits.idle)
        except ConnectionError:
            pass  # the client is gone
        except Exception:  # noqa: BLE001 - the last resort: aiohttp would lose it without a word
            _log.exception("a connection failed")
        finally:
            self.busy = False
            self._close_gently()

    async def _next(self) -> tuple[Any, StreamReader]:
        """Return the next message that the parser has made, waiting for it if there is none."""
        if not self._messages:
            limits = self._server.limits
            patience = limits.header_timeout if self._head_bytes else limits.idle
            self.read_deadline = monotonic() + patience
            self._waiter = self._loop.create_future()
            try:
                await self._waiter
            finally:
                self._waiter = None
        self.read_deadline = NEVER
        message, payload = self._messages.popleft()
        if self._parser is not None:
            self._parser.message_consumed()
        if self._buffer_paused and len(self._messages) <= self._msg_queue_resume_size:
            self._resume_reading_if_drained()
        return message, payload

    def _head_of(self, message: RawRequestMessage) -> RequestHead:
        version = message.version
        minor = 1 if version is HttpVersion11 else version.minor if version.major == 1 else -1
        return RequestHead(
            message.method,
            message.path,
            minor,
            message.raw_headers,
            self._peer,
            self._server.tls,
        )

    def write(self, data: bytes) -> None:
        """Send bytes to the client. Raises ConnectionError when it is gone."""
        if self.transport is None:
            raise ConnectionResetError("the client is gone")
        self.transport.write(data)

    async def drain(self, patience: float | None) -> None:
        """Wait until the client has taken enough of what was written, for at most `patience`
        seconds.
        """
        if not self._paused:
            return
        self.write_deadline = NEVER if patience is None else monotonic() + patience
        try:
            await self._drain_helper()
        finally:
            self.write_deadline = NEVER

    @property
    def closes(self) -> bool:
        """Whether the connection ends with the answer that is under way."""
        return self.last or self._server.gateway.closing

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

    def open_tunnel(self, tunnel: Splice) -> bytes:
        """Give everything that comes from now on to `tunnel`; return what has come since the
        head.
        """
        self.tunnel = tunnel
        tail, self._message_tail = self._message_tail, b""
        if self._buffer_paused:
            self._resume_reading_for_buffer()
        return tail

    def close_idle(self) -> bool:
        """Close the connection if no request is under way; return whether it was closed."""
        if self.busy or self._head_bytes or self._messages:
            return False
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
        self.write_deadline = monotonic() + self._server.limits.idle
        if (self._body.is_eof() and not self._discarding) or not transport.can_write_eof():
            transport.close()
            return
        self._discarding = True
        self.read_deadline = monotonic() + _LINGER
        transport.write_eof()
        self._resume_transport_reading()

    @property
    def deadline(self) -> float:
        """The earlier of the two deadlines."""
        return min(self.read_deadline, self.write_deadline)

    def expire(self) -> None:
        """A deadline has passed: what is late is answered 408; who takes nothing is cut off."""
        write_late = self.write_deadline <= self.read_deadline
        self.read_deadline = NEVER
        if write_late:
            self.abort()
        elif self.tunnel is not None:
            self.tunnel.expire()
        elif self._discarding:
            self._end()
        elif self._waiter is None:
            self._body.set_exception(
                RequestTimeout("the body stood still for too long (body_idle)")
            )
        elif self._head_bytes:
            self._queue_error(RequestTimeout("the head took too long (header_timeout)"))
        else:
            self._end()

    def _end(self) -> None:
        """Close the connection; one on which the client leaves bytes of ours lying is aborted."""
        if self.transport is not None and self.transport.get_write_buffer_size():
            self.abort()
        else:
            self.force_close()
