"""Connections are used again, on both sides, and end when they should."""

from __future__ import annotations

import asyncio
from functools import partial

import pytest

from tests.support.client import RawClient
from tests.support.scripts import OK, Held, silent
from tests.support.upstream import Exchange, StubUpstream
from tests.support.worker import LocalGateway, request, settings, signed_in

BOTH_LOOPS = True


async def test_pipelined_requests_are_answered_in_order(
    gateway: LocalGateway, upstream: StubUpstream
) -> None:
    """More of them than the parser queues before it makes the client wait."""
    count = 100
    data = b"".join(request("GET", f"/public/{number}") for number in range(count))
    async with RawClient(gateway.port) as client:
        await client.send(data)
        answers = await client.read_answers(count)
    assert [each.json()["target"] for each in answers] == [f"/public/{n}" for n in range(count)]
    assert len(upstream.connections) == 1


async def test_pipelined_requests_keep_their_bodies_and_users_apart(
    gateway: LocalGateway, upstream: StubUpstream
) -> None:
    data = (
        request("POST", "/api/a", signed_in("u-1"), body=b"one")
        + request("POST", "/api/b", signed_in("u-2"), body=b"two")
        + request("POST", "/api/c", body=b"nobody")
        + request("POST", "/api/d", "Transfer-Encoding: chunked", signed_in("u-4"))
        + b"4\r\nfour\r\n0\r\n\r\n"
    )
    async with RawClient(gateway.port) as client:
        for start in range(0, len(data), 7):
            await client.send(data[start : start + 7])
        answers = await client.read_answers(4)
    assert [each.status for each in answers] == [200, 200, 401, 200]
    seen = [(each.get("X-User-Id"), bytes(each.body)) for each in upstream.requests]
    assert seen == [("u-1", b"one"), ("u-2", b"two"), ("u-4", b"four")]


async def test_upstream_connection_is_used_again(
    gateway: LocalGateway, upstream: StubUpstream
) -> None:
    for _ in range(3):
        await gateway.ask("GET", "/public/x")
    assert len(upstream.connections) == 1
    assert gateway.endpoints[0]["idle"] == 1


async def test_each_request_in_flight_has_a_connection_of_its_own(
    gateway: LocalGateway, upstream: StubUpstream
) -> None:
    held = Held()
    upstream.script("/public/x", held)
    tasks = [asyncio.create_task(gateway.ask("GET", "/public/x")) for _ in range(5)]
    await upstream.wait(lambda: len(upstream.requests) == 5)
    held.go.set()
    assert [each.status for each in await asyncio.gather(*tasks)] == [200] * 5
    assert len(upstream.connections) == 5
    await gateway.ask("GET", "/public/x")
    assert len(upstream.connections) == 5


@pytest.mark.parametrize(
    "answer",
    [
        pytest.param(
            b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\nConnection: close\r\n\r\nok", id="close"
        ),
        pytest.param(b"HTTP/1.0 200 OK\r\nContent-Length: 2\r\n\r\nok", id="http/1.0"),
        pytest.param(OK + b"more", id="bytes-behind"),
        pytest.param(OK + OK, id="another-answer-behind"),
        pytest.param(b"HTTP/1.1 204 X\r\n\r\nmore", id="body-of-a-204"),
    ],
)
async def test_upstream_connection_that_may_be_unclean_is_not_used_again(
    gateway: LocalGateway, upstream: StubUpstream, answer: bytes
) -> None:
    upstream.script("/public/x", answer)
    first = await gateway.ask("GET", "/public/x")
    second = await gateway.ask("GET", "/public/y")
    assert first.status in (200, 204)
    assert second.json()["target"] == "/public/y"
    assert len(upstream.connections) == 2


async def test_answer_that_comes_unasked_reaches_nobody(upstream: StubUpstream) -> None:
    """A second answer, sent after the first was passed on, meets an idle connection."""
    later = asyncio.Event()

    async def twice(exchange: Exchange) -> None:
        await exchange.send(OK)
        await later.wait()
        await exchange.send(b"HTTP/1.1 200 OK\r\nContent-Length: 6\r\n\r\npoison")

    upstream.script("/public/x", twice)
    config = settings(upstream.url, upstream={"pool_idle": "1m"})
    async with LocalGateway(config) as gateway, RawClient(gateway.port) as client:
        await client.send(request("GET", "/public/x"))
        await client.read_answers(1)
        await gateway.until(lambda: gateway.endpoints[0]["idle"] == 1)
        later.set()
        await gateway.until(lambda: gateway.endpoints[0]["open"] == 0)
        await client.send(request("GET", "/public/y"))
        _, second = await client.read_answers(2)
    assert second.json()["target"] == "/public/y"


async def test_body_of_an_answer_to_head_reaches_nobody(
    gateway: LocalGateway, upstream: StubUpstream
) -> None:
    upstream.script("/public/x", OK)  # a backend that sends a body whatever the method
    async with RawClient(gateway.port) as client:
        await client.send(request("HEAD", "/public/x") + request("GET", "/public/y"))
        first, second = await client.read_answers(2, methods=("HEAD", "GET"))
    assert (first.status, first.get("Content-Length")) == (200, "2")
    assert second.json()["target"] == "/public/y"
    assert len(upstream.connections) == 2


@pytest.mark.parametrize(
    ("version", "lines"),
    [
        ("1.1", ("Connection: close",)),
        ("1.1", ("Connection: foo, Close",)),
        ("1.0", ()),
        ("1.0", ("Connection: keep-alive",)),
    ],
)
async def test_connection_ends_when_the_client_asks_for_it(
    gateway: LocalGateway, upstream: StubUpstream, version: str, lines: tuple[str, ...]
) -> None:
    head = "\r\n".join([f"GET /public/x HTTP/{version}", "Host: a", *lines, "", ""]).encode()
    async with RawClient(gateway.port) as client:
        await client.send(head)
        await client.read_until_closed()
        [answer] = client.answers().all
    assert (answer.status, answer.get("Connection")) == (200, "close")
    assert not client.reset
    assert [each.target for each in upstream.requests] == ["/public/x"]


async def test_nothing_is_served_behind_the_last_request(
    gateway: LocalGateway, upstream: StubUpstream
) -> None:
    async with RawClient(gateway.port) as client:
        last = request("GET", "/public/x", "Connection: close")
        await client.send(last + request("GET", "/public/y"))
        await client.read_until_closed()
        assert len(client.answers().all) == 1
    assert [each.target for each in upstream.requests] in ([], ["/public/x"])


async def test_connection_stays_open_when_nobody_says_otherwise(gateway: LocalGateway) -> None:
    async with RawClient(gateway.port) as client:
        for number in range(1, 4):
            await client.send(request("GET", "/api/x") + b"\r\n")  # a blank line between them
            answer = (await client.read_answers(number))[-1]
            assert (answer.status, answer.values("Connection")) == (401, [])


async def test_idle_connection_is_closed_without_a_word(upstream: StubUpstream) -> None:
    config = settings(upstream.url, limits={"idle": "200ms", "header_timeout": "1m"})
    async with (
        LocalGateway(config) as gateway,
        RawClient(gateway.port) as fresh,
        RawClient(gateway.port) as used,
    ):
        await used.send(request("GET", "/public/x"))
        await used.read_answers()
        assert await fresh.read_until_closed() == b""
        await used.read_until_closed()
        assert len(used.answers().all) == 1
        assert used.answers().rest == b""
        assert not used.reset
        assert len(gateway.log_lines()) <= 1


async def test_slow_answer_is_not_an_idle_connection(upstream: StubUpstream) -> None:
    """`limits.idle` is for connections without a request; another one tells that it is over."""
    held = Held()
    upstream.script("/public/x", held)
    config = settings(upstream.url, limits={"idle": "200ms"})
    async with (
        LocalGateway(config) as gateway,
        RawClient(gateway.port) as client,
        RawClient(gateway.port) as idle,
    ):
        await client.send(request("GET", "/public/x"))
        await upstream.wait(lambda: bool(upstream.requests))
        await idle.read_until_closed()
        held.go.set()
        [answer] = await client.read_answers()
    assert answer.status == 200


@pytest.mark.parametrize("together", [True, False], ids=["one-packet", "two-packets"])
async def test_part_of_a_head_behind_a_request_has_its_deadline(
    upstream: StubUpstream, together: bool
) -> None:
    held = Held()
    upstream.script("/public/x", held)
    config = settings(upstream.url, limits={"header_timeout": "200ms", "idle": "300ms"})
    async with LocalGateway(config) as gateway, RawClient(gateway.port) as client:
        part = b"GET /public/y HTTP/1.1\r\nHo"
        await client.send(request("GET", "/public/x") + (part if together else b""))
        await upstream.wait(lambda: bool(upstream.requests))
        if not together:
            await client.send(part)
        held.go.set()
        await client.read_until_closed()
        assert [each.status for each in client.answers().all] in ([200, 408], [200])
        assert len(upstream.requests) == 1


async def test_idle_upstream_connections_are_closed_after_pool_idle(
    upstream: StubUpstream,
) -> None:
    config = settings(upstream.url, upstream={"pool_idle": "200ms"})
    async with LocalGateway(config) as gateway:
        await gateway.ask("GET", "/public/x")
        assert gateway.endpoints[0]["idle"] == 1
        await upstream.wait(lambda: upstream.connections[0].ended.is_set())
        assert gateway.endpoints[0]["open"] == 0


async def test_without_a_pool_each_request_has_a_connection(upstream: StubUpstream) -> None:
    config = settings(upstream.url, upstream={"pool_idle": "0s"})
    async with LocalGateway(config) as gateway:
        for _ in range(3):
            assert (await gateway.ask("GET", "/public/x")).status == 200
        await gateway.until(lambda: gateway.endpoints[0]["open"] == 0)
    assert len(upstream.connections) == 3


@pytest.mark.parametrize("size", [1, 255_000, 300_000, 3_000_000])
async def test_connection_is_usable_after_an_answer_of_any_size(
    upstream: StubUpstream, size: int
) -> None:
    head = b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n" % size
    upstream.script("/public/x", head + b"x" * size)

    def taken(number: int) -> bool:
        return client.size > size * number

    # On a slow machine the client reads 24 MB for longer than the usual pool_idle.
    config = settings(upstream.url, upstream={"pool_idle": "1m"})
    async with LocalGateway(config) as gateway, RawClient(gateway.port) as client:
        for number in range(1, 9):
            await client.send(request("GET", "/public/x"))
            await client.wait(partial(taken, number))
            assert len(await client.read_answers(number)) == number
    assert len(upstream.connections) == 1


async def test_idle_connections_do_not_use_up_the_limit(upstream: StubUpstream) -> None:
    """A WebSocket takes no pooled connection, and must not be refused because of idle ones."""
    upstream.script("/optional/ws", silent)
    config = settings(upstream.url, upstream={"connections": 1, "pool_idle": "1m"})
    async with LocalGateway(config) as gateway, RawClient(gateway.port) as client:
        assert (await gateway.ask("GET", "/public/x")).status == 200
        assert gateway.endpoints[0]["idle"] == 1
        await client.send(
            request(
                "GET",
                "/optional/ws",
                "Connection: Upgrade",
                "Upgrade: websocket",
                "Sec-WebSocket-Version: 13",
                "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==",
            )
        )
        await upstream.wait(lambda: len(upstream.requests) == 2)
