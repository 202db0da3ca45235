"""Who is too slow: the deadlines of a client's connection, and when it gives way to others.

Deadlines are on progress, and swept (decision 0004): all that a request pays is storing a float.
"""

from __future__ import annotations

from time import monotonic
from typing import TYPE_CHECKING, Any, Final, Protocol

from proxy.errors import Overloaded, RequestTimeout
from proxy.gateway.inbox import Inbox
from proxy.upstream.deadlines import NEVER
from proxy.upstream.owed import owed, taken

if TYPE_CHECKING:
    from proxy.config.model import Limits
    from proxy.gateway.crowd import Wait

LINGER: Final = 2.0
"""Seconds for which a connection that we close still takes in what the client had under way."""


class Keeper(Protocol):
    """Whose connections they are: the limits of the moment, and cause -> connections ended."""

    limits: Limits
    cut: dict[str, int]


class Paced(Inbox):
    """A client's connection as the sweep and the crowd (crowd.py) see it.

    `write_deadline` is when the client must have taken something (time.monotonic); it is there
    while the client is behind, whatever else goes on. `busy`: a request is being answered;
    `waits_since` is since when its body has been waited for.
    """

    __slots__ = ("_keeper", "_sent", "_taken", "busy", "waits_since", "write_deadline")

    def __init__(self, keeper: Keeper, *inbox: Any, **options: Any) -> None:
        super().__init__(*inbox, **options)
        self._keeper = keeper
        self._sent = False
        self._taken: int | None = None
        self.busy = False
        self.waits_since = NEVER
        self.write_deadline = NEVER

    def abort(self) -> None:
        """End the connection with a reset."""
        raise NotImplementedError

    def uncork(self) -> None:
        """Send what is held."""
        raise NotImplementedError

    @property
    def deadline(self) -> float:
        """The earlier of the two deadlines."""
        return min(self.read_deadline, self.write_deadline)

    def expire(self) -> None:
        """A deadline has passed: what is late is answered 408; who takes nothing is cut off."""
        if self.write_deadline <= self.read_deadline:
            self._see_what_is_taken()
            return
        self.read_deadline = NEVER
        if self.tunnel is not None:
            self.tunnel.expire()
        elif self._discarding:
            self._end()
        elif self._waiter is None:
            self._cut("body")
            self._body.set_exception(RequestTimeout("the body is too slow (body_idle, body_rate)"))
        elif self._intake.head_bytes:
            self._cut("head")
            self._queue_error(RequestTimeout("the head took too long (header_timeout)"))
        elif self._paused:
            # It takes its last answer still, or is cut off for not doing so.
            self.read_deadline = monotonic() + self._keeper.limits.idle
        else:
            self._cut("idle")
            self._end()

    def _see_what_is_taken(self) -> None:
        """A client is behind: cut it off when it has taken too little since the last look."""
        limits, transport = self._keeper.limits, self.transport
        if transport is None:
            self.write_deadline = NEVER
            return
        now = taken(transport)
        if owed(transport) and self._takes_too_little(now, limits.write_idle):
            self._cut("answer")
            self.abort()
        self._taken = now
        self.write_deadline = monotonic() + limits.write_idle

    def _takes_too_little(self, now: int, seconds: float) -> bool:
        """Whether what it has taken since `_taken` was noted, so many seconds ago, is too little;
        `now` is the same number now.
        """
        least = max(1.0, (self._keeper.limits.write_rate or 0) * seconds)
        return self._taken is not None and now - self._taken < least

    def _cut(self, what: str) -> None:
        counts = self._keeper.cut
        counts[what] = counts.get(what, 0) + 1

    # What the crowd asks of a connection (crowd.py).

    @property
    def address(self) -> str:
        """The peer's address; "unix" if it has none."""
        return self._peer

    @property
    def waits(self) -> Wait | None:
        """What it waits for from its client, and since when; None while it is at work.

        A head that has begun, or a first one that has not, comes before who was answered already,
        and last comes a body that stands still.
        """
        if self.busy and self.waits_since < NEVER:
            return 2, self.waits_since
        if self.busy or self._messages:
            return None
        if self._discarding:
            return 0, self.read_deadline - LINGER
        limits = self._keeper.limits
        if self._intake.head_bytes:
            return 0, self.read_deadline - limits.header_timeout
        return int(self._sent), self.read_deadline - limits.idle

    def give_way(self) -> bool:
        """Close, for somebody else's sake, unless the client takes its answer; return whether it
        was closed.
        """
        if not self.busy:
            self._cut("crowd")
            self._end()
            return True
        if self.waits_since < NEVER:
            self._cut("crowd")
            self._body.set_exception(Overloaded("a slow body gave way (limits.connections)"))
            return True
        began = self.write_deadline - self._keeper.limits.write_idle
        if self.transport is None or not self._paused:
            return False
        if not self._takes_too_little(taken(self.transport), monotonic() - began):
            return False
        self._cut("gave_way")
        self.abort()
        return True

    def _end(self) -> None:
        """Close the connection; one on which the client leaves bytes of ours lying is aborted."""
        self._discarding = True
        self.uncork()
        if self.transport is not None and self.transport.get_write_buffer_size():
            self.abort()
        else:
            self.force_close()
