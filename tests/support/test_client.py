"""The client that sends exact bytes."""

from __future__ import annotations

import pytest

from tests.support.client import RawClient
from tests.support.upstream import Exchange, StubUpstream

OK = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok"


async def test_client_keeps_what_came_before_a_reset() -> None:
    async def refuse(exchange: Exchange) -> None:
        await exchange.send(OK)
        exchange.abort()

    async with StubUpstream() as upstream, RawClient(upstream.port) as client:
        upstream.script("/x", refuse)
        await client.send(b"POST /x HTTP/1.1\r\nHost: h\r\nContent-Length: 9\r\n\r\n")
        assert await client.read_until_closed() == OK


async def test_client_fails_when_the_server_says_nothing() -> None:
    async with StubUpstream() as upstream, RawClient(upstream.port) as client:
        with pytest.raises(TimeoutError):
            await client.read_answers(deadline=0.01)
