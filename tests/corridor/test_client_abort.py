"""When the client leaves, its request ends, at the endpoint too, and nobody calls it an error."""

from __future__ import annotations

import asyncio
import gc
from contextlib import suppress

import pytest

from tests.support.client import RawClient
from tests.support.scripts import silent
from tests.support.upstream import Exchange, StubUpstream
from tests.support.worker import LocalGateway, request, settings

BOTH_LOOPS = True


async def leave(client: RawClient, how: str) -> None:
    """End the connection in an orderly way, or by a reset."""
    if how == "fin":
        client.transport.close()
    elif how == "half":
        client.half_close()
    else:
        client.reset_connection()


WAYS = pytest.mark.parametrize("how", ["fin", "rst", "half"])


async def gone(gateway: LocalGateway, upstream: StubUpstream) -> None:
    """Wait until nothing is left of the request, on either side."""
    line = await gateway.logged()
    assert (line["status"], line["code"]) == (499, "client_gone")
    await upstream.wait(lambda: upstream.connections[0].ended.is_set())
    await gateway.until(lambda: gateway.status["connections"] == {"client": 0, "upstream": 0})
    assert gateway.status["requests_in_flight"] == 0


@WAYS
async def test_client_leaves_while_it_waits(
    gateway: LocalGateway, upstream: StubUpstream, how: str
) -> None:
    upstream.script("/public/x", silent)
    async with RawClient(gateway.port) as client:
        await client.send(request("GET", "/public/x"))
        await upstream.wait(lambda: bool(upstream.requests))
        await leave(client, how)
        await gone(gateway, upstream)


@WAYS
async def test_client_leaves_while_it_sends(
    gateway: LocalGateway, upstream: StubUpstream, how: str
) -> None:
    async with RawClient(gateway.port) as client:
        body = b"x" * 20_000
        await client.send(request("POST", "/public/x", "Content-Length: 30000") + body)
        await upstream.wait(lambda: bool(upstream.requests))
        await leave(client, how)
        await gone(gateway, upstream)
    assert not upstream.requests[0].complete


@WAYS
async def test_client_leaves_at_the_beginning_of_its_body(
    gateway: LocalGateway, upstream: StubUpstream, how: str
) -> None:
    async with RawClient(gateway.port) as client:
        await client.send(request("POST", "/public/x", "Content-Length: 100") + b"hello")
        await gateway.until(lambda: any(each.busy for each in gateway.clients))
        await leave(client, how)
        await gateway.until(lambda: not gateway.clients)
    assert upstream.connections == []
    assert (await gateway.logged())["code"] == "client_gone"


async def test_client_leaves_in_a_chunk_and_the_upstream_sees_no_end(
    gateway: LocalGateway, upstream: StubUpstream
) -> None:
    async with RawClient(gateway.port) as client:
        await client.send(request("POST", "/public/x", "Transfer-Encoding: chunked") + b"5\r\nhe")
        await upstream.wait(lambda: bool(upstream.requests))
        await leave(client, "fin")
        await gone(gateway, upstream)
    assert not upstream.requests[0].complete
    assert b"\r\n0\r\n" not in upstream.received


@WAYS
async def test_client_leaves_while_it_receives(
    gateway: LocalGateway, upstream: StubUpstream, how: str
) -> None:
    async def endless(exchange: Exchange) -> None:
        await exchange.send(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n")
        while True:
            await exchange.send(b"5\r\nhello\r\n")
            await asyncio.sleep(0)

    upstream.script("/public/x", endless)
    async with RawClient(gateway.port) as client:
        await client.send(request("GET", "/public/x"))
        await client.wait(lambda: client.size > 1000)
        await leave(client, how)
        await gone(gateway, upstream)


@pytest.mark.parametrize("how", ["fin", "rst"])
async def test_client_leaves_while_it_is_behind(
    gateway: LocalGateway, upstream: StubUpstream, how: str
) -> None:
    async def endless(exchange: Exchange) -> None:
        await exchange.send(b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n" % (1 << 40))
        while True:
            await exchange.send(b"x" * 65536)

    upstream.script("/public/x", endless)
    async with RawClient(gateway.port, window=4096) as client:
        await client.send(request("GET", "/public/x"))
        await gateway.until(lambda: any(c.stalled for c in gateway.clients))
        await leave(client, how)
        await gone(gateway, upstream)


async def test_client_that_left_while_the_endpoint_was_behind_is_found_out(
    upstream: StubUpstream,
) -> None:
    """Who is made to wait is not read from, so that only a deadline tells."""
    stop = asyncio.Event()

    async def deaf(exchange: Exchange) -> None:
        await stop.wait()
        await silent(exchange)

    upstream.script("/public/x", deaf)
    config = settings(
        upstream.url, limits={"body": "off"}, upstream={"timeouts": {"stream_idle": "1s"}}
    )
    async with LocalGateway(config) as gateway, RawClient(gateway.port) as client:
        await client.send(request("POST", "/public/x", f"Content-Length: {1 << 40}"))
        with suppress(TimeoutError):
            while True:
                await client.send(b"x" * 65536, deadline=0.3)
        await leave(client, "rst")
        assert (await gateway.logged())["code"] in ("client_gone", "upstream_timeout")
        await gateway.until(lambda: gateway.status["connections"] == {"client": 0, "upstream": 0})
        stop.set()


async def test_client_leaves_after_a_pipelined_request(
    gateway: LocalGateway, upstream: StubUpstream
) -> None:
    """What is queued behind the abandoned request is never begun."""
    upstream.script("/public/x", silent)
    async with RawClient(gateway.port) as client:
        await client.send(request("GET", "/public/x") + request("POST", "/public/y", body=b"z"))
        await upstream.wait(lambda: bool(upstream.requests))
        await leave(client, "rst")
        await gone(gateway, upstream)
    assert [each.target for each in upstream.requests] == ["/public/x"]


async def test_connection_whose_answer_was_abandoned_is_not_used_again(
    gateway: LocalGateway, upstream: StubUpstream
) -> None:
    async def half(exchange: Exchange) -> None:
        await exchange.send(b"HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\nhello")
        await silent(exchange)

    upstream.script("/public/x", half)
    async with RawClient(gateway.port) as client:
        await client.send(request("GET", "/public/x"))
        await client.wait(lambda: b"hello" in client.received)
        await leave(client, "fin")
        await gone(gateway, upstream)
    assert (await gateway.ask("GET", "/public/y")).json()["target"] == "/public/y"
    assert len(upstream.connections) == 2


@pytest.mark.parametrize("how", ["fin", "rst"])
async def test_leaving_at_any_moment_is_nobodys_fault(
    gateway: LocalGateway, upstream: StubUpstream, how: str
) -> None:
    """Up and down at once, and the client goes at ever other moments."""

    async def echo(exchange: Exchange) -> None:
        await exchange.send(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n")
        async for piece in exchange.pieces():
            await exchange.send(b"%x\r\n%b\r\n" % (len(piece), piece))

    upstream.script("/public/x", echo)
    for moment in range(60):
        async with RawClient(gateway.port) as client:
            await client.send(request("POST", "/public/x", "Transfer-Encoding: chunked"))
            for _ in range(moment % 6):
                client.post(b"1000\r\n" + b"x" * 4096 + b"\r\n")
                await asyncio.sleep(0)
            for _ in range(moment // 6):
                await asyncio.sleep(0)
            await leave(client, how)
    await gateway.until(lambda: gateway.status["connections"] == {"client": 0, "upstream": 0})
    await gateway.until(lambda: gateway.status["requests_in_flight"] == 0)
    gc.collect()  # a task whose exception nobody has looked at says so when it goes


async def test_endpoint_and_client_leave_at_once(
    gateway: LocalGateway, upstream: StubUpstream
) -> None:
    async def endless(exchange: Exchange) -> None:
        await exchange.send(b"HTTP/1.1 200 OK\r\nContent-Length: 1000000\r\n\r\n")
        for _ in range(exchange.request.size % 7 + 3):
            await exchange.send(b"x" * 10_000)
        exchange.abort()

    upstream.script("/public/x", endless)
    for moment in range(40):
        async with RawClient(gateway.port) as client:
            await client.send(request("POST", "/public/x", body=b"x" * moment))
            await client.wait(lambda: client.size > 0 or client.eof)
            for _ in range(moment % 8):
                await asyncio.sleep(0)
            await leave(client, "rst")
    await gateway.until(lambda: gateway.status["connections"] == {"client": 0, "upstream": 0})
    gc.collect()
