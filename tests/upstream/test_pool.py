"""proxy/upstream/pool.py: whose turn it is, and the TLS context of an upstream."""

from __future__ import annotations

import asyncio

from proxy.upstream.deadlines import Deadlines
from proxy.upstream.pool import Pool
from tests.support.exchanges import config_of

CONFIG = """
upstreams: {{api: {{{keys}}}}}
routes: [{{path: /**, upstream: api, auth: public}}]
"""


def pool_of(keys: str) -> Pool:
    loop = asyncio.get_running_loop()
    config = config_of(CONFIG.format(keys=keys))
    return Pool("api", config.upstreams["api"], loop, Deadlines(loop))


async def test_endpoints_take_turns() -> None:
    pool = pool_of("endpoints: ['http://a:1', 'http://b:1', 'http://c:1']")
    names = [pool.pick(()).name for _ in range(4)]
    assert names == ["http://a:1", "http://b:1", "http://c:1", "http://a:1"]
