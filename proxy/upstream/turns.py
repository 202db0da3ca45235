"""Whose turn it is: the endpoint of an upstream that gets the next request."""

from __future__ import annotations

from typing import TYPE_CHECKING

from proxy.core.balance import balancer, key_of
from proxy.errors import NoEndpoint, Overloaded

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from proxy.core.balance import Balancer
    from proxy.core.exchange import Exchange
    from proxy.upstream.connection import UpstreamConnection
    from proxy.upstream.endpoint import Endpoint


class Turns:
    """Picks among the `usable` endpoints. `requests` counts those that were sent here, further
    attempts not; `problem` says why there is no endpoint.
    """

    def __init__(
        self, balance: str, chance: Callable[[], float], max_requests: int | None = None
    ) -> None:
        self.usable: Sequence[Endpoint] = ()
        self._everyone: Sequence[Endpoint] = ()
        self.requests = 0
        self._balance = balance
        self._chance = chance
        self._max_requests = max_requests
        self._only: Endpoint | None = None
        self._held: Endpoint | None = None
        self._balancer: Balancer[Endpoint] | None = None

    def __repr__(self) -> str:
        return f"<Turns {self._balancer!r}>"

    @property
    def problem(self) -> str:
        """Why there is no usable endpoint, "" if there is one."""
        return "" if self.usable else "there is no endpoint"

    def use(self, endpoints: Sequence[Endpoint], everyone: Sequence[Endpoint] = ()) -> None:
        """Pick among these, of `everyone` there is, from now on, by the weights that they have
        now.
        """
        self.usable = tuple(endpoints)
        self._everyone = tuple(everyone or endpoints)
        alone = len(endpoints) == 1 and self._max_requests is None
        self._only = endpoints[0] if alone else None
        self._held = None
        self._balancer = None
        if endpoints:
            self._balancer = self._balancer_of(self.usable)

    def pick(self, x: Exchange, tried: Sequence[Endpoint] = ()) -> Endpoint:
        """Return the endpoint for a request; after a failed try another one, if there is one.

        One that has no connection to spare is passed over for one that has. Raises NoEndpoint, and
        Overloaded when the upstream has as many requests as it may have.
        """
        if tried:
            return self._other(x, self.untried(tried) or self.usable)
        if self._is_busy():
            raise Overloaded(f"{self.under_way} requests are under way (requests)")
        self.requests += 1
        endpoint, self._held = self._held or self._next(x), None
        return self._other(x, self.usable) if endpoint.is_full else endpoint

    def untried(self, tried: Sequence[Endpoint]) -> Sequence[Endpoint]:
        """Return the usable endpoints that were not tried."""
        return [each for each in self.usable if each not in tried]

    def _other(self, x: Exchange, among: Sequence[Endpoint]) -> Endpoint:
        if not among:
            raise NoEndpoint(self.problem)
        # A request of an earlier generation may still know endpoints that are leaving.
        able = [each for each in among if not (each.is_full or each.leaving)] or among
        return self._balancer_of(able).pick(key_of(self._balance, x))

    def _balancer_of(self, among: Sequence[Endpoint]) -> Balancer[Endpoint]:
        return balancer(self._balance, among, self._chance, self._everyone)

    @property
    def under_way(self) -> int:
        """How many requests are under way, those that have become streams left out."""
        return sum(each.load - each.streams for each in self.usable)

    def _is_busy(self) -> bool:
        return self._max_requests is not None and self.under_way >= self._max_requests

    def take_idle(self, x: Exchange, max_age: float) -> tuple[Endpoint, UpstreamConnection] | None:
        """Return the endpoint for a request with an idle connection of at most `max_age` seconds.

        None when it has no such connection, and when the corridor is to say no. A pick stands for
        the next request then: to pick again would be to favour endpoints with idle connections.
        """
        endpoint = self._only
        if endpoint is not None:
            connection = endpoint.take_idle(max_age)
            if connection is None:
                return None
            self.requests += 1
            return endpoint, connection
        if self._balancer is None or self._is_busy():
            return None
        endpoint = self._held or self._next(x)
        connection = endpoint.take_idle(max_age)
        if connection is None:
            self._held = None if self._balancer.keyed else endpoint
            return None
        self._held = None
        self.requests += 1
        return endpoint, connection

    def _next(self, x: Exchange) -> Endpoint:
        if self._only is not None:
            return self._only
        if self._balancer is None:
            raise NoEndpoint(self.problem)
        return self._balancer.pick(key_of(self._balance, x) if self._balancer.keyed else "")
