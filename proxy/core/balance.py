"""Which endpoint gets the next request: in turn, by load, or by who asks.

A balancer knows the endpoints that may be used now and keeps what it notes of them (`turn`) on
themselves, so that another balancer can be made whenever one comes or goes. Chance comes in as a
function that returns floats of [0, 1).
"""

from __future__ import annotations

from bisect import bisect
from collections.abc import Callable, Iterator, Sequence
from functools import lru_cache
from hashlib import blake2b
from itertools import accumulate, chain, islice
from math import ceil
from typing import TYPE_CHECKING, Final, Generic, Protocol, TypeVar

if TYPE_CHECKING:
    from proxy.core.exchange import Exchange

Chance = Callable[[], float]

BOUND: Final = 1.25
"""How much more than its share of the requests under way an endpoint gets by hash(...), at most.

Mirrokni, Thorup and Zadimoghaddam, "Consistent Hashing with Bounded Loads" (2016), whose balancing
parameter is 1 + epsilon; 1.25 is the example of HAProxy's documentation of hash-balance-factor too.
"""
_POINTS: Final = 160
"""Points on the ring for each unit of weight, as ketama has; the shares of equal endpoints then
differ by a tenth or so.
"""
_UNITS_MAX: Final = 10
"""Units that the heaviest endpoint counts for on the ring: a place costs a microsecond."""


class Candidate(Protocol):
    """An endpoint as a balancer sees it: its share `weight` > 0, less while it starts slowly, and
    the requests under way, `load`. `share` is the weight that is configured, `turn` is for the
    balancer's own use.
    """

    @property
    def name(self) -> str:
        """What it is called in every process."""

    weight: float
    share: float
    load: int
    turn: float


C = TypeVar("C", bound=Candidate)
C_co = TypeVar("C_co", bound=Candidate, covariant=True)


class Balancer(Protocol[C_co]):
    """Picks endpoints. `keyed`: by the key of the request alone, so that picking twice is the
    same.
    """

    keyed: bool

    def pick(self, key: str) -> C_co:
        """Return the endpoint for a request of `key`."""


class RoundRobin(Generic[C]):
    """Each in turn, weights spread evenly over the cycle (nginx's smooth weighted round robin).

    Over a cycle, as many picks as the weights sum up to, each endpoint is picked exactly as often
    as its weight says. Turns stay with the endpoints when one comes or goes, so that nobody begins
    anew and the first of the list is not everybody's first.
    """

    keyed = False

    def __init__(self, candidates: Sequence[C]) -> None:
        self._candidates = tuple(candidates)
        self._total = sum(each.weight for each in candidates)

    def __repr__(self) -> str:
        return f"<RoundRobin {[(each.name, each.weight) for each in self._candidates]}>"

    def pick(self, key: str) -> C:  # noqa: ARG002 - whoever asks, it is the next one's turn
        """Return the endpoint whose turn it is."""
        best = self._candidates[0]
        for each in self._candidates:
            each.turn += each.weight
            if each.turn > best.turn:
                best = each
        best.turn -= self._total
        return best


class LeastRequests(Generic[C]):
    """The less loaded of two that chance has chosen, each by its weight.

    Mitzenmacher, "The Power of Two Choices in Randomized Load Balancing" (2001). Of all, the least
    loaded would be the one that has just come, or that fails fastest, for every gateway at once.
    """

    keyed = False

    def __init__(self, candidates: Sequence[C], chance: Chance) -> None:
        self._candidates = tuple(candidates)
        self._steps = tuple(accumulate(each.weight for each in candidates))
        self._chance = chance

    def __repr__(self) -> str:
        return f"<LeastRequests {[(each.name, each.weight) for each in self._candidates]}>"

    def pick(self, key: str) -> C:  # noqa: ARG002 - whoever asks, load alone decides
        """Return one of the two with the fewest requests under way for its weight."""
        at = self._draw(self._chance() * self._steps[-1])
        one = self._candidates[at]
        if len(self._candidates) == 1:
            return one
        # The second of all others: its part of the line is cut out.
        begin = self._steps[at] - one.weight
        place = self._chance() * (self._steps[-1] - one.weight)
        other = self._candidates[self._draw(place if place < begin else place + one.weight)]
        # As nginx's least_conn: without load on both, the weighted draw stands.
        if other.load * one.weight < one.load * other.weight:
            return other
        return one

    def _draw(self, place: float) -> int:
        # Rounding may put a place at the very end of the line.
        return min(bisect(self._steps, place), len(self._candidates) - 1)


class Ring:
    """Where the points of endpoints are on a circle of 64 bits, by their names alone.

    Every gateway makes the same one, and it depends on no order: who comes or goes moves only the
    keys before its own points.
    """

    def __init__(self, shares: tuple[tuple[str, float], ...]) -> None:
        heaviest = max(share for _, share in shares)
        points_a_unit = _POINTS * min(1.0, _UNITS_MAX / heaviest)
        points = sorted(
            (_place(f"{name}#{number}"), at)
            for at, (name, share) in enumerate(shares)
            for number in range(ceil(share * points_a_unit))
        )
        self._places = [place for place, _ in points]
        self._owners = [at for _, at in points]

    def __repr__(self) -> str:
        return f"<Ring points={len(self._places)}>"

    def walk(self, key: str) -> Iterator[int]:
        """Yield the owners of all points from that of `key` on, round the circle."""
        at = bisect(self._places, _place(key))
        owners = self._owners
        return chain(islice(owners, at, None), islice(owners, at))

    def owner(self, key: str) -> int:
        """Return the owner of the first point from that of `key` on."""
        return self._owners[bisect(self._places, _place(key)) % len(self._owners)]


# Made anew only when an endpoint comes or goes: who is down or full, or starts slowly, keeps its
# points.
_ring: Final = lru_cache(maxsize=16)(Ring)


def _place(text: str) -> int:
    digest = blake2b(text.encode("utf-8", "surrogatepass"), digest_size=8).digest()
    return int.from_bytes(digest, "big")


class Hashed(Generic[C]):
    """The same endpoint for the same key, as long as it has room: at most `BOUND` times its share
    of the requests under way, rounded up; else the next on the ring.

    The ring is that of `everyone`, candidates or not. So none is made when somebody fails or is
    full, which happens when there is the least time for it, and no key of the others moves.
    """

    keyed = True

    def __init__(self, candidates: Sequence[C], everyone: Sequence[C] = ()) -> None:
        self._candidates = tuple(candidates)
        self._total = sum(each.weight for each in candidates)
        able = set(map(id, candidates))
        self._ring = _ring(tuple((each.name, each.share) for each in everyone or candidates))
        self._owners = [each if id(each) in able else None for each in everyone or candidates]

    def __repr__(self) -> str:
        return f"<Hashed {[(each.name, each.weight) for each in self._candidates]}>"

    def pick(self, key: str) -> C:
        """Return the first endpoint with room, from the place of `key` on."""
        # With the request that is to be placed; so there is always somebody with room.
        busy = (1 + sum(each.load for each in self._candidates)) * BOUND / self._total
        first = self._owners[self._ring.owner(key)]
        if first is not None and first.load < ceil(busy * first.weight):
            return first
        for at in self._ring.walk(key):
            each = self._owners[at]
            if each is not None and each.load < ceil(busy * each.weight):
                return each
        return self._candidates[0]


def balancer(
    kind: str, candidates: Sequence[C], chance: Chance, everyone: Sequence[C] = ()
) -> Balancer[C]:
    """Return the balancer of this kind (`balance` in the configuration) for one candidate or
    more, of `everyone` there is.
    """
    if kind == "least_requests":
        return LeastRequests(candidates, chance)
    if kind == "round_robin":
        return RoundRobin(candidates)
    return Hashed(candidates, everyone)


def key_of(kind: str, x: Exchange) -> str:
    """Return by what a balancer of this kind tells requests apart: the user, or the address of the
    client; who is not signed in, by the address.
    """
    return x.user if kind == "hash(user)" and x.user else x.client.address
