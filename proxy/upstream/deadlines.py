"""Deadlines: one sweep over all connections four times a second, instead of a timer for every
request.

A connection stores when it must have moved on in its attribute `deadline` (time.monotonic, in
seconds) and is told when that has passed. Storing a float is all that a request pays; a timer
handle would be 1-4 µs.
"""

from __future__ import annotations

import asyncio
from time import monotonic
from typing import Final, Protocol

NEVER: Final = float("inf")
INTERVAL: Final = 0.25
"""Seconds between two sweeps, so the most by which a deadline is late."""


class Watched(Protocol):
    """Something with a deadline."""

    @property
    def deadline(self) -> float:
        """When it must have moved on."""

    def expire(self) -> None:
        """The deadline has passed: end what is late, and set the deadline anew."""


class Deadlines:
    """Watches connections and expires those whose deadline has passed."""

    def __init__(self, loop: asyncio.AbstractEventLoop, interval: float = INTERVAL) -> None:
        self._loop = loop
        self._interval = interval
        self._watched: set[Watched] = set()
        self._handle: asyncio.TimerHandle | None = None

    def __repr__(self) -> str:
        return f"<Deadlines watched={len(self._watched)}>"

    def watch(self, connection: Watched) -> None:
        """Look after `connection` until `forget`."""
        self._watched.add(connection)
        if self._handle is None:
            self._handle = self._loop.call_later(self._interval, self._sweep)

    def forget(self, connection: Watched) -> None:
        """Look after `connection` no more; no harm if it never was."""
        self._watched.discard(connection)

    def _sweep(self) -> None:
        # First the next one: an error in one connection must not end the watch over all others.
        self._handle = self._loop.call_later(self._interval, self._sweep) if self._watched else None
        now = monotonic()
        for connection in [c for c in self._watched if c.deadline <= now]:
            connection.expire()

    def stop(self) -> None:
        """Sweep no more."""
        self._watched.clear()
        if self._handle is not None:
            self._handle.cancel()
            self._handle = None
