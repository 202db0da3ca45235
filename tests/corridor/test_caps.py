"""Caps on what an upstream gets at once; streams and tunnels are not held to them."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from typing import Any

import pytest
import pytest_asyncio

from tests.corridor.test_websocket import HANDSHAKE, SWITCHED
from tests.support.answers import Answer
from tests.support.client import RawClient
from tests.support.scripts import Held
from tests.support.upstream import Exchange, StubUpstream
from tests.support.worker import LocalGateway, request, settings

BOTH_LOOPS = True


class Crowd:
    """Requests that are under way at the same time, each on a connection of its own."""

    def __init__(self, gateway: LocalGateway) -> None:
        self._gateway = gateway
        self._tasks: list[asyncio.Task[Answer]] = []

    def send(self, count: int, path: str = "/public/held", method: str = "GET") -> None:
        for _ in range(count):
            asked = self._gateway.ask(method, path, body=b"x" if method == "POST" else None)
            self._tasks.append(asyncio.create_task(asked))

    async def statuses(self) -> list[int]:
        return sorted(answer.status for answer in await asyncio.gather(*self._tasks))

    async def ended(self, count: int) -> None:
        await self._gateway.until(lambda: sum(task.done() for task in self._tasks) >= count)

    def leave(self, number: int) -> None:
        self._tasks.pop(number).cancel()


@pytest_asyncio.fixture
async def held(upstream: StubUpstream) -> AsyncIterator[Held]:
    held = Held()
    upstream.script("/public/held", held)
    yield held
    held.go.set()


def capped(upstream: StubUpstream, **keys: Any) -> dict[str, Any]:
    return settings(upstream.url, upstream=keys)


def waiting(gateway: LocalGateway) -> int:
    return int(gateway.endpoints[0]["waiting"])


@pytest.mark.parametrize("method", ["GET", "POST"])
async def test_requests_wait_for_a_connection(
    upstream: StubUpstream, held: Held, method: str
) -> None:
    async with LocalGateway(capped(upstream, connections=2, pending=3)) as gateway:
        crowd = Crowd(gateway)
        crowd.send(5, method=method)
        await gateway.until(lambda: waiting(gateway) == 3)
        assert gateway.endpoints[0]["open"] == 2
        crowd.send(1, method=method)
        await crowd.ended(1)  # the one too many, at once
        held.go.set()
        assert await crowd.statuses() == [200] * 5 + [503]
        line = await gateway.logged(lambda line: line["status"] == 503)
        assert line["code"] == "overloaded"
        assert "(connections, pending)" in line["reason"]
        assert (waiting(gateway), gateway.endpoints[0]["requests"]) == (0, 0)
    assert len(upstream.connections) == 2
    assert len(upstream.requests) == 5


async def test_waiting_ends_with_the_timeout_for_connecting(
    upstream: StubUpstream, held: Held
) -> None:
    keys = {"connections": 1, "timeouts": {"connect": "100ms"}}
    async with LocalGateway(capped(upstream, **keys)) as gateway:
        crowd = Crowd(gateway)
        crowd.send(1)
        await upstream.wait(lambda: len(upstream.requests) == 1)
        answer = await gateway.ask("GET", "/public/held")
        assert (answer.status, answer.json()["code"]) == (503, "overloaded")
        assert answer.get("Retry-After") == "1"
        held.go.set()
        assert await crowd.statuses() == [200]
        assert (await gateway.ask("GET", "/public/held")).status == 200


async def test_clients_that_leave_while_they_wait_leave_nothing_behind(
    upstream: StubUpstream, held: Held
) -> None:
    async with LocalGateway(capped(upstream, connections=1)) as gateway:
        first = Crowd(gateway)
        first.send(1)
        await upstream.wait(lambda: len(upstream.requests) == 1)
        async with RawClient(gateway.port) as client:
            await client.send(request("GET", "/public/held"))
            await gateway.until(lambda: waiting(gateway) == 1)
            client.reset_connection()
            await gateway.until(lambda: waiting(gateway) == 0)
        crowd = Crowd(gateway)
        crowd.send(3)
        await gateway.until(lambda: waiting(gateway) == 3)
        held.go.set()
        assert await crowd.statuses() == [200] * 3
        assert await first.statuses() == [200]
        await gateway.until(lambda: gateway.endpoints[0]["requests"] == 0)
    assert len(upstream.requests) == 4


async def test_a_connection_that_ends_makes_room_for_who_waits(upstream: StubUpstream) -> None:
    go = asyncio.Event()

    async def last(exchange: Exchange) -> None:
        await exchange.read_body()
        await go.wait()
        await exchange.send(b"HTTP/1.1 200 \r\nConnection: close\r\nContent-Length: 0\r\n\r\n")
        exchange.close()

    upstream.script("/public/last", last)
    async with LocalGateway(capped(upstream, connections=1)) as gateway:
        crowd = Crowd(gateway)
        crowd.send(4, "/public/last")
        await gateway.until(lambda: waiting(gateway) == 3)
        go.set()
        assert await crowd.statuses() == [200] * 4
    assert len(upstream.connections) == 4


async def test_another_endpoint_takes_what_one_has_no_room_for(
    upstream: StubUpstream, held: Held
) -> None:
    async with StubUpstream() as other:
        other.script("/public/held", held)
        config = settings(upstream.url, other.url, upstream={"connections": 2, "pending": 0})
        async with LocalGateway(config) as gateway:
            crowd = Crowd(gateway)
            crowd.send(4)
            await gateway.until(lambda: [each["open"] for each in gateway.endpoints] == [2, 2])
            crowd.send(1)
            await crowd.ended(1)
            held.go.set()
            assert await crowd.statuses() == [200] * 4 + [503]


async def test_the_cap_on_requests(upstream: StubUpstream, held: Held) -> None:
    async with LocalGateway(capped(upstream, requests=3)) as gateway:
        crowd = Crowd(gateway)
        crowd.send(3)
        await upstream.wait(lambda: len(upstream.requests) == 3)
        refused = await gateway.ask("GET", "/public/x")
        assert (refused.status, refused.json()["code"]) == (503, "overloaded")
        line = await gateway.logged()
        assert line["reason"] == "3 requests are under way (requests)"
        assert (line["attempts"], line["endpoint"]) == (0, None)
        held.go.set()
        assert await crowd.statuses() == [200] * 3
        assert (await gateway.ask("GET", "/public/x")).status == 200


async def test_the_cap_on_requests_holds_in_the_lane(upstream: StubUpstream, held: Held) -> None:
    async with LocalGateway(capped(upstream, requests=1)) as gateway:
        async with RawClient(gateway.port) as client:
            for number in range(1, 4):
                await client.send(request("GET", "/public/x"))
                await client.read_answers(number)
            crowd = Crowd(gateway)
            crowd.send(1)
            await upstream.wait(lambda: upstream.requests[-1].path == "/public/held")
            await client.send(request("GET", "/public/x"))
            answers = await client.read_answers(4)
            held.go.set()
            assert await crowd.statuses() == [200]
            await client.send(request("GET", "/public/x"))
            answers = await client.read_answers(5)
        assert [answer.status for answer in answers] == [200, 200, 200, 503, 200]


@pytest.mark.parametrize(
    "kind",
    [b"text/event-stream", b"Text/Event-Stream; charset=utf-8", b"multipart/x-mixed-replace"],
)
async def test_streams_count_against_no_cap(upstream: StubUpstream, kind: bytes) -> None:
    end = asyncio.Event()

    async def stream(exchange: Exchange) -> None:
        head = b"HTTP/1.1 200 \r\nContent-Type: %b\r\nTransfer-Encoding: chunked\r\n\r\n" % kind
        await exchange.send(head + b"3\r\n:a\n\r\n")
        await end.wait()
        await exchange.send(b"0\r\n\r\n")

    upstream.script("/public/events", stream)
    async with LocalGateway(capped(upstream, connections=1, requests=1, pending=0)) as gateway:
        clients = [RawClient(gateway.port) for _ in range(3)]
        for client in clients:
            async with asyncio.timeout(10):
                await client.__aenter__()
            await client.send(request("GET", "/public/events"))
            await client.wait(lambda client=client: b":a\n" in client.received)  # type: ignore[misc]
        assert (gateway.endpoints[0]["streams"], gateway.endpoints[0]["open"]) == (3, 3)
        assert (await gateway.ask("GET", "/public/x")).status == 200
        end.set()
        for client in clients:
            assert (await client.read_answers())[0].status == 200
            await client.__aexit__(None, None, None)
        await gateway.until(lambda: gateway.endpoints[0]["streams"] == 0)
        assert (await gateway.ask("GET", "/public/x")).status == 200
        assert gateway.endpoints[0]["requests"] == 0


async def test_tunnels_count_against_no_cap(upstream: StubUpstream) -> None:
    async def switch(exchange: Exchange) -> None:
        await exchange.send(SWITCHED)
        while await exchange.read():
            pass

    upstream.script("/api/ws", switch)
    keys = {"connections": 1, "requests": 1, "pending": 0}
    config = capped(upstream, **keys)
    config["routes"].append(
        {"path": "/ws", "upstream": "api", "auth": "public", "upgrade": "websocket"}
    )
    upstream.script("/ws", switch)
    async with LocalGateway(config) as gateway:
        async with RawClient(gateway.port) as one, RawClient(gateway.port) as two:
            for client in (one, two):
                await client.send(request("GET", "/ws", *HANDSHAKE))
                await client.read_answers()
            await gateway.until(lambda: gateway.endpoints[0]["streams"] == 2)
            assert (await gateway.ask("GET", "/public/x")).status == 200
        await gateway.until(lambda: gateway.endpoints[0]["streams"] == 0)
        await gateway.until(lambda: gateway.endpoints[0]["requests"] == 0)


async def test_tunnels_that_the_endpoint_ends_count_no_more(upstream: StubUpstream) -> None:
    async def switch(exchange: Exchange) -> None:
        await exchange.send(SWITCHED)
        await exchange.read()
        exchange.close()

    upstream.script("/public/ws", switch)
    config = capped(upstream, requests=1)
    config["routes"][0]["upgrade"] = "websocket"
    async with LocalGateway(config) as gateway:
        for _ in range(2):
            async with RawClient(gateway.port) as client:
                await client.send(request("GET", "/public/ws", *HANDSHAKE))
                await client.read_answers()
                await client.send(b"x")
                await client.read_until_closed()
        await gateway.until(lambda: gateway.endpoints[0]["open"] == 0)
        assert gateway.endpoints[0]["requests"] == 0
        assert (await gateway.ask("GET", "/public/x")).status == 200
