"""What the upstream does wrong becomes an error that the page can read, or a reset."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import AsyncIterator
from contextlib import suppress

import pytest
import pytest_asyncio

from tests.support.client import RawClient
from tests.support.scripts import Held, close, reset, silent
from tests.support.upstream import Exchange, Script, StubUpstream
from tests.support.worker import ORIGIN, LocalGateway, request, settings

FROM_APP = f"Origin: {ORIGIN}"
QUICK = {"connect": "300ms", "first_byte": "300ms", "stream_idle": "300ms"}


@pytest_asyncio.fixture
async def hasty(upstream: StubUpstream) -> AsyncIterator[LocalGateway]:
    async with LocalGateway(settings(upstream.url, upstream={"timeouts": QUICK})) as gateway:
        yield gateway


GARBAGE = {
    "words": b"hello there\r\n\r\n",
    "http/0.9": b"<html></html>",
    "http/2": b"HTTP/2 200\r\n\r\n",
    "http/2.0": b"HTTP/2.0 200 OK\r\nContent-Length: 0\r\n\r\n",
    "http/1.2": b"HTTP/1.2 200 OK\r\nContent-Length: 0\r\n\r\n",
    "settings-frame": b"\0\0\x06\x04\0\0\0\0\0\0\x03\0\0\0\x64",
    "tls-alert": b"\x15\x03\x01\x00\x02\x02\x46",
    "rtsp": b"RTSP/1.0 200 OK\r\nContent-Length: 0\r\n\r\n",
    "icy": b"ICY 200 OK\r\n\r\n",
    "bare-lf": b"HTTP/1.1 200 X\nContent-Length: 0\n\n",
    "folded": b"HTTP/1.1 200 X\r\nA: b\r\n c\r\nContent-Length: 0\r\n\r\n",
    "space-before-colon": b"HTTP/1.1 200 X\r\nContent-Length : 0\r\n\r\n",
    "status-0": b"HTTP/1.1 000 X\r\nContent-Length: 0\r\n\r\n",
    "status-99": b"HTTP/1.1 099 X\r\nContent-Length: 0\r\n\r\n",
    "status-600": b"HTTP/1.1 600 X\r\nContent-Length: 0\r\n\r\n",
    "status-word": b"HTTP/1.1 OK\r\n\r\n",
    "unasked-101": b"HTTP/1.1 101 X\r\nUpgrade: websocket\r\nConnection: upgrade\r\n\r\n",
    "two-lengths": b"HTTP/1.1 200 X\r\nContent-Length: 1\r\nContent-Length: 2\r\n\r\nab",
    "same-lengths": b"HTTP/1.1 200 X\r\nContent-Length: 1\r\nContent-Length: 1\r\n\r\na",
    "length-list": b"HTTP/1.1 200 X\r\nContent-Length: 1, 1\r\n\r\na",
    "length-sign": b"HTTP/1.1 200 X\r\nContent-Length: +1\r\n\r\na",
    "length-and-chunks": (
        b"HTTP/1.1 200 X\r\nContent-Length: 5\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n"
    ),
    "gzip-coding": b"HTTP/1.1 200 X\r\nTransfer-Encoding: gzip\r\n\r\nabc",
    "gzip-chunked": b"HTTP/1.1 200 X\r\nTransfer-Encoding: gzip, chunked\r\n\r\n0\r\n\r\n",
    "chunked-twice": b"HTTP/1.1 200 X\r\nTransfer-Encoding: chunked, chunked\r\n\r\n0\r\n\r\n",
    "chunked-then-more": b"HTTP/1.1 200 X\r\nTransfer-Encoding: chunked, identity\r\n\r\n0\r\n\r\n",
    "field-name": b"HTTP/1.1 200 X\r\nA b: c\r\nContent-Length: 0\r\n\r\n",
    "field-without-colon": b"HTTP/1.1 200 X\r\nabc\r\nContent-Length: 0\r\n\r\n",
    "nul": b"HTTP/1.1 200 X\r\nA: b\0c\r\nContent-Length: 0\r\n\r\n",
    "bare-cr": b"HTTP/1.1 200 X\r\nA: b\rc\r\nContent-Length: 0\r\n\r\n",
    "endless-head": b"HTTP/1.1 200 X\r\n" + b"A: b\r\n" * 20_000,
    "large-head": b"HTTP/1.1 200 X\r\nA: %b\r\nContent-Length: 0\r\n\r\n" % (b"x" * 70_000),
    "hints-without-end": b"HTTP/1.1 103 X\r\nLink: </%b>\r\n\r\n" % (b"a" * 1000) * 80,
}


@pytest.mark.parametrize("answer", GARBAGE.values(), ids=GARBAGE)
async def test_answer_that_is_not_http_is_502(
    gateway: LocalGateway, upstream: StubUpstream, answer: bytes
) -> None:
    async def script(exchange: Exchange) -> None:
        await exchange.send(answer)
        while await exchange.read():
            pass

    upstream.script("/public/x", script)
    problem = await gateway.ask("GET", "/public/x", FROM_APP)
    assert (problem.status, problem.json()["code"]) == (502, "upstream_protocol")
    assert problem.get("Access-Control-Allow-Origin") == ORIGIN
    assert problem.values("Connection") == []
    await gateway.until(lambda: gateway.endpoints[0]["open"] == 0)
    assert (await gateway.ask("GET", "/public/y")).status == 200


@pytest.mark.parametrize("script", [close, reset], ids=["closed", "reset"])
async def test_connection_that_ends_without_an_answer_is_502(
    gateway: LocalGateway, upstream: StubUpstream, script: Script
) -> None:
    upstream.script("/public/x", script)
    problem = await gateway.ask("POST", "/public/x", FROM_APP, body=b"x")
    assert (problem.status, problem.json()["code"]) == (502, "upstream_protocol")
    assert problem.get("Access-Control-Allow-Origin") == ORIGIN


async def test_answer_that_does_not_come_is_504(
    hasty: LocalGateway, upstream: StubUpstream
) -> None:
    upstream.script("/public/x", silent)
    problem = await hasty.ask("GET", "/public/x", FROM_APP)
    assert (problem.status, problem.json()["code"]) == (504, "upstream_timeout")
    assert problem.get("Access-Control-Allow-Origin") == ORIGIN
    assert problem.values("Connection") == []
    await upstream.wait(lambda: upstream.connections[0].ended.is_set())
    assert hasty.endpoints[0]["open"] == 0
    assert len(upstream.requests) == 1  # a timeout is not tried again


@pytest.mark.parametrize("start", [b"HTTP/1.1 200 OK\r\nA: b\r\n", b"HTTP/1.1 103 X\r\n\r\n"])
async def test_head_that_does_not_end_is_504(
    hasty: LocalGateway, upstream: StubUpstream, start: bytes
) -> None:
    async def half(exchange: Exchange) -> None:
        await exchange.send(start)
        await silent(exchange)

    upstream.script("/public/x", half)
    problem = await hasty.ask("GET", "/public/x", FROM_APP)
    assert (problem.status, problem.json()["code"]) == (504, "upstream_timeout")
    await upstream.wait(lambda: upstream.connections[0].ended.is_set())


async def test_upload_that_is_not_taken_is_504(upstream: StubUpstream) -> None:
    held = asyncio.Event()

    async def deaf(_: Exchange) -> None:
        await held.wait()

    upstream.script("/public/x", deaf)
    config = settings(upstream.url, upstream={"timeouts": QUICK}, limits={"body": "off"})
    async with LocalGateway(config) as gateway, RawClient(gateway.port) as client:
        await client.send(request("POST", "/public/x", FROM_APP, f"Content-Length: {1 << 40}"))
        while not client.size:
            with suppress(TimeoutError):
                await client.send(b"x" * 65536, deadline=0.1)
        [problem] = await client.read_answers()
        assert gateway.endpoints[0]["open"] == 0
    held.set()
    assert (problem.status, problem.json()["code"]) == (504, "upstream_timeout")
    assert problem.get("Access-Control-Allow-Origin") == ORIGIN
    assert problem.get("Connection") == "close"


@pytest.mark.parametrize(
    "start",
    [
        pytest.param(b"HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\nhello", id="length"),
        pytest.param(
            b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n", id="chunks"
        ),
        pytest.param(
            b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhel", id="in-chunk"
        ),
        pytest.param(
            b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n0\r\n", id="no-end"
        ),
    ],
)
@pytest.mark.parametrize("version", ["1.1", "1.0"])
async def test_cut_answer_resets_the_client(
    gateway: LocalGateway, upstream: StubUpstream, start: bytes, version: str
) -> None:
    """Also one of HTTP/1.0, whose body ends with the connection: a FIN would make it whole."""
    seen = asyncio.Event()

    async def cut(exchange: Exchange) -> None:
        await exchange.send(start)
        await seen.wait()
        exchange.close()

    upstream.script("/public/x", cut)
    async with RawClient(gateway.port) as client:
        await client.send(f"GET /public/x HTTP/{version}\r\nHost: a\r\n\r\n".encode())
        await client.wait(lambda: b"\r\n\r\n" in client.received)
        seen.set()
        await client.read_until_closed()
    assert client.reset
    assert client.received.count(b"HTTP/1.1 ") == 1
    line = await gateway.logged()
    assert (line["status"], line["code"]) == (200, "upstream_protocol")


async def test_answer_that_stands_still_resets_the_client(
    hasty: LocalGateway, upstream: StubUpstream
) -> None:
    async def half(exchange: Exchange) -> None:
        await exchange.send(b"HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\nhello")
        await silent(exchange)

    upstream.script("/public/x", half)
    async with RawClient(hasty.port) as client:
        await client.send(request("GET", "/public/x"))
        await client.read_until_closed()
    assert client.reset
    line = await hasty.logged()
    assert (line["status"], line["code"]) == (200, "upstream_timeout")


async def test_body_until_the_end_of_the_connection_is_whole_at_a_fin(
    gateway: LocalGateway, upstream: StubUpstream
) -> None:
    async def old(exchange: Exchange) -> None:
        await exchange.send(b"HTTP/1.0 200 OK\r\n\r\nhello")
        exchange.close()

    upstream.script("/public/x", old)
    answer = await gateway.ask("GET", "/public/x")
    assert (answer.body, answer.complete) == (b"hello", True)


async def test_body_until_the_end_of_the_connection_is_cut_at_a_reset(
    gateway: LocalGateway, upstream: StubUpstream
) -> None:
    seen = asyncio.Event()

    async def old(exchange: Exchange) -> None:
        await exchange.send(b"HTTP/1.0 200 OK\r\n\r\nhello")
        await seen.wait()
        exchange.abort()

    upstream.script("/public/x", old)
    async with RawClient(gateway.port) as client:
        await client.send(request("GET", "/public/x"))
        await client.wait(lambda: b"hello" in client.received)
        seen.set()
        await client.read_until_closed()
    assert client.reset
    assert b"\r\n0\r\n\r\n" not in client.received


async def test_connection_that_does_not_come_about_in_time_is_504() -> None:
    """A full backlog: the kernel answers no further SYN."""
    with socket.socket() as deaf:
        deaf.bind(("127.0.0.1", 0))
        deaf.listen(0)
        address = deaf.getsockname()
        fill = [socket.socket() for _ in range(4)]
        for each in fill:
            each.setblocking(False)
            each.connect_ex(address)
        config = settings(f"http://127.0.0.1:{address[1]}", upstream={"timeouts": QUICK})
        async with LocalGateway(config) as gateway:
            problem = await gateway.ask("GET", "/public/x", FROM_APP)
            line = await gateway.logged()
            assert gateway.endpoints[0]["open"] == 0
        for each in fill:
            each.close()
    assert (problem.status, problem.json()["code"]) == (504, "upstream_timeout")
    assert problem.get("Access-Control-Allow-Origin") == ORIGIN
    assert line["attempts"] == 2


async def test_connections_to_an_endpoint_are_limited(upstream: StubUpstream) -> None:
    held = Held()
    upstream.script("/public/x", held)
    async with LocalGateway(
        settings(upstream.url, upstream={"connections": 2, "pending": 0})
    ) as gateway:
        tasks = [asyncio.create_task(gateway.ask("GET", "/public/x")) for _ in range(2)]
        await upstream.wait(lambda: len(upstream.requests) == 2)
        problem = await gateway.ask("GET", "/public/x", FROM_APP)
        held.go.set()
        assert [each.status for each in await asyncio.gather(*tasks)] == [200, 200]
        assert (await gateway.ask("GET", "/public/x")).status == 200
    assert (problem.status, problem.json()["code"]) == (503, "overloaded")
    assert problem.get("Retry-After") == "1"
    assert problem.get("Access-Control-Allow-Origin") == ORIGIN


async def test_unix_socket_that_is_not_there_is_502() -> None:
    async with LocalGateway(settings("unix:/nowhere/there.sock")) as gateway:
        problem = await gateway.ask("GET", "/public/x", FROM_APP)
    assert (problem.status, problem.json()["code"]) == (502, "upstream_unreachable")


async def test_name_that_does_not_resolve_is_502() -> None:
    async with LocalGateway(settings("http://nowhere.invalid:80")) as gateway:
        problem = await gateway.ask("GET", "/public/x", FROM_APP)
    assert (problem.status, problem.json()["code"]) == (502, "upstream_unreachable")


async def test_connection_of_the_client_survives_failures(
    gateway: LocalGateway, upstream: StubUpstream
) -> None:
    upstream.script("/public/x", GARBAGE["words"])
    async with RawClient(gateway.port) as client:
        for number in range(1, 4):
            await client.send(request("GET", "/public/x") + request("GET", "/public/y"))
            answers = await client.read_answers(2 * number)
            assert [each.status for each in answers] == [502, 200] * number
