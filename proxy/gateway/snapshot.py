"""One generation of the configuration at work: rules, sessions and upstreams that belong together.

A request takes the snapshot that is current when it arrives and keeps it to its end.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING

from proxy.core.rules import Rules, compile_rules
from proxy.gateway.lane import Lane
from proxy.limits.limiter import Limiter
from proxy.session.resolver import Resolver
from proxy.upstream.pool import Pool

if TYPE_CHECKING:
    import asyncio

    from proxy.config.model import Config
    from proxy.core.decision import Resolve
    from proxy.core.limits import Counters
    from proxy.session.store import Store
    from proxy.telemetry.metrics import Metrics
    from proxy.upstream.deadlines import Deadlines


@dataclass(frozen=True, slots=True)
class Snapshot:
    """What a request is judged and forwarded by; `generation` counts configurations from 1.

    `stores` are those of the sessions that have one, by the session's name; who took the snapshot
    starts and stops them, and the limiter.
    """

    generation: int
    config: Config
    rules: Rules
    resolve: Resolve
    stores: Mapping[str, Store]
    pools: Mapping[str, Pool]
    lane: Lane
    limiter: Limiter
    health_path: str | None


def take_snapshot(
    config: Config,
    generation: int,
    loop: asyncio.AbstractEventLoop,
    deadlines: Deadlines,
    metrics: Metrics,
    counters: Counters | None = None,
) -> Snapshot:
    """Compile `config`. Raises OSError and ssl.SSLError when a file of it cannot be used, and
    ValueError when it needs a package that is not installed.

    `counters` are those of the generation before (`limiter.counters`): limits that have not changed
    go on counting.
    """
    rules = compile_rules(config)
    stores = _stores(config)
    resolver = Resolver(config, rules, metrics, stores)
    pools = {
        name: Pool(name, upstream, loop, deadlines) for name, upstream in config.upstreams.items()
    }
    limiter = Limiter(config, rules.rate_limits, metrics, counters)
    return Snapshot(
        generation,
        config,
        rules,
        resolver.resolve,
        stores,
        pools,
        Lane(rules, pools, resolver.recall, limiter.uses, metrics),
        limiter,
        config.health_path,
    )


def _stores(config: Config) -> dict[str, Store]:
    stores: dict[str, Store] = {}
    for name, session in config.sessions.items():
        if session.database is not None:
            # The driver costs memory that a gateway without a database has no use for.
            from proxy.session.database import PostgresStore, log_change

            stores[name] = PostgresStore(name, session.database, log_change)
    return stores
