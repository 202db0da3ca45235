"""proxy/upstream/endpoint.py: connections are made, kept, reused and counted."""

from __future__ import annotations

import asyncio

import pytest

from proxy.config.model import Endpoint as Address
from proxy.errors import Overloaded
from proxy.upstream.deadlines import Deadlines
from proxy.upstream.endpoint import ConnectSettings, Endpoint


async def test_the_limit_of_connections_is_kept() -> None:
    loop = asyncio.get_running_loop()
    settings = ConnectSettings(1.0, 0, None, None)
    endpoint = Endpoint(Address.parse("http://127.0.0.1:1"), settings, loop, Deadlines(loop))
    with pytest.raises(Overloaded):
        await endpoint.connect(1.0)
