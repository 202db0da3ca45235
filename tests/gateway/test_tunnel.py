"""proxy/gateway/tunnel.py: two connections, spliced."""

from __future__ import annotations

import asyncio

from proxy.gateway.tunnel import Tunnel
from proxy.upstream.connection import UpstreamConnection
from tests.gateway.fakes import FakeClient


async def test_bytes_from_the_client_are_counted_though_nobody_takes_them() -> None:
    upstream = UpstreamConnection(asyncio.get_running_loop(), lambda _connection: None)
    tunnel = Tunnel(FakeClient(), upstream, 1.0, None)
    tunnel.from_client(b"abc")
    assert tunnel.bytes_in == 3
