"""How long an upstream may take: by progress, and each route its own."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from tests.corridor.test_websocket import HANDSHAKE, SWITCHED
from tests.support.client import RawClient
from tests.support.scripts import silent
from tests.support.upstream import Exchange, StubUpstream
from tests.support.worker import LocalGateway, request, settings

BOTH_LOOPS = True

SHORT = "500ms"


def with_route(upstream: StubUpstream, below: dict[str, str], route: dict[str, str]) -> Any:
    """Return a configuration with a route /own/** that has timeouts of its own."""
    config = settings(upstream.url, upstream={"timeouts": below})
    own = {"path": "/own/**", "upstream": "api", "auth": "public", "timeouts": route}
    config["routes"].append(own)
    return config


async def trickle(exchange: Exchange) -> None:
    """Send a body for longer than any of the short timeouts, without a long pause."""
    await exchange.send(b"HTTP/1.1 200 OK\r\nContent-Length: 30\r\n\r\n")
    for _ in range(30):
        await asyncio.sleep(0.05)
        await exchange.send(b"x")


async def stand_still(exchange: Exchange) -> None:
    """Begin an answer and never end it."""
    await exchange.send(b"HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\nx")
    await silent(exchange)


@pytest.mark.parametrize(
    ("below", "route", "late"),
    [("1m", SHORT, "/own/x"), (SHORT, "1m", "/public/x"), (SHORT, "off", "/public/x")],
)
async def test_a_route_may_wait_for_another_time_for_the_first_byte(
    upstream: StubUpstream, below: str, route: str, late: str
) -> None:
    """The other route still waits when this one has given up, with a request that began before."""
    for path in ("/own/x", "/public/x"):
        upstream.script(path, silent)
    config = with_route(upstream, {"first_byte": below}, {"first_byte": route})
    patient = "/public/x" if late == "/own/x" else "/own/x"
    async with LocalGateway(config) as gateway, RawClient(gateway.port) as client:
        await client.send(request("GET", patient))
        await upstream.wait(lambda: len(upstream.requests) == 1)
        answer = await gateway.ask("GET", late)
        assert (answer.status, answer.json()["code"]) == (504, "upstream_timeout")
        assert client.received == b""


@pytest.mark.parametrize(
    ("below", "route", "late"), [("1m", SHORT, "/own/x"), (SHORT, "1m", "/public/x")]
)
async def test_a_route_may_wait_for_another_time_between_two_pieces(
    upstream: StubUpstream, below: str, route: str, late: str
) -> None:
    for path in ("/own/x", "/public/x"):
        upstream.script(path, stand_still)
    config = with_route(upstream, {"stream_idle": below}, {"stream_idle": route})
    patient = "/public/x" if late == "/own/x" else "/own/x"
    async with LocalGateway(config) as gateway, RawClient(gateway.port) as waiting:
        await waiting.send(request("GET", patient))
        await waiting.wait(lambda: waiting.received.endswith(b"x"))
        async with RawClient(gateway.port) as client:
            await client.send(request("GET", late))
            await client.read_until_closed()
            assert client.reset
        assert not waiting.eof


async def test_a_route_keeps_what_it_does_not_name(upstream: StubUpstream) -> None:
    upstream.script("/own/x", silent)
    config = with_route(upstream, {"first_byte": SHORT}, {"stream_idle": "1m"})
    async with LocalGateway(config) as gateway:
        assert (await gateway.ask("GET", "/own/x")).status == 504


@pytest.mark.parametrize("path", ["/public/x", "/own/x"])
async def test_an_answer_that_moves_on_may_take_longer_than_any_timeout(
    upstream: StubUpstream, path: str
) -> None:
    upstream.script(path, trickle)
    limits = {"first_byte": "1s", "stream_idle": "1s"}
    async with LocalGateway(with_route(upstream, limits, {"connect": "300ms"})) as gateway:
        answer = await gateway.ask("GET", path)
        assert (answer.status, answer.body) == (200, b"x" * 30)


async def test_the_first_byte_is_waited_for_from_the_end_of_the_request(
    upstream: StubUpstream,
) -> None:
    limits = {"first_byte": "1s", "stream_idle": "1m"}
    config = settings(upstream.url, upstream={"timeouts": limits})
    async with LocalGateway(config) as gateway, RawClient(gateway.port) as client:
        await client.send(request("POST", "/public/x", "Content-Length: 30"))
        for _ in range(30):  # longer than the endpoint may take
            await asyncio.sleep(0.05)
            await client.send(b"x")
        [answer] = await client.read_answers()
        assert answer.status == 200


async def test_a_tunnel_has_no_deadline_but_that_of_a_pause(upstream: StubUpstream) -> None:
    """`first_byte` and `connect` have passed many times when the last frame comes."""

    async def late(exchange: Exchange) -> None:
        await exchange.send(SWITCHED)
        for _ in range(10):
            await asyncio.sleep(0.1)
            await exchange.send(b"\x81\x01x")

    upstream.script("/own/ws", late)
    limits = {"first_byte": "500ms", "connect": "500ms", "stream_idle": "1m"}
    config = with_route(upstream, limits, {})
    config["routes"][-1]["upgrade"] = "websocket"
    async with LocalGateway(config) as gateway, RawClient(gateway.port) as client:
        await client.send(request("GET", "/own/ws", *HANDSHAKE))
        await client.wait(lambda: client.received.count(b"\x81\x01x") == 10)


@pytest.mark.parametrize(("path", "status"), [("/own/x", 504), ("/public/x", 200)])
async def test_the_lane_has_the_timeouts_of_its_route(
    upstream: StubUpstream, path: str, status: int
) -> None:
    """Three times the same head makes it known; the fourth answer is late for one of the routes."""
    held = asyncio.Event()
    count = 0

    async def fourth_is_late(exchange: Exchange) -> None:
        nonlocal count
        count += 1
        if count > 3 and path == "/own/x":
            await silent(exchange)
        elif count > 3:
            await held.wait()
        await exchange.send(b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n")

    upstream.script(path, fourth_is_late)
    upstream.script("/own/y", silent)
    config = with_route(upstream, {"first_byte": "1m"}, {"first_byte": SHORT})
    async with LocalGateway(config) as gateway, RawClient(gateway.port) as client:
        for number in range(1, 4):
            await client.send(request("GET", path))
            await client.read_answers(number)
        await client.send(request("GET", path))
        assert (await gateway.ask("GET", "/own/y")).status == 504  # the short time has passed
        held.set()
        answers = await client.read_answers(4)
        assert [answer.status for answer in answers] == [200, 200, 200, status]
