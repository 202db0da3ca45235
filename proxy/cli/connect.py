"""Whether the endpoints of a configuration can be reached, by the gateway's own way of
connecting.
"""

from __future__ import annotations

import asyncio
from dataclasses import dataclass
from typing import TYPE_CHECKING

from proxy.errors import ProxyError
from proxy.upstream.deadlines import Deadlines
from proxy.upstream.pool import Pool

if TYPE_CHECKING:
    from proxy.config.model import Config
    from proxy.upstream.endpoint import Endpoint


@dataclass(frozen=True, slots=True)
class Reached:
    """An endpoint, and why it cannot be reached: "" if it can."""

    upstream: str
    endpoint: str
    problem: str


async def connect_all(config: Config) -> list[Reached]:
    """Connect to every endpoint at the same time, TLS included; nothing is sent."""
    loop = asyncio.get_running_loop()
    deadlines = Deadlines(loop)
    try:
        tries = []
        for name, upstream in config.upstreams.items():
            pool = Pool(name, upstream, loop, deadlines)
            tries += [_connect(name, each, upstream.timeouts.connect) for each in pool.endpoints]
        return await asyncio.gather(*tries)
    finally:
        deadlines.stop()


async def _connect(upstream: str, endpoint: Endpoint, timeout: float) -> Reached:
    try:
        connection = await endpoint.connect(timeout)
    except ProxyError as error:
        return Reached(upstream, endpoint.name, error.reason or error.detail)
    connection.abort()
    return Reached(upstream, endpoint.name, "")
