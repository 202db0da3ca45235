"""What a worker tells its operators: the state behind the admin listener."""

from __future__ import annotations

import sys
import time
from importlib.metadata import version as installed
from typing import TYPE_CHECKING, Literal

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping, Sequence

    from proxy.config.model import Config
    from proxy.gateway.handler import Gateway
    from proxy.gateway.listener import ClientServer
    from proxy.telemetry.metrics import Metrics
    from proxy.upstream.endpoint import Endpoint
    from proxy.worker.reload import Reloader

Phase = Literal["starting", "ready", "draining", "stopped"]


def build_of(version: str) -> dict[str, str]:
    """Return what runs: versions of this program and of what it stands on."""
    return {
        "version": version,
        "python": ".".join(map(str, sys.version_info[:3])),
        "aiohttp": installed("aiohttp"),
    }


class State:
    """Implements `proxy.admin.state.AdminState` for a worker; `phase` is set by it."""

    def __init__(
        self,
        gateway: Gateway,
        clients: ClientServer,
        metrics: Metrics,
        addresses: Mapping[str, str],
        version: str,
        reloader: Reloader,
        depart: Callable[[], object],
    ) -> None:
        self.phase: Phase = "starting"
        self.version = version
        self._gateway = gateway
        self._clients = clients
        self._metrics = metrics
        self._addresses = addresses
        self._reloader = reloader
        self._depart = depart
        self._started = time.monotonic()
        metrics.build = build_of(version)
        metrics.connections = self._connections
        metrics.endpoints = self._endpoints
        metrics.stores = self._stores
        metrics.limits = self._limits
        metrics.limit_store_up = self._limit_store_up
        metrics.refused_connections = clients.crowd.refused
        metrics.cut_connections = clients.cut

    def __repr__(self) -> str:
        return f"<State {self.phase}>"

    @property
    def config(self) -> Config:
        """The configuration in use."""
        return self._gateway.snapshot.config

    def ready(self) -> tuple[bool, str]:
        """Whether requests are welcome, and why not."""
        if self.phase != "ready":
            return False, self.phase
        problem = self._no_endpoint() or self._no_store()
        if problem:
            return False, problem
        return True, self._reloader.word

    async def reload(self) -> tuple[int, Sequence[str]]:
        """Read the configuration anew; return the generation in use, and why it is not the new
        one.
        """
        outcome = await self._reloader.reload()
        return outcome.generation, outcome.problems

    async def depart(self) -> None:
        """Let clients go elsewhere."""
        self._depart()

    async def gather(self) -> None:
        """Do nothing: all is here."""

    def metrics_text(self) -> tuple[bytes, str]:
        """The metrics for Prometheus and their content type."""
        return self._metrics.text()

    def status(self) -> dict[str, object]:
        """The state of the process as JSON can hold it."""
        snapshot = self._gateway.snapshot
        return {
            "version": self.version,
            "state": self.phase,
            "uptime": round(time.monotonic() - self._started, 1),
            "generation": snapshot.generation,
            "last_reload": self._reloader.status(),
            "listeners": dict(self._addresses),
            "connections": self._connections(),
            "requests_in_flight": self._metrics.in_flight,
            "requests": sum(self._metrics.requests.values()),
            "upstreams": [
                {
                    "name": pool.name,
                    "problem": pool.problem or None,
                    "endpoints": [_endpoint(each) for each in pool.endpoints],
                }
                for pool in snapshot.pools.values()
            ],
            "sessions": [
                {"name": name, "kind": session.kind, **self._database(name)}
                for name, session in snapshot.config.sessions.items()
            ],
            "rate_limits": [
                {"limit": str(limit), "shared": limit.shared, "entries": kept, "dropped": dropped}
                for limit, kept, dropped in snapshot.limiter.entries()
            ],
            "limit_store": self._limit_store(),
            "routes": [route.name for route in snapshot.rules.routes.rows()],
        }

    def _connections(self) -> dict[str, int]:
        pools = self._gateway.snapshot.pools.values()
        return {
            "client": len(self._clients.connections) + len(self._clients.arriving),
            "upstream": sum(pool.open for pool in pools),
        }

    def _no_endpoint(self) -> str:
        """Return why no request could be forwarded, "" if some could be.

        One upstream of several that is away is no reason to withdraw the others.
        """
        problems = {pool.name: pool.problem for pool in self._gateway.snapshot.pools.values()}
        if not all(problems.values()):
            return ""
        told = "; ".join(f"{name}: {problem}" for name, problem in problems.items())
        return f"no usable endpoint: {told}"

    def _no_store(self) -> str:
        """Return why nobody could be signed in, "" if somebody could be.

        A session that also takes JWTs does not need its database for those.
        """
        snapshot = self._gateway.snapshot
        sessions, stores = snapshot.config.sessions, snapshot.stores
        if not stores or any(session.takes_jwts for session in sessions.values()):
            return ""
        problems = {name: store.state().problem for name, store in stores.items()}
        if not all(problems.values()):
            return ""
        told = "; ".join(f"{name}: {problem}" for name, problem in problems.items())
        return f"no session store: {told}"

    def _database(self, session: str) -> dict[str, object]:
        store = self._gateway.snapshot.stores.get(session)
        if store is None:
            return {}
        state = store.state()
        return {
            "database": {
                "up": not state.problem,
                "problem": state.problem or None,
                "tables": state.tables or None,
                "connections": state.open,
                "idle": state.idle,
                "waiting": state.waiting,
            }
        }

    def _stores(self) -> Iterable[tuple[str, bool, int, int, int]]:
        for name, store in self._gateway.snapshot.stores.items():
            state = store.state()
            yield name, not state.problem, state.open, state.idle, state.waiting

    def _limits(self) -> Iterable[tuple[str, str, str, int]]:
        for limit, entries, _ in self._gateway.snapshot.limiter.entries():
            yield limit.scope, limit.by, str(limit.rate), entries

    def _limit_store(self) -> dict[str, object] | None:
        shared = self._gateway.snapshot.limiter.shared
        if shared is None:
            return None
        return {"up": not shared.problem, "problem": shared.problem or None}

    def _limit_store_up(self) -> Iterable[bool]:
        shared = self._gateway.snapshot.limiter.shared
        return () if shared is None else (not shared.problem,)

    def _endpoints(self) -> list[tuple[str, str, int]]:
        pools = self._gateway.snapshot.pools.values()
        return [
            (pool.name, endpoint.name, int(endpoint.standing.usable))
            for pool in pools
            for endpoint in pool.endpoints
        ]


def _endpoint(endpoint: Endpoint) -> dict[str, object]:
    standing = endpoint.standing
    return {
        "endpoint": endpoint.name,
        "state": standing.state,
        "reason": standing.reason or None,
        "weight": f"{endpoint.weight:.3g}",  # text, as workers' numbers are added up
        "requests": endpoint.load,
        "streams": endpoint.streams,
        "waiting": endpoint.waiting,
        "open": endpoint.open,
        "idle": endpoint.idle,
    }
