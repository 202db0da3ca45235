"""What one turn of the event loop writes, sent together when the turn is over.

uvloop hands each write to the kernel at once, and the kernel wakes the process that waits for it.
Under load sixty requests are answered in one turn: written one by one, between them the work for
the next, they wake the reader sixty times, and it falls asleep again before the next one comes.
Written in a row they wake it once. On a machine with two cores this took the kernel's share of a
request from 33 to 10 µs (docs/decisions/0011). Pieces of one connection leave in one write.
"""

from __future__ import annotations

import asyncio
import logging
from typing import Final

_log = logging.getLogger("gatelodge.upstream")

_LARGE: Final = 16 * 1024
"""Bytes from which a piece is written at once: copying it would cost more than waking somebody."""
_PIECES: Final = 16
"""Pieces that one connection may hold. One turn can answer thousands of pipelined requests, and
until something was written nobody learns that the client does not read.
"""


class Outbox:
    """The connections of one loop that have something to send at the end of this turn."""

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        self._loop = loop
        self._waiting: list[Corked] = []

    def __repr__(self) -> str:
        return f"<Outbox waiting={len(self._waiting)}>"

    def add(self, connection: Corked) -> None:
        """Let `connection` send what it holds when this turn is over."""
        if not self._waiting:
            self._loop.call_soon(self._send)
        self._waiting.append(connection)

    def _send(self) -> None:
        waiting, self._waiting = self._waiting, []
        for connection in waiting:
            try:
                connection.uncork()
            except Exception:  # noqa: BLE001 - the others would wait for ever
                _log.exception("a connection could not be sent to")
                connection.give_up()


class Corked:
    """A connection that holds what it is to send until the turn is over.

    `_sent` says that something was given to the transport since it was last made false.

    Whoever closes `transport` calls `uncork` first; what an abort leaves behind is lost, as is what
    the kernel had not sent.
    """

    __slots__ = ()

    transport: asyncio.Transport | None
    _outbox: Outbox
    _sent: bool
    _unsent: list[bytes]

    def cork(self, data: bytes) -> None:
        """Send `data` at the end of this turn, behind what is held already; large pieces now."""
        unsent = self._unsent
        if len(data) >= _LARGE:
            self.uncork()
            self._send_now(data)
            return
        unsent.append(data)
        if len(unsent) == 1:
            self._outbox.add(self)
        elif len(unsent) == _PIECES:
            self.uncork()

    def uncork(self) -> None:
        """Send what is held now. What is held for a connection that has ended is lost."""
        unsent = self._unsent
        if unsent:
            data = unsent[0] if len(unsent) == 1 else b"".join(unsent)
            unsent.clear()
            self._send_now(data)

    def _send_now(self, data: bytes) -> None:
        transport = self.transport
        if transport is not None and not transport.is_closing():  # uvloop raises for a closed one
            transport.write(data)
            self._sent = True  # type: ignore[misc]  # a slot of the subclasses

    def give_up(self) -> None:
        """End the connection, to which nothing can be sent."""
        if self.transport is not None:
            self.transport.abort()
