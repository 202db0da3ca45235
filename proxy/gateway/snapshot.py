"""One generation of the configuration at work: rules, sessions and upstreams that belong together.

A request takes the snapshot that is current when it arrives and keeps it to its end.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING

from proxy.core.rules import Rules, compile_rules
from proxy.gateway.deciding import Deciding
from proxy.gateway.lane import Lane
from proxy.limits.limiter import Limiter
from proxy.session.resolver import Resolver
from proxy.upstream.pool import Pool

if TYPE_CHECKING:
    import asyncio

    from proxy.config.model import Config
    from proxy.session.store import Store
    from proxy.telemetry.metrics import Metrics
    from proxy.upstream.deadlines import Deadlines


@dataclass(frozen=True, slots=True)
class Snapshot:
    """What a request is judged and forwarded by; `generation` counts configurations from 1.

    `stores` are those of the sessions that have one, by the session's name; who took the snapshot
    starts and stops them, and the limiter. One may have come from the generation before, as may
    what `resolver` remembers and what `limiter` has counted.
    """

    generation: int
    config: Config
    rules: Rules
    resolver: Resolver
    stores: Mapping[str, Store]
    pools: Mapping[str, Pool]
    lane: Lane
    limiter: Limiter
    deciding: Deciding
    health_path: str | None


def take_snapshot(
    config: Config,
    generation: int,
    loop: asyncio.AbstractEventLoop,
    deadlines: Deadlines,
    metrics: Metrics,
    before: Snapshot | None = None,
) -> Snapshot:
    """Compile `config`. What it has in common with the generation `before` is taken over from that:
    stores, the sessions that were verified, and the requests that were counted.

    It waits for nobody but may take a while, so it may be called in a thread. Raises OSError
    (ssl.SSLError among them) when a file cannot be used, and ValueError for rules that make no
    sense, and when a package is needed that is not installed.
    """
    rules = compile_rules(config)
    stores = _stores(config, {} if before is None else before.stores)
    resolver = Resolver(config, rules, metrics, stores, before.resolver if before else None)
    pools = {
        name: Pool(name, upstream, loop, deadlines) for name, upstream in config.upstreams.items()
    }
    limiter = Limiter(config, rules.rate_limits, metrics, before.limiter if before else None)
    return Snapshot(
        generation,
        config,
        rules,
        resolver,
        stores,
        pools,
        Lane(rules, pools, resolver.recall, limiter.uses, metrics),
        limiter,
        Deciding(),
        config.health_path,
    )


def _stores(config: Config, before: Mapping[str, Store]) -> dict[str, Store]:
    stores: dict[str, Store] = {}
    for name, session in config.sessions.items():
        if session.database is None:
            continue
        # The driver costs memory that a gateway without a database has no use for.
        from proxy.session.database import PostgresStore, log_change

        store = before.get(name)
        if store is None or not store.serves(session.database):
            store = PostgresStore(name, session.database, log_change)
        stores[name] = store
    return stores
