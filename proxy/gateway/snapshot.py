"""One generation of the configuration at work: rules, sessions and upstreams that belong together.

A request takes the snapshot that is current when it arrives and keeps it to its end.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING

from proxy.core.rules import Rules, compile_rules
from proxy.gateway.lane import Lane
from proxy.session.resolver import Resolver
from proxy.upstream.pool import Pool

if TYPE_CHECKING:
    import asyncio

    from proxy.config.model import Config
    from proxy.core.decision import Resolve
    from proxy.telemetry.metrics import Metrics
    from proxy.upstream.deadlines import Deadlines


@dataclass(frozen=True, slots=True)
class Snapshot:
    """What a request is judged and forwarded by; `generation` counts configurations from 1."""

    generation: int
    config: Config
    rules: Rules
    resolve: Resolve
    pools: Mapping[str, Pool]
    lane: Lane
    health_path: str | None


def take_snapshot(
    config: Config,
    generation: int,
    loop: asyncio.AbstractEventLoop,
    deadlines: Deadlines,
    metrics: Metrics,
) -> Snapshot:
    """Compile `config`. Raises OSError and ssl.SSLError when a file of it cannot be used."""
    rules = compile_rules(config)
    resolver = Resolver(config, rules, metrics)
    pools = {
        name: Pool(name, upstream, loop, deadlines) for name, upstream in config.upstreams.items()
    }
    return Snapshot(
        generation,
        config,
        rules,
        resolver.resolve,
        pools,
        Lane(rules, pools, resolver.recall, metrics),
        config.health_path,
    )
