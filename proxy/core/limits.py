"""Rate limits: which ones a request is subject to, and who has used how much of them.

The rule is GCRA (ITU-T I.371, the "virtual scheduling" form): of each client one number is kept,
the moment at which its whole burst will be free again. A request moves it on by one interval, and
is refused where it would then lie further ahead than the burst is long. So in any span of time `t`
at most `burst + rate * t` are admitted. Times are whole microseconds: an interval that is none is
rounded up, so the rate is never exceeded.

The clock is an argument. One that steps back admits nobody sooner, and keeps nobody out for longer
than a full burst takes.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from functools import lru_cache
from ipaddress import IPv6Address
from itertools import islice
from typing import TYPE_CHECKING, Final, Literal

from proxy.errors import RateLimited

if TYPE_CHECKING:
    from proxy.config.units import Rate
    from proxy.core.session import Session

By = Literal["user", "ip", "route"]
Key = str | tuple[str, str | bytes]
"""Whose requests are counted: an address, a route's name, or a session's name and a user's id.

A user is a pair, so that no id can be taken for an address, or for a user of another session. An id
that is long is there as its digest, in bytes, which no id is.
"""

_MICROSECONDS: Final = 1_000_000
_USER_CHARS_MAX: Final = 64
_ADDRESSES: Final = 4096
"""IPv6 addresses whose network is remembered; reading one takes 3 µs."""
ENTRIES: Final = 100_000
_ENTRIES_MIN: Final = 4096
"""Clients that all limits of a process together remember, about 20 MB at the worst, and how many
each of them remembers where they are very many.
"""
_SHARDS: Final = 16
"""Parts in which a counter is cleared when it is full, so that it takes 2 ms and not 30."""


@dataclass(frozen=True, slots=True)
class Limit:
    """One limit of the configuration: `rate` on average, `burst` at once.

    `scope` is the name of the route whose limit it is, or "" for that of all routes which have none
    of their own. `shared` ones are counted in Redis. Two limits that are equal are the same limit,
    also across a reload.
    """

    scope: str
    by: By
    rate: Rate
    burst: int
    shared: bool = False
    interval: int = field(init=False, compare=False)
    """Microseconds that one request takes."""
    capacity: int = field(init=False, compare=False)
    """Microseconds that the burst takes."""
    _hash: int = field(init=False, compare=False, repr=False)

    def __post_init__(self) -> None:
        interval = -(-self.rate.seconds * _MICROSECONDS // self.rate.count)
        object.__setattr__(self, "interval", interval)
        object.__setattr__(self, "capacity", interval * self.burst)
        identity = self.scope, self.by, self.rate, self.burst, self.shared
        object.__setattr__(self, "_hash", hash(identity))

    def __hash__(self) -> int:
        return self._hash  # reckoned anew for each request, it would be a microsecond each time

    def __str__(self) -> str:
        where = f"route {self.scope}" if self.scope else "all routes"
        return f"{self.rate} by {self.by} (burst {self.burst}), of {where}"

    @property
    def policy(self) -> str:
        """Its name in RateLimit fields: no other limit of the same scope has it."""
        return f"{self.by}-{self.rate}"

    def digest(self, key: Key) -> str:
        """Return what the limit and `key` are called together where others can see it.

        The parts are told apart by their lengths, so that no separator can be forged; a fixed size
        comes of ids of any size, and nobody's id stands in it.
        """
        who = (key,) if isinstance(key, str) else key
        parts = (self.scope, self.by, str(self.rate), str(self.burst), str(len(who)), *who)
        digest = hashlib.blake2b(digest_size=16)
        for part in parts:
            data = part.encode() if isinstance(part, str) else b"digest:" + part
            digest.update(b"%d:%b" % (len(data), data))
        return digest.hexdigest()


Demand = tuple[Limit, Key]
"""A limit that a request is subject to, and as whose request it counts."""


@dataclass(frozen=True, slots=True)
class RouteLimits:
    """The limits of a route: `early` ones are asked before anybody looks at a session, `late` ones
    when it is known whose request it is.
    """

    early: tuple[Limit, ...] = ()
    late: tuple[Limit, ...] = ()

    @classmethod
    def of(cls, limits: Iterable[Limit], *, public: bool) -> RouteLimits:
        """Sort the limits of a route. Where it is `public` nobody is known, now or later."""
        listed = tuple(limits)
        if public:
            return cls(listed)
        return cls(
            tuple(limit for limit in listed if limit.by != "user"),
            tuple(limit for limit in listed if limit.by == "user"),
        )

    @property
    def listed(self) -> tuple[Limit, ...]:
        """All of them, in the order in which they are asked."""
        return self.early + self.late


def demands(
    limits: tuple[Limit, ...], address: str, route: str, session: tuple[str, Session] | None
) -> list[Demand]:
    """Return what a request to `route` from `address` is subject to.

    `session` is the name of a session and who it belongs to; a limit by user counts a request
    without one by its address.
    """
    return [(limit, _key(limit.by, address, route, session)) for limit in limits]


def _key(by: By, address: str, route: str, session: tuple[str, Session] | None) -> Key:
    if by == "route":
        return route
    if by == "ip" or session is None:
        return address_key(address)
    return user_key(session[0], session[1].principal.id)


def address_key(address: str) -> str:
    """Return as what an address is counted: IPv4 as it is, IPv6 by its /64.

    A /64 is the least that a subscriber gets (RFC 6177, RFC 7421), so its addresses are one
    client's.
    """
    return address if ":" not in address else _network(address)


@lru_cache(_ADDRESSES)
def _network(address: str) -> str:
    parsed = IPv6Address(address)
    if parsed.ipv4_mapped is not None:
        return str(parsed.ipv4_mapped)
    return f"{int(parsed) >> 64:016x}/64"


def user_key(session: str, user: str) -> tuple[str, str | bytes]:
    """Return as what a user is counted. The same id in two sessions is two users."""
    if len(user) <= _USER_CHARS_MAX:
        return session, user
    return session, hashlib.blake2b(user.encode(), digest_size=16).digest()


class Counter:
    """Who has used how much of one limit, as far as that is not forgiven yet.

    It is bounded. When it is full, those go whose requests are forgiven, and if that is not enough
    those to whom least is still to be forgiven: a flood of addresses that come once does not wash
    out what a busy one has used.
    """

    __slots__ = ("_capacity", "_interval", "_room", "_shards", "dropped")

    def __init__(self, limit: Limit, entries: int = ENTRIES) -> None:
        self._interval, self._capacity = limit.interval, limit.capacity
        self._shards: tuple[dict[Key, int], ...] = tuple({} for _ in range(_SHARDS))
        self.resize(entries)
        self.dropped = 0
        """Entries that had to go before they were forgiven."""

    def __repr__(self) -> str:
        return f"<Counter entries={len(self)}>"

    def __len__(self) -> int:
        return sum(map(len, self._shards))

    def resize(self, entries: int) -> None:
        """Remember at most `entries` from now on."""
        self._room = max(1, entries // _SHARDS)

    def wait(self, key: Key, now: int) -> int:
        """Return in how many microseconds the next request would be admitted; 0 for now.

        Nothing is counted.
        """
        shard = self._shards[hash(key) & 15]
        free = shard.get(key, now)
        wait = (free if free > now else now) + self._interval - now - self._capacity
        if wait <= 0:
            return 0
        if wait > self._interval:  # the clock has stepped back
            shard[key] = now + self._capacity
            return self._interval
        return wait

    def take(self, key: Key, now: int) -> int:
        """Count a request at `now`, in microseconds, if it is admitted: then return 0, else the
        microseconds until it would be.
        """
        shard = self._shards[hash(key) & 15]
        free = shard.get(key)
        if free is None:
            if len(shard) >= self._room:
                self._make_room(shard, now)
            free = now
        elif free < now:
            free = now
        free += self._interval
        if free - now > self._capacity:
            return self.wait(key, now)
        shard[key] = free
        return 0

    def give_back(self, key: Key, now: int) -> None:
        """Undo the last `take`, which counted a request of `key` at `now`."""
        shard = self._shards[hash(key) & 15]
        free = shard[key] - self._interval
        if free > now:
            shard[key] = free
        else:
            del shard[key]

    def _make_room(self, shard: dict[Key, int], now: int) -> None:
        for key in [key for key, free in shard.items() if free <= now]:
            del shard[key]
        excess = len(shard) - self._room * 3 // 4
        if excess <= 0:
            return
        least = sorted(shard.values())[excess - 1]
        for key in list(islice((key for key, free in shard.items() if free <= least), excess)):
            del shard[key]
        self.dropped += excess


Use = tuple[Counter, Key]
"""Where a request is counted, and as whose."""


class Counters:
    """The counters of a process. It outlives a reload, with what limits that are in both
    configurations have counted.
    """

    def __init__(self) -> None:
        self._counters: dict[Limit, Counter] = {}

    def __repr__(self) -> str:
        return f"<Counters {list(self._counters.values())!r}>"

    def adopt(self, limits: Iterable[Limit]) -> dict[Limit, Counter]:
        """Return the counters of these limits, making those that are new. They share the room."""
        listed = dict.fromkeys(limits)
        entries = max(ENTRIES // max(1, len(listed)), _ENTRIES_MIN)
        for limit in listed:
            if limit not in self._counters:
                self._counters[limit] = Counter(limit, entries)
        return {limit: self._counters[limit] for limit in listed}

    def keep(self, limits: Iterable[Limit]) -> None:
        """Forget the counters of all other limits, and give these the room."""
        self._counters = self.adopt(limits)
        for counter in self._counters.values():
            counter.resize(max(ENTRIES // len(self._counters), _ENTRIES_MIN))


def take_all(uses: Sequence[Use], now: int) -> list[int]:
    """Count a request at `now`, in microseconds, if all counters admit it, else in none.

    Return for each the microseconds until it would admit it.
    """
    waits = [counter.take(key, now) for counter, key in uses]
    if any(waits):
        give_back([use for use, wait in zip(uses, waits, strict=True) if not wait], now)
    return waits


def give_back(uses: Sequence[Use], now: int) -> None:
    """Undo the counting of a request at `now`, when no other was counted since."""
    for counter, key in uses:
        counter.give_back(key, now)


def refusal(waits: Sequence[tuple[Limit, int]]) -> RateLimited | None:
    """Return the refusal that these waits, in microseconds, make; None if none is above zero.

    The fields are those of draft-ietf-httpapi-ratelimit-headers-10: the policies that were
    exceeded, nothing left of any, and the whole seconds until there is.
    """
    over = [(limit, -(-wait // _MICROSECONDS)) for limit, wait in waits if wait > 0]
    if not over:
        return None
    policies = ", ".join(
        f'"{limit.policy}";q={limit.rate.count};w={limit.rate.seconds}' for limit, _ in over
    )
    standings = ", ".join(f'"{limit.policy}";r=0;t={seconds}' for limit, seconds in over)
    return RateLimited(
        "; ".join(str(limit) for limit, _ in over),
        retry_after=max(seconds for _, seconds in over),
        policy=policies,
        standing=standings,
    )
