"""proxy/upstream/connection.py over a fake transport."""

from __future__ import annotations

import asyncio

from proxy.upstream.connection import UpstreamConnection
from tests.gateway.fakes import FakeTransport


async def test_a_byte_on_an_idle_connection_ends_it() -> None:
    connection = UpstreamConnection(asyncio.get_running_loop(), lambda _connection: None)
    transport = FakeTransport(connection)
    connection.connection_made(transport)
    connection.data_received(b"H")
    assert transport.calls == ["abort"]
