"""Whose turn it is: the endpoint of an upstream that gets the next request."""

from __future__ import annotations

from typing import TYPE_CHECKING

from proxy.core.balance import balancer, key_of
from proxy.errors import NoEndpoint

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

    def __init__(self, balance: str, chance: Callable[[], float]) -> None:
        self.usable: Sequence[Endpoint] = ()
        self.requests = 0
        self._balance = balance
        self._chance = chance
        self._only: Endpoint | None = None
        self._held: Endpoint | None = None
        self._balancer: Balancer[Endpoint] | None = None

    def __repr__(self) -> str:
        return f"<Turns {self._balancer!r}>"

    @property
    def problem(self) -> str:
        """Why there is no usable endpoint, "" if there is one."""
        return "" if self.usable else "there is no endpoint"

    def use(self, endpoints: Sequence[Endpoint]) -> None:
        """Pick among these from now on, by the weights that they have now."""
        self.usable = tuple(endpoints)
        self._only = endpoints[0] if len(endpoints) == 1 else None
        self._held = None
        self._balancer = None
        if endpoints:
            self._balancer = balancer(self._balance, self.usable, self._chance)

    def pick(self, x: Exchange, tried: Sequence[Endpoint] = ()) -> Endpoint:
        """Return the endpoint for a request; after a failed try another one, if there is one.

        Raises NoEndpoint.
        """
        if not tried:
            self.requests += 1
            endpoint, self._held = self._held or self._next(x), None
            return endpoint
        others = [each for each in self.usable if each not in tried] or self.usable
        if not others:
            raise NoEndpoint(self.problem)
        return balancer(self._balance, others, self._chance).pick(key_of(self._balance, x))

    def take_idle(self, x: Exchange, max_age: float) -> tuple[Endpoint, UpstreamConnection] | None:
        """Return the endpoint for a request with an idle connection of at most `max_age` seconds.

        None when it has no such connection, and when there is no endpoint. Then the pick stands
        for the next request: to pick again would be to favour endpoints with idle connections.
        """
        endpoint = self._only or self._held
        if endpoint is None:
            if self._balancer is None:
                return None
            endpoint = self._next(x)
        connection = endpoint.take_idle(max_age)
        if connection is None:
            if self._balancer is not None and not self._balancer.keyed:
                self._held = endpoint
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
