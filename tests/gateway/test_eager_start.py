"""From Python 3.12 on aiohttp starts the task of a connection eagerly: within `connection_made`.

What the first step needs must be there before. Here it is taken at once, whatever Python runs.
"""

from __future__ import annotations

import asyncio
from collections.abc import Coroutine
from time import monotonic
from typing import Any, cast

from proxy.config.model import Limits
from proxy.core.head import RequestHead
from proxy.errors import ProxyError
from proxy.gateway.downstream import Downstream
from proxy.gateway.listener import ClientConnection
from tests.gateway.fakes import FakeTransport, Listener, turns


class EagerLoop:
    """The running loop, but that a task runs to its first wait when it is made."""

    def __init__(self) -> None:
        self._loop = asyncio.get_running_loop()

    def __getattr__(self, name: str) -> Any:
        return getattr(self._loop, name)

    def create_task(self, coroutine: Coroutine[Any, Any, None]) -> asyncio.Future[None]:
        return self._loop.create_task(_go_on(coroutine, coroutine.send(None)))


async def _go_on(coroutine: Coroutine[Any, Any, None], waits_for: Any) -> None:
    while True:
        waits_for._asyncio_future_blocking = False
        await asyncio.wait([waits_for])
        try:
            waits_for = coroutine.send(None)
        except StopIteration:
            return


async def beyond_the_limit() -> tuple[ClientConnection, FakeTransport, list[str]]:
    """Return a connection too many whose task has begun while it was made, and who is refused."""
    refused: list[str] = []
    first = Listener(limits=Limits(connections=1, idle=1000.0))
    await turns()

    async def turn_away(client: Downstream, head: RequestHead, why: ProxyError) -> None:
        assert head.target == "/"
        refused.append(client.whoever.address)
        client.write(b"<%d>" % why.status)

    first.gateway.turn_away = turn_away  # type: ignore[method-assign]  # one that looks at the client
    client = cast("ClientConnection", first.server())
    client._loop = cast("asyncio.AbstractEventLoop", EagerLoop())
    transport = FakeTransport(client)
    client.connection_made(transport)
    return client, transport, refused


async def test_connection_beyond_the_limit_is_answered() -> None:
    client, transport, refused = await beyond_the_limit()
    client.data_received(b"GET / HTTP/1.1\r\nHost: a\r\n\r\n")
    await turns()
    assert bytes(transport.written) == b"<503>"
    assert refused == ["203.0.113.7"]


async def test_connection_beyond_the_limit_does_not_stay_for_the_idle_time() -> None:
    client, _, _ = await beyond_the_limit()
    assert client.deadline < monotonic() + 900.0
