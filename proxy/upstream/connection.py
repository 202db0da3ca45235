"""One connection to an endpoint: a request goes out, an answer comes back, one at a time.

A connection is used again only when the request was written whole, the answer has ended, and not
one byte more has come; a byte on an idle connection ends it. Anything else and an answer could
reach the wrong request. (llhttp passes over an empty line behind an answer; that is harmless, as
every answer gets a parser of its own.)
"""

from __future__ import annotations

import asyncio
from contextlib import contextmanager
from time import monotonic
from typing import TYPE_CHECKING, Final, cast

from proxy.errors import (
    AnswerLate,
    ProxyError,
    UpstreamProtocol,
    UpstreamTimeout,
    UpstreamUnreachable,
)
from proxy.upstream.deadlines import NEVER
from proxy.upstream.encrypted import bound_buffers, ends_orderly
from proxy.upstream.end import End
from proxy.upstream.leftover import leftover
from proxy.upstream.outbox import Corked
from proxy.upstream.owed import bound_unsent, taken
from proxy.upstream.response import ResponseReader

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from proxy.core.answer import Answer
    from proxy.upstream.outbox import Outbox

_HIGH_WATER: Final = 64 * 1024
"""Body bytes held for a client that reads slowly, before the endpoint is made to wait."""


class UpstreamConnection(Corked, asyncio.Protocol):
    """One connection to one endpoint.

    `reused` tells a pooled connection from a fresh one. `read_deadline` and `write_deadline` are
    when the endpoint must have sent or taken something (time.monotonic); the one who waits sets
    them. `notify` is called when something has come or the connection has ended, for one who does
    not wait in a task. While `sink` is set, what comes is given to it unparsed, b"" at the end: the
    connection is a tunnel. `waits_since` is when the exchange began to wait for its client; when
    others need the place, `give_way` ends it.
    """

    __slots__ = (
        "_drained",
        "_eof",
        "_error",
        "_loop",
        "_on_lost",
        "_outbox",
        "_patience",
        "_reader",
        "_reading_paused",
        "_sent",
        "_taken",
        "_unsent",
        "_waiter",
        "_writing_paused",
        "give_way",
        "idle_since",
        "notify",
        "on_writable",
        "read_deadline",
        "reused",
        "sink",
        "transport",
        "waits_since",
        "write_deadline",
    )

    def __init__(
        self,
        loop: asyncio.AbstractEventLoop,
        outbox: Outbox,
        on_lost: Callable[[UpstreamConnection], None],
    ) -> None:
        self._loop = loop
        self._outbox = outbox
        self._unsent: list[bytes] = []
        self._sent = False
        self._eof = False
        self._on_lost = on_lost
        self._reader: ResponseReader | None = None
        self._error: ProxyError | None = None
        self._waiter: asyncio.Future[None] | None = None
        self._drained: asyncio.Future[None] | None = None
        self._patience: float | None = None
        self._taken = 0
        self._writing_paused = False
        self._reading_paused = False
        self.transport: asyncio.Transport | None = None
        self.read_deadline = NEVER
        self.write_deadline = NEVER
        self.idle_since = 0.0
        self.reused = False
        self.notify: Callable[[], None] | None = None
        self.sink: Callable[[bytes], None] | None = None
        self.on_writable: Callable[[bool], None] | None = None
        self.waits_since = NEVER
        self.give_way: Callable[[], bool] | None = None

    def __repr__(self) -> str:
        state = "closed" if self.transport is None else "idle" if self._reader is None else "busy"
        return f"<UpstreamConnection {state}{' reused' if self.reused else ''}>"

    # The exchange: begin, write, answer, read ..., end.

    def begin(self, *, bodiless: bool, upgrade: bool) -> None:
        """Get ready for a request; `bodiless`: it is a HEAD; `upgrade`: it may be answered by a
        101.
        """
        self._reader = ResponseReader(bodiless=bodiless, upgrade=upgrade)
        self._sent = False

    def write(self, data: bytes) -> None:
        """Send bytes of the request. Raises the failure that ended the connection."""
        if self.transport is None:
            raise self._failure()
        self.cork(data)

    async def drain(self, patience: float | None) -> None:
        """Wait until the endpoint has taken enough of what was written; within `patience` seconds
        it takes something. Raises the connection's failure, UpstreamTimeout among them.
        """
        transport = self.transport
        if self._writing_paused and self._error is None and transport is not None:
            self._patience, self._taken = patience, taken(transport)
            self.write_deadline = self.after(patience)
            self._drained = self._loop.create_future()
            try:
                await self._drained
            finally:
                self._drained = None
                self.write_deadline = NEVER
        if self._error is not None:
            raise self._error

    async def answer(self) -> Answer:
        """Wait for the next head: 103s first, then the final one, or a 101 if an upgrade was asked
        for.

        Raises UpstreamProtocol, UpstreamTimeout, or ConnectionStale when a reused connection had
        ended before we wrote.
        """
        reader = self._begun()
        while True:
            if reader.interims:
                return reader.interims.pop(0)
            if reader.answer is not None:
                return reader.answer
            if self._error is not None:
                raise self._error
            await self._wait()

    async def read(self) -> bytes:
        """Return the next bytes of the body, b"" at its end. Raises UpstreamProtocol or
        UpstreamTimeout if cut.
        """
        reader = self._begun()
        while not reader.held:
            if reader.complete:
                return b""
            if self._error is not None:
                raise self._error
            await self._wait()
        return self.take()

    @contextmanager
    def waiting(
        self, give_way: Callable[[], bool], *, lag: float = 0.0, hold: bool = False
    ) -> Iterator[None]:
        """Meanwhile it is the client that keeps the exchange waiting, by `lag` seconds already;
        `give_way` ends it, unless the client is not so slow, and returns whether it did. With
        `hold` nothing more is taken in: what the client does not take is not to stand here twice.
        """
        self.waits_since, self.give_way = monotonic() - lag, give_way
        if hold:
            self._pause_reading()
        try:
            yield
        finally:
            self.waits_since, self.give_way = NEVER, None
            if hold:
                self._resume_reading()

    @property
    def answered(self) -> bool:
        """Whether the final head of the answer has come."""
        return self._reader is not None and self._reader.answer is not None

    @property
    def exhausted(self) -> bool:
        """Whether the whole answer has come and all of it was read."""
        return self._reader is not None and self._reader.complete and not self._reader.held

    @property
    def whole(self) -> Answer | None:
        """The answer, if it has come to its last byte and nothing else came before it."""
        reader = self._reader
        if reader is None or not reader.complete or reader.interims:
            return None
        return reader.answer

    def take(self) -> bytes:
        """Return the bytes of the body that have come and were not read yet; more may come."""
        self._resume_reading()
        return b"" if self._reader is None else self._reader.take()

    def _pause_reading(self) -> None:
        if not self._reading_paused and self.transport is not None:
            self._reading_paused = True
            self.transport.pause_reading()

    def _resume_reading(self) -> None:
        if self._reading_paused and self.transport is not None:
            self._reading_paused = False
            self.transport.resume_reading()

    def after(self, seconds: float | None) -> float:
        """Return the deadline that is `seconds` from now; None is never."""
        return NEVER if seconds is None else monotonic() + seconds

    def end(self) -> bool:
        """The exchange is over; return whether the connection can carry another one, else it is
        closed.
        """
        reader, self._reader = self._reader, None
        self.read_deadline = NEVER
        transport = self.transport
        if reader is not None:
            reader.close()
            written = not (self._writing_paused or self._unsent)
            if reader.keeps_alive and written and transport is not None:
                return not transport.is_closing()
        self.abort()
        return False

    def take_over(self, sink: Callable[[bytes], None]) -> bytes:
        """Make the connection a tunnel into `sink`; return the bytes that came behind the 101."""
        reader, self._reader = self._begun(), None
        reader.close()
        self.sink = sink
        self.read_deadline = NEVER  # it was that of the answer; now the tunnel has its own
        return reader.tail

    def _begun(self) -> ResponseReader:
        if self._reader is None:
            raise RuntimeError("begin() comes first")
        return self._reader

    def fail(self, error: ProxyError) -> None:
        """End the connection for this reason: whoever waits on it gets `error`."""
        error.settle()
        if self._error is None:
            self._error = error
        self.abort()
        self._wake()

    def abort(self) -> None:
        """End the connection now; what is not sent yet is lost."""
        if self.transport is not None:
            self.transport.abort()

    # What the deadlines call.

    @property
    def deadline(self) -> float:
        """The earlier of the two deadlines."""
        return min(self.read_deadline, self.write_deadline)

    def expire(self) -> None:
        """A deadline has passed: an idle connection is closed, one that is waited for fails."""
        if self.write_deadline < self.read_deadline and self._takes():
            self.write_deadline = self.after(self._patience)
            return
        self.read_deadline = self.write_deadline = NEVER
        reader = self._reader
        if reader is None and self.sink is None:
            self.abort()
            return
        begun = reader is None or reader.started
        late = UpstreamTimeout if begun else AnswerLate
        self.fail(late("the endpoint did not move on in time"))

    def _takes(self) -> bool:
        """Whether the endpoint has taken something of an upload since the last look."""
        transport, before = self.transport, self._taken
        self._taken = before if transport is None else taken(transport)
        return self._taken > before

    # What the event loop calls.

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport = cast("asyncio.Transport", transport)
        bound_unsent(transport)
        if transport.get_extra_info("ssl_object") is not None:
            bound_buffers(transport)

    def data_received(self, data: bytes) -> None:
        reader = self._reader
        if reader is None:
            if self.sink is None:
                self.abort()  # nobody asked for this
            else:
                self.sink(data)
            return
        if self._unsent and not self._sent:
            self.fail(UpstreamUnreachable("the connection spoke before it was asked"))
            return
        try:
            reader.feed(data)
        except UpstreamProtocol as error:
            self.fail(error)
            return
        if reader.held > _HIGH_WATER:
            self._pause_reading()
        if self.notify is not None:
            self.notify()
            return
        waiter = self._waiter
        if waiter is not None and not waiter.done():
            waiter.set_result(None)

    def eof_received(self) -> None:
        self._eof = self.transport is not None and ends_orderly(self.transport)

    def connection_lost(self, exc: Exception | None) -> None:
        transport, self.transport = self.transport, None
        self._unsent.clear()
        if exc is not None and transport is not None and self._error is None and self._sent:
            # A write may have failed; what the endpoint had said before is still to be heard.
            data = leftover(transport)
            if data:
                self.data_received(data)
        if self._error is None:
            end = End(exc, orderly=self._eof)
            self._error = end.failure(self._reader, sent=self._sent, reused=self.reused)
            self._error.settle()
        if self._reader is not None:
            self._reader.close()
        self._wake()
        if self.sink is not None:
            self.sink(b"")
        self._on_lost(self)

    def pause_writing(self) -> None:
        self._writing_paused = True
        if self.on_writable is not None:
            self.on_writable(False)

    def resume_writing(self) -> None:
        self._writing_paused = False
        if self.on_writable is not None:
            self.on_writable(True)
        if self._drained is not None and not self._drained.done():
            self._drained.set_result(None)

    def _failure(self) -> ProxyError:
        return self._error or UpstreamProtocol("the connection has ended")

    async def _wait(self) -> None:
        self._waiter = self._loop.create_future()
        try:
            await self._waiter
        finally:
            self._waiter = None

    def _wake(self) -> None:
        if self.notify is not None:
            self.notify()
        for future in (self._waiter, self._drained):
            if future is not None and not future.done():
                future.set_result(None)
