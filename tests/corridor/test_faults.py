"""Faults of every kind at once: whatever clients, endpoints and reloads do, nothing is left behind,
neither a place, nor a connection, nor a task.
"""

from __future__ import annotations

import asyncio
import os
import random
from contextlib import AsyncExitStack, suppress
from typing import Any, Final

import pytest

from proxy.upstream.endpoint import Endpoint
from tests.corridor.test_websocket import HANDSHAKE, SWITCHED
from tests.support.client import RawClient
from tests.support.upstream import Exchange, StubUpstream
from tests.support.worker import LocalGateway, request, settings, signed_in

BOTH_LOOPS = True

STEPS: Final = int(os.environ.get("GATELODGE_TEST_FAULTS", "6"))
"""What each client does; a soak sets a larger number."""
CLIENTS: Final = 24
PAUSE: Final = 0.02
"""The longest that anybody dawdles, in seconds."""
EVENTS: Final = b"HTTP/1.1 200 \r\nContent-Type: text/event-stream\r\n\r\ndata: 1\n\n"
CHUNKS: Final = b"HTTP/1.1 200 \r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n"
SIZED: Final = b"HTTP/1.1 200 \r\nContent-Length: 5\r\n\r\nhello"
HINTS: Final = b"HTTP/1.1 103 \r\nLink: </a>\r\n\r\n"


class Faulty:
    """Does to each exchange what chance says, until `well` is set."""

    def __init__(self, chance: random.Random) -> None:
        self._chance = chance
        self.well = False

    async def __call__(self, exchange: Exchange) -> None:
        chance = self._chance
        if exchange.request.get("Upgrade"):
            await exchange.send(SWITCHED)
        elif chance.random() < 0.8 or self.well:
            await exchange.read_body()
        if self.well:
            await exchange.send(SIZED)
            return
        await asyncio.sleep(chance.random() * PAUSE)
        said = chance.choice([b"", b"H", SIZED[:20], SIZED, SIZED, SIZED, CHUNKS, EVENTS])
        if chance.random() < 0.1:
            said = HINTS + said
        await exchange.send(said)
        if said.endswith(SIZED):
            return
        await asyncio.sleep(chance.random() * PAUSE)
        end = chance.choice([exchange.close, exchange.abort, None])
        if said.endswith(CHUNKS) and chance.random() < 0.5:
            await exchange.send(b"0\r\n\r\n")
        elif end is None:
            while await exchange.read():  # hangs until the gateway leaves
                pass
        else:
            end()


class Client:
    """Asks, uploads, opens streams and tunnels, and leaves at any time."""

    def __init__(self, gateway: LocalGateway, chance: random.Random, name: str) -> None:
        self._gateway = gateway
        self._chance = chance
        self._cookie = signed_in(name)

    async def run(self) -> None:
        for _ in range(STEPS):
            async with RawClient(self._gateway.port) as client:
                with suppress(TimeoutError, ConnectionError):
                    await self._talk(client)

    async def _talk(self, client: RawClient) -> None:
        for number in range(1, self._chance.randint(2, 5)):
            await client.send(self._request())
            if self._chance.random() < 0.25:
                await asyncio.sleep(self._chance.random() * PAUSE)
                return  # leaves without the answer
            async with asyncio.timeout(0.5):
                if len(await client.read_answers(number)) < number:
                    return

    def _request(self) -> bytes:
        kind = self._chance.choice(["known", "known", "get", "post", "part", "websocket"])
        if kind == "known":  # the lane's, from the third on
            return request("GET", "/api/known", self._cookie)
        if kind == "post":
            return request("POST", "/api/x", self._cookie, body=b"x" * 3000)
        if kind == "part":
            return request("POST", "/api/x", self._cookie, "Content-Length: 9") + b"half"
        lines = HANDSHAKE if kind == "websocket" else ()
        return request("GET", f"/api/{self._chance.random()}", self._cookie, *lines)


def config_of(stubs: list[StubUpstream], chance: random.Random) -> dict[str, Any]:
    """Return a configuration with some of the endpoints, and small caps."""
    listed = chance.sample(stubs, chance.randint(1, len(stubs)))
    upstream = {
        "balance": chance.choice(["round_robin", "least_requests", "hash(user)", "hash(ip)"]),
        "connections": chance.choice([1, 2, 4]),
        "pending": chance.choice([0, 2, 8]),
        "requests": chance.choice(["off", 12]),
        "pool_idle": "200ms",
        "retry": {"attempts": 3},
        "eject": {"failures": 2, "base": "20ms", "server_errors": True},
        "health": {"path": "/api/health", "interval": "30ms", "timeout": "20ms"},
        "slow_start": "50ms",
        "timeouts": {"connect": "60ms", "first_byte": "60ms", "stream_idle": "100ms"},
    }
    return settings(*(stub.url for stub in listed), upstream=upstream)


@pytest.mark.parametrize("seed", range(2))
async def test_nothing_is_left_behind(seed: int) -> None:
    chance = random.Random(seed)
    faulty = Faulty(chance)
    stubs = [StubUpstream() for _ in range(3)]
    async with AsyncExitStack() as stack:
        for stub in stubs:
            stub.default = faulty
            await stack.enter_async_context(stub)
        gateway = await stack.enter_async_context(
            LocalGateway(config_of(stubs, chance), expect_errors=True)
        )
        tasks = len(asyncio.all_tasks())
        clients = [Client(gateway, chance, f"u-{at}").run() for at in range(CLIENTS)]
        running = asyncio.gather(*clients)
        seen: set[Endpoint] = set()
        while not running.done():
            seen |= endpoints_of(gateway)
            assert (await gateway.reload(config_of(stubs, chance))).problems == ()
            await asyncio.sleep(PAUSE * 2)
        await running
        faulty.well = True
        assert (await gateway.reload(config_of(stubs, chance))).problems == ()
        seen |= endpoints_of(gateway)
        await gateway.until(lambda: left_behind(gateway) == [])
        await gateway.until(lambda: all(is_empty(each) for each in seen))
        await gateway.until(lambda: len(asyncio.all_tasks()) <= tasks + len(stubs))
        await gateway.until(lambda: {each["state"] for each in gateway.endpoints} == {"up"})
        assert (await gateway.ask("GET", "/api/x", signed_in())).status == 200
        # A stub may write to a connection that the gateway has just ended.
        assert [each for each in gateway.errors if "client_connected_cb" not in each] == []
        faults = [each for each in gateway._handler.records if "no usable endpoint" not in each]
        assert faults == []


def endpoints_of(gateway: LocalGateway) -> set[Endpoint]:
    """Return the endpoints that there are now; a reload may take them out of the status."""
    [pool] = gateway.worker._gateway.snapshot.pools.values()
    return set(pool.endpoints)


def is_empty(endpoint: Endpoint) -> bool:
    return not (
        endpoint.load or endpoint.streams or endpoint.waiting or endpoint.open or endpoint.idle
    )


def left_behind(gateway: LocalGateway) -> list[object]:
    """Return what the status counts though nobody is there any more; checks come and go."""
    status = gateway.status
    counts: list[object] = [status["requests_in_flight"], *status["connections"].values()]
    for each in gateway.endpoints:
        counts += [each[key] for key in ("requests", "streams", "waiting", "open", "idle")]
    return [count for count in counts if count]
