"""Two gateways share one limit over a real Valkey, which is killed, frozen and started again."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from time import monotonic
from typing import Any

import pytest

from tests.support.client import RawClient
from tests.support.upstream import StubUpstream
from tests.support.valkey import Valkey
from tests.support.worker import LocalGateway, request, settings, signed_in

WIDE = "10000000/h"


@asynccontextmanager
async def two(
    valkey: Valkey, limit: Any, **keys: Any
) -> AsyncIterator[tuple[LocalGateway, LocalGateway]]:
    """Two gateways before one upstream. They are patient, where nothing else is said: a machine may
    be slow.
    """
    redis = {"url": valkey.url, "timeout": "30s", **keys}
    async with StubUpstream() as upstream:
        config = settings(upstream.url, rate_limit=limit, redis=redis)
        async with LocalGateway(config) as one, LocalGateway(config) as other:
            yield one, other


async def statuses(gateway: LocalGateway, times: int, *lines: str) -> list[int]:
    return [(await gateway.ask("GET", "/api/x", *lines)).status for _ in range(times)]


def problem(gateway: LocalGateway) -> str:
    """Return why the gateway cannot ask the server, "" if it can."""
    return str(gateway.status["limit_store"]["problem"] or "")


def counted(gateway: LocalGateway) -> dict[str, int]:
    """Return what became of the questions to the server."""
    return gateway.worker.metrics.limit_store


async def test_two_gateways_share_what_a_user_has(valkey: Valkey) -> None:
    ada, bob = signed_in("ada"), signed_in("bob")
    async with two(valkey, {"by": "user", "rate": "5/h"}) as (one, other):
        found = [*await statuses(one, 3, ada), *await statuses(other, 3, ada)]
        assert found == [200] * 5 + [429]
        assert await statuses(one, 2, ada) == [429] * 2
        assert await statuses(other, 1, bob) == [200]
        refused = await one.ask("GET", "/api/x", ada)
        async with valkey.client() as client:
            keys = await client.keys()
    assert 700 < int(refused.get("Retry-After") or 0) <= 720
    assert refused.get("RateLimit-Policy") == '"user-5/h";q=5;w=3600'
    assert len(keys) == 2
    assert all(key.startswith("gatelodge:limit:") for key in keys)
    assert not any("ada" in key or "bob" in key for key in keys)


async def test_known_heads_are_counted_together_too(valkey: Valkey) -> None:
    """The lane does not wait for anybody, so what is counted elsewhere goes the ordinary way."""
    async with two(valkey, {"by": "ip", "rate": "20/h"}) as (one, other):
        found: Counter[int] = Counter()
        for gateway in (one, other):
            async with RawClient(gateway.port) as client:
                for count in range(1, 21):
                    await client.send(request("GET", "/public/x"))
                    found[(await client.read_answers(count))[-1].status] += 1
        assert found == {200: 20, 429: 20}
        assert repr(one.worker._gateway.snapshot.lane) == "<Lane heads=0>"


async def test_many_at_once_are_counted_exactly(valkey: Valkey) -> None:
    async with two(valkey, {"by": "ip", "rate": "100/h"}) as gateways:

        async def ask(number: int) -> int:
            return (await gateways[number % 2].ask("GET", "/public/x")).status

        found = Counter(await asyncio.gather(*(ask(number) for number in range(300))))
    assert found == {200: 100, 429: 200}


class Load:
    """Asks both gateways all the time, on `clients` connections, and notes each answer."""

    def __init__(self, gateways: tuple[LocalGateway, LocalGateway], clients: int = 8) -> None:
        self._gateways = gateways
        self._clients = clients
        self._over = False
        self.found: Counter[int] = Counter()
        self.slowest = 0.0

    @property
    def total(self) -> int:
        """Answers so far."""
        return sum(self.found.values())

    async def more(self, count: int, *, deadline: float = 30.0) -> None:
        """Wait for so many answers more. Raises TimeoutError."""
        await until(lambda end=self.total + count: self.total >= end, deadline=deadline)

    async def _ask(self, gateway: LocalGateway) -> None:
        async with RawClient(gateway.port) as client:
            count = 0
            while not self._over:
                count += 1
                began = monotonic()
                await client.send(request("GET", "/public/x"))
                answers = await client.read_answers(count)
                self.slowest = max(self.slowest, monotonic() - began)
                assert len(answers) == count, "the connection has ended"
                self.found[answers[-1].status] += 1

    @asynccontextmanager
    async def running(self) -> AsyncIterator[None]:
        async with asyncio.TaskGroup() as group:
            for number in range(self._clients):
                group.create_task(self._ask(self._gateways[number % 2]))
            try:
                yield
            finally:
                self._over = True


async def until(holds: Callable[..., bool], *, deadline: float = 30.0) -> None:
    async with asyncio.timeout(deadline):
        while not holds():  # noqa: ASYNC110 - a counter tells nobody that it was counted
            await asyncio.sleep(0.002)


@pytest.mark.slow
@pytest.mark.parametrize("on_failure", ["local", "allow", "deny"])
async def test_a_server_that_is_killed_and_comes_back_under_load(
    valkey: Valkey, on_failure: str
) -> None:
    limit = {"by": "ip", "rate": WIDE}
    async with two(valkey, limit, on_failure=on_failure) as gateways:
        load = Load(gateways)
        async with load.running():
            await load.more(100)
            assert load.found.keys() == {200}
            await valkey.kill()
            await until(lambda: all(map(problem, gateways)))
            await load.more(200)
            await valkey.start()
            await until(lambda: not any(map(problem, gateways)))
            answered = [counted(gateway)["answered"] for gateway in gateways]
            await load.more(100)
            now = [counted(gateway)["answered"] for gateway in gateways]
    assert all(after > before for before, after in zip(answered, now, strict=True))
    assert load.found.keys() == ({200, 503} if on_failure == "deny" else {200})


@pytest.mark.slow
async def test_a_server_that_is_frozen_holds_up_only_who_has_asked_it(valkey: Valkey) -> None:
    """Each time it is looked for costs no request anything; only those that were under way wait."""
    async with two(valkey, {"by": "ip", "rate": WIDE}, timeout="1s") as gateways:
        load = Load(gateways)
        async with load.running():
            await load.more(50)
            valkey.freeze()
            await until(lambda: all(map(problem, gateways)))
            failed = [counted(gateway)["failed"] for gateway in gateways]
            await load.more(300)
            assert [counted(gateway)["failed"] for gateway in gateways] == failed
            assert all(problem(gateway) == "no answer in time" for gateway in gateways)
            valkey.thaw()
            await until(lambda: not any(map(problem, gateways)))
            await load.more(50)
    assert load.found.keys() == {200}
    # At most one question of each connection was under way when it froze.
    assert sum(failed) <= 8


async def test_without_it_each_gateway_keeps_the_limit_alone(valkey: Valkey) -> None:
    async with two(valkey, {"by": "ip", "rate": "5/h"}) as (one, other):
        await valkey.kill()
        for gateway in (one, other):
            found = [(await gateway.ask("GET", "/public/x")).status for _ in range(8)]
            assert found == [200] * 5 + [429] * 3


async def test_a_gateway_starts_without_it_and_finds_it_later(valkey: Valkey) -> None:
    await valkey.kill()
    async with two(valkey, {"by": "ip", "rate": "5/h"}) as (one, other):
        assert problem(one) == "no connection: Connection refused"
        text = one.worker.state.metrics_text()[0].decode()
        assert "gatelodge_limit_store_up 0.0" in text
        assert one.worker.state.ready() == (True, "ready")
        await valkey.start()
        await until(lambda: not problem(one) and not problem(other))
        found = [
            (await gateway.ask("GET", "/public/x")).status
            for gateway in (one, other)
            for _ in range(4)
        ]
        assert found == [200] * 5 + [429] * 3
        text = one.worker.state.metrics_text()[0].decode()
    assert "gatelodge_limit_store_up 1.0" in text
    assert 'gatelodge_limit_store_total{result="answered"} 4.0' in text
