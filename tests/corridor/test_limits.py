"""What slow, endless and numerous clients may take: every limit, over real sockets.

Each is met on a fresh connection and on one whose requests are in the lane, since these are read by
other code.
"""

from __future__ import annotations

import asyncio
from typing import Any, Final

import pytest

from tests.support.client import RawClient
from tests.support.scripts import OK
from tests.support.upstream import Exchange, StubUpstream
from tests.support.worker import LocalGateway, request, settings, signed_in

BOTH_LOOPS = True

GET: Final = request("GET", "/api/x", signed_in("u-7"))
CHUNKED: Final = request("POST", "/public/x", "Transfer-Encoding: chunked")
QUICK: Final = {"header_timeout": "300ms", "body_idle": "300ms"}
"""Idle connections keep their 75 s, so what ends is not ended for being idle."""
WARM: Final = pytest.mark.parametrize("warm", [False, True], ids=["fresh", "in the lane"])


async def prepare(client: RawClient, gateway: LocalGateway, *, warm: bool) -> int:
    """With `warm`, bring the connection into the lane; return how many answers it has had."""
    if not warm:
        return 0
    for count in range(1, 5):
        await client.send(GET)
        await client.read_answers(count)
    assert len(gateway.worker._gateway.snapshot.lane._known) == 1
    return 4


async def ended(client: RawClient, before: int) -> int:
    """Wait for the end of the connection; return the status of the answer that came before it."""
    await client.read_until_closed()
    answers = client.answers().final
    assert len(answers) == before + 1
    return answers[-1].status


class Trickle:
    """Sends a piece again and again, as long as the connection lasts."""

    def __init__(self, client: RawClient, piece: bytes) -> None:
        self._client = client
        self._piece = piece

    async def __aenter__(self) -> None:
        self._task = asyncio.ensure_future(self._send())

    async def __aexit__(self, *_: object) -> None:
        self._task.cancel()

    async def _send(self) -> None:
        while not self._client.eof:
            await self._client.send(self._piece)
            await asyncio.sleep(0.02)


def causes(gateway: LocalGateway) -> dict[str, int]:
    """Return why the gateway has ended connections."""
    return gateway.worker.metrics.cut_connections


# Heads.

SLOW_HEADS: Final = {
    "one byte at a time": (b"GET / HTTP/1.1\r\nX: ", b"x"),
    "blank lines": (b"\r\n", b"\r\n"),
    "fields without end": (b"GET / HTTP/1.1\r\n", b"X: y\r\n"),
    "behind a request": (GET + b"GET / HTTP/1.1\r\nX: ", b"x"),
    "behind two": (GET + GET + b"GET /", b"x"),
    "behind a body": (request("POST", "/public/x", body=b"hello") + b"GET /", b"x"),
}


@WARM
@pytest.mark.parametrize(("beginning", "piece"), SLOW_HEADS.values(), ids=SLOW_HEADS)
async def test_a_slow_head_is_408_whatever_came_before_it(
    upstream: StubUpstream, beginning: bytes, piece: bytes, warm: bool
) -> None:
    config = settings(upstream.url, limits=QUICK)
    async with LocalGateway(config) as gateway, RawClient(gateway.port) as client:
        before = await prepare(client, gateway, warm=warm)
        before += beginning.count(b"HTTP/1.1\r\nHost")
        await client.send(beginning)
        async with Trickle(client, piece):
            assert await ended(client, before) == 408
        assert causes(gateway) == {"head": 1}


@WARM
async def test_a_connection_that_says_nothing_ends_without_a_word(
    upstream: StubUpstream, warm: bool
) -> None:
    config = settings(upstream.url, limits={"idle": "300ms"})
    async with LocalGateway(config) as gateway, RawClient(gateway.port) as client:
        before = await prepare(client, gateway, warm=warm)
        await client.read_until_closed()
        assert len(client.answers().final) == before
        assert causes(gateway) == {"idle": 1}


@WARM
@pytest.mark.parametrize(
    ("data", "status"),
    [
        (b"GET / HTTP/1.1\r\nX: " + b"y" * 3000, 431),
        (b"GET /" + b"y" * 3000, 414),
        (b"GET / HTTP/1.1\r\nHost: a\r\n" + b"X: y\r\n" * 300 + b"\r\n", 431),
        (request("GET", "/public/" + "y" * 300), 414),
        (request("GET", "/public/x", "X: " + "y" * 1000), 431),
    ],
    ids=["head without end", "target without end", "fields", "target", "head"],
)
async def test_what_is_too_large_is_refused(
    upstream: StubUpstream, data: bytes, status: int, warm: bool
) -> None:
    config = settings(upstream.url, limits={"head": "1KiB", "target": "256B"})
    async with LocalGateway(config) as gateway, RawClient(gateway.port) as client:
        before = await prepare(client, gateway, warm=warm)
        await client.send(data)
        assert await ended(client, before) == status


# Bodies.


@WARM
@pytest.mark.parametrize("framing", ["Transfer-Encoding: chunked", "Content-Length: 100000"])
async def test_a_body_that_trickles_is_408(
    upstream: StubUpstream, framing: str, warm: bool
) -> None:
    """Each byte comes well within body_idle; all of them together do not reach body_rate."""
    config = settings(upstream.url, limits=QUICK)
    piece = b"1\r\nx\r\n" if "chunked" in framing else b"x"
    async with LocalGateway(config) as gateway, RawClient(gateway.port) as client:
        before = await prepare(client, gateway, warm=warm)
        await client.send(request("POST", "/public/x", framing))
        async with Trickle(client, piece):
            assert await ended(client, before) == 408
        assert causes(gateway) == {"body": 1}
        await gateway.until(lambda: gateway.endpoints[0]["open"] == gateway.endpoints[0]["idle"])


async def test_a_route_may_take_slow_bodies(upstream: StubUpstream) -> None:
    """It goes on for three times as long as the other one has."""
    route = {"path": "/public/**", "upstream": "api", "auth": "public"}
    config = settings(
        upstream.url, limits=QUICK, routes=[{**route, "limits": {"body_rate": "off"}}]
    )
    async with LocalGateway(config) as gateway, RawClient(gateway.port) as client:
        await client.send(request("POST", "/public/x", "Content-Length: 50"))
        for _ in range(50):
            await client.send(b"x")
            await asyncio.sleep(0.02)
        [answer] = await client.read_answers()
        assert answer.status == 200
        assert causes(gateway) == {}


@WARM
@pytest.mark.parametrize("size", ["1KiB", "2KiB"])
async def test_a_body_is_bounded_by_its_route(
    upstream: StubUpstream, size: str, warm: bool
) -> None:
    routes = [
        {"path": "/public/**", "upstream": "api", "auth": "public", "limits": {"body": size}},
        {"path": "/api/**", "upstream": "api"},
    ]
    config = settings(upstream.url, routes=routes, limits={"body": "100B"})
    async with LocalGateway(config) as gateway, RawClient(gateway.port) as client:
        before = await prepare(client, gateway, warm=warm)
        await client.send(request("POST", "/public/x", body=b"x" * 1024))
        [*_, first] = await client.read_answers(before + 1)
        await client.send(request("POST", "/public/x", body=b"x" * 2049))
        assert first.status == 200
        assert await ended(client, before + 1) == 413


FLOODS: Final = {
    "extensions of chunks": b"1;" + b"e" * 500 + b"\r\nx\r\n",
    "one extension": b"e" * 500,
    "trailers": b"X: y\r\n",
    "one trailer": b"y" * 500,
}


@WARM
@pytest.mark.parametrize("kind", FLOODS)
async def test_what_is_around_a_body_is_bounded(
    upstream: StubUpstream, kind: str, warm: bool
) -> None:
    config = settings(upstream.url, limits={"head": "1KiB", "target": "256B"})
    start = {"trailers": b"0\r\n", "one trailer": b"0\r\nX: ", "one extension": b"1;"}.get(
        kind, b""
    )
    async with LocalGateway(config) as gateway, RawClient(gateway.port) as client:
        before = await prepare(client, gateway, warm=warm)
        await client.send(CHUNKED + b"1\r\nx\r\n" + start)
        sent = 0
        while not client.eof:
            await client.send(FLOODS[kind])
            await asyncio.sleep(0)
            sent += len(FLOODS[kind])
            assert sent < 10_000_000
        assert await ended(client, before) in (400, 431)


@WARM
async def test_pipelined_requests_are_read_as_they_are_answered(
    upstream: StubUpstream, warm: bool
) -> None:
    """The first is not answered; behind it the client may send what it likes, and is not read."""
    go = asyncio.Event()

    async def wait(exchange: Exchange) -> None:
        await go.wait()
        await exchange.send(OK)

    upstream.script("/public/x", wait)
    async with (
        LocalGateway(settings(upstream.url)) as gateway,
        RawClient(gateway.port) as client,
    ):
        before = await prepare(client, gateway, warm=warm)
        count = 1000
        data = request("GET", "/public/x") * count
        client.post(data)
        [connection] = gateway.clients
        await gateway.until(lambda: connection._buffer_paused)
        assert len(connection._messages) <= 64
        go.set()
        done = b"HTTP/1.1 200 OK\r\n"
        await client.wait(lambda: client.received.count(done) == before + count, deadline=60)
        assert len(connection._messages) == 0


# Who does not read.


@WARM
async def test_a_client_that_reads_nothing_holds_little_and_is_cut_off(
    upstream: StubUpstream, warm: bool
) -> None:
    async def endless(exchange: Exchange) -> None:
        await exchange.send(b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n" % (1 << 40))
        while True:
            await exchange.send(b"x" * 65536)

    upstream.script("/public/x", endless)
    config = settings(upstream.url, limits={"write_idle": "1s"})
    async with (
        LocalGateway(config) as gateway,
        RawClient(gateway.port) as client,
    ):
        await prepare(client, gateway, warm=warm)
        client.transport.pause_reading()
        await client.send(request("GET", "/public/x"))
        await gateway.until(lambda: any(each.stalled for each in gateway.clients))
        [connection] = gateway.clients
        assert connection.transport is not None
        assert connection.transport.get_write_buffer_size() < 2 << 20
        await gateway.until(lambda: gateway.status["connections"]["client"] == 0)
        await gateway.until(lambda: gateway.endpoints[0]["open"] == gateway.endpoints[0]["idle"])
        assert causes(gateway) == {"answer": 1}


async def test_a_client_that_reads_slowly_gets_all_of_its_answer(upstream: StubUpstream) -> None:
    """It needs several times write_idle for an answer that the endpoint has long given."""
    size = 3 << 20
    upstream.script(
        "/public/x", b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n" % size + b"x" * size
    )
    config = settings(upstream.url, limits={"write_idle": "300ms", "write_rate": "1KiB"})
    async with (
        LocalGateway(config) as gateway,
        RawClient(gateway.port, window=64 * 1024) as client,
    ):
        await client.send(request("GET", "/public/x"))
        for _ in range(40):
            client.transport.resume_reading()
            await asyncio.sleep(0.002)
            client.transport.pause_reading()
            await asyncio.sleep(0.04)
        client.transport.resume_reading()
        [answer] = await client.read_answers(deadline=60)
        assert answer.complete
        assert len(answer.body) == size
        assert causes(gateway) == {}


# Places at the endpoint.


async def test_slow_clients_do_not_keep_all_places_at_the_endpoint(upstream: StubUpstream) -> None:
    """Two places, one slow body and one who does not read: both give way, the slower first."""

    async def endless(exchange: Exchange) -> None:
        await exchange.send(b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n" % (1 << 40))
        while True:
            await exchange.send(b"x" * 65536)

    async def never(_exchange: Exchange) -> None:
        await asyncio.get_running_loop().create_future()

    upstream.script("/public/endless", endless)
    upstream.script("/public/never", never)
    config = settings(upstream.url, upstream={"connections": 2})
    async with (
        LocalGateway(config) as gateway,
        RawClient(gateway.port) as uploads,
        RawClient(gateway.port, window=8192) as reads_not,
        RawClient(gateway.port) as first,
        RawClient(gateway.port) as second,
    ):
        await uploads.send(CHUNKED + b"1\r\nx\r\n")
        await gateway.until(lambda: gateway.endpoints[0]["open"] == 1)
        await reads_not.send(request("GET", "/public/endless"))
        await gateway.until(lambda: any(each.stalled for each in gateway.clients))
        assert (await gateway.ask("GET", "/public/x")).status == 503
        await asyncio.sleep(1.05)  # the grace that everybody has
        await first.send(request("GET", "/public/never"))
        [answer] = await uploads.read_answers()
        assert (answer.status, answer.json()["code"]) == (503, "overloaded")
        await second.send(request("GET", "/public/never"))
        reads_not.read_on()
        await reads_not.wait(lambda: reads_not.eof)
        await upstream.wait(
            lambda: sum(each.target == "/public/never" for each in upstream.requests) == 2
        )
        assert causes(gateway) == {"gave_way": 1}
        assert not first.eof
        assert not second.eof
        assert (await gateway.ask("GET", "/public/x")).status == 503


# Connections.


def crowded(upstream: StubUpstream, **limits: Any) -> dict[str, Any]:
    return settings(upstream.url, health_path="/healthz", limits=limits)


async def test_beyond_the_limit_only_health_checks_are_answered(upstream: StubUpstream) -> None:
    config = crowded(upstream, connections=1)
    async with LocalGateway(config) as gateway, RawClient(gateway.port) as first:
        await first.send(GET)
        await first.read_answers()
        origin = "Origin: https://app.example.com"
        answer = await gateway.ask("GET", "/public/x", origin)
        assert (answer.status, answer.json()["code"]) == (503, "overloaded")
        assert answer.get("Retry-After") == "1"
        assert answer.get("Connection") == "close"
        assert answer.get("Access-Control-Allow-Origin") == "https://app.example.com"
        health = await gateway.ask("GET", "/healthz")
        assert (health.status, health.body) == (200, b"ok\n")
        assert health.get("Connection") == "close"
        line = await gateway.logged(lambda line: line["status"] == 503)
        assert (line["code"], line["reason"]) == ("overloaded", "limits.connections is reached")
        text, _ = gateway.worker.state.metrics_text()
        assert b'gatelodge_connections_refused_total{limit="connections"} 2.0' in text
        await first.send(GET)
        assert len(await first.read_answers(2)) == 2
        assert not first.eof


async def test_a_known_head_is_no_way_around_the_limit(upstream: StubUpstream) -> None:
    config = crowded(upstream, connections=1)
    async with LocalGateway(config) as gateway, RawClient(gateway.port) as first:
        await prepare(first, gateway, warm=True)
        async with RawClient(gateway.port) as second:
            await second.send(GET)
            [answer] = await second.read_answers()
            assert answer.status == 503
    assert len(upstream.requests) == 4


async def test_the_longest_idle_makes_room(upstream: StubUpstream) -> None:
    config = crowded(upstream, connections=2)
    async with (
        LocalGateway(config) as gateway,
        RawClient(gateway.port) as first,
        RawClient(gateway.port) as second,
    ):
        for client in (first, second):
            await client.send(GET)
            await client.read_answers()
        await asyncio.sleep(1.05)  # the grace that everybody has
        assert (await gateway.ask("GET", "/public/x")).status == 200
        await first.read_until_closed()
        assert not second.eof
        assert causes(gateway) == {"crowd": 1}


async def test_one_client_has_so_many_connections(upstream: StubUpstream) -> None:
    config = crowded(upstream, connections_per_client=2)
    async with (
        LocalGateway(config) as gateway,
        RawClient(gateway.port) as first,
        RawClient(gateway.port) as second,
    ):
        for client in (first, second):
            await client.send(GET)
            await client.read_answers()
        answer = await gateway.ask("GET", "/public/x")
        assert (answer.status, answer.json()["code"]) == (429, "rate_limited")
        assert answer.get("Retry-After") == "1"
        async with RawClient(gateway.port, source="127.0.0.2") as other:
            await other.send(request("GET", "/public/x"))
            [answer] = await other.read_answers()
            assert answer.status == 200
        text, _ = gateway.worker.state.metrics_text()
        assert b'gatelodge_connections_refused_total{limit="connections_per_client"} 1.0' in text


async def test_the_connections_of_a_trusted_proxy_are_not_those_of_one_client(
    upstream: StubUpstream,
) -> None:
    config = {**crowded(upstream, connections_per_client=1), "trusted_proxies": ["127.0.0.1"]}
    async with (
        LocalGateway(config) as gateway,
        RawClient(gateway.port) as first,
        RawClient(gateway.port) as second,
    ):
        for client in (first, second):
            await client.send(GET)
            [answer] = await client.read_answers()
            assert answer.status == 200
