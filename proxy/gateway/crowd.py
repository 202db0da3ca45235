"""How many clients may be connected, and who gives way when there are too many.

A connection over `limits.connections` takes the place of the one that has waited longest for a
head: a head that does not end or never began, then the longest idle. None gives way within a second
of its last move, so whoever sends a request at once has an answer. Where nobody can give way, the
newcomer is one too many: it is told so, and closed.

Those too many have a reserve of their own, so that a load balancer which asks for `health_path` is
answered all the same (listener.py). They must send their head promptly, and when the reserve is
full too, the oldest of them goes.
"""

from __future__ import annotations

import logging
from time import monotonic
from typing import TYPE_CHECKING, Final, Protocol

from proxy.core.limits import address_key
from proxy.errors import Overloaded, ProxyError, RateLimited

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from proxy.config.model import Limits

_log = logging.getLogger("gatelodge.gateway")

RESERVE: Final = 256
"""Connections beyond `limits.connections` that are told so. Health checks come alone; it is larger
so that a flood needs as many in the few milliseconds until their head is here to push one out.
"""
_GRACE: Final = 1.0
"""Seconds for which nobody has to give way: a lost packet is sent again within that time."""
_LOOK_AGAIN: Final = 0.25
"""Seconds between two looks at all connections for those that could give way. A look at 10,000 is
a few milliseconds, and a flood brings thousands of newcomers a second.
"""
_SAY_AGAIN: Final = 10.0
"""Seconds between two log lines of the same kind."""

Wait = tuple[int, float]
"""What a connection waits for, the least worthy first, and since when (time.monotonic)."""


class Member(Protocol):
    """A client's connection, as far as the crowd goes."""

    @property
    def address(self) -> str:
        """The peer's address; "unix" if it has none."""

    @property
    def waits(self) -> Wait | None:
        """What it waits for from its client, None while it is at work."""

    def give_way(self) -> bool:
        """Close, for somebody else's sake; who waits always does."""

    def abort(self) -> None:
        """End with a reset."""


class Crowd:
    """The connections of clients. `limits` are asked for each time, since they may change.
    Connections by a unix socket and of peers that are `trusted` are not counted by client: there
    are many behind them.

    `refused` counts those too many, by the limit.
    """

    def __init__(self, limits: Callable[[], Limits], trusted: Callable[[str], bool]) -> None:
        self.refused: dict[str, int] = {}
        self._limits = limits
        self._trusted = trusted
        self._inside: dict[Member, str] = {}
        self._by_client: dict[str, set[Member]] = {}
        self._too_many: dict[Member, None] = {}
        self._waiting: list[tuple[Wait, Member]] = []
        self._looked = -_LOOK_AGAIN
        self._said: dict[str, float] = {}

    def __repr__(self) -> str:
        return f"<Crowd inside={len(self._inside)} too_many={len(self._too_many)}>"

    def enter(self, member: Member) -> ProxyError | None:
        """Count a new connection. Return why it is one too many, if it is."""
        limits, client = self._limits(), ""
        most = limits.connections_per_client
        address = member.address
        if most is not None and address != "unix" and not self._trusted(address):
            client = address_key(address)
            own = self._by_client.get(client, set())
            if len(own) >= most and not self._make_room(own):
                self._refuse(member, "connections_per_client", len(own))
                return RateLimited("limits.connections_per_client is reached")
        if len(self._inside) >= limits.connections and not self._make_room_anywhere():
            self._refuse(member, "connections", len(self._inside))
            return Overloaded("limits.connections is reached")
        self._inside[member] = client
        if client:
            self._by_client.setdefault(client, set()).add(member)
        return None

    def leave(self, member: Member) -> None:
        """A connection has ended; no harm if it is counted no more."""
        self._too_many.pop(member, None)
        client = self._inside.pop(member, "")
        if client:
            own = self._by_client[client]
            own.discard(member)
            if not own:
                del self._by_client[client]

    def _refuse(self, member: Member, limit: str, count: int) -> None:
        self.refused[limit] = self.refused.get(limit, 0) + 1
        if len(self._too_many) >= RESERVE:
            oldest = next(iter(self._too_many))
            del self._too_many[oldest]
            oldest.abort()
        self._too_many[member] = None
        now = monotonic()
        if now >= self._said.get(limit, now):
            self._said[limit] = now + _SAY_AGAIN
            extra = {"limit": f"limits.{limit}", "open": count, "refused": self.refused[limit]}
            _log.warning("connections are refused", extra=extra)

    def _make_room(self, among: Iterable[Member]) -> bool:
        """Let the one of `among` that has waited longest give way; return whether there is one."""
        waiting = self._who_could(among)
        if not waiting:
            return False
        self._send_off(waiting[-1][1])
        return True

    def _make_room_anywhere(self) -> bool:
        now = monotonic()
        while True:
            while self._waiting:
                wait, member = self._waiting.pop()
                if member in self._inside and member.waits == wait:
                    self._send_off(member)
                    return True
            if now < self._looked + _LOOK_AGAIN:
                return False
            self._looked = now
            self._waiting = self._who_could(self._inside)

    def _who_could(self, among: Iterable[Member]) -> list[tuple[Wait, Member]]:
        """Return who could give way, who should do so first last."""
        latest = monotonic() - _GRACE
        waits = [(wait, member) for member in among if (wait := member.waits) is not None]
        found = [each for each in waits if each[0][1] <= latest]
        return sorted(found, key=lambda each: each[0], reverse=True)

    def _send_off(self, member: Member) -> None:
        self.leave(member)
        member.give_way()
