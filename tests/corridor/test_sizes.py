"""Bodies of sizes at which some buffer is just full: up, down, and both at once."""

from __future__ import annotations

import hashlib
from collections.abc import AsyncIterator
from functools import partial

import pytest
import pytest_asyncio

from tests.support.client import RawClient
from tests.support.upstream import Exchange, StubUpstream
from tests.support.worker import LocalGateway, request, settings

BOTH_LOOPS = True

KIB = 1024
SIZES = [size * KIB + off for size in (4, 16, 64, 128, 256, 512, 1024, 2048) for off in (-1, 0, 1)]
"""The parser's, the transports' and our own buffers are of these sizes."""


def content(size: int) -> bytes:
    return (hashlib.sha256(b"%d" % size).digest() * (size // 32 + 1))[:size]


def in_chunks(body: bytes) -> bytes:
    """Return the body in chunks of 30 000 bytes: borders that meet no buffer's."""
    pieces = [body[start : start + 30_000] for start in range(0, len(body), 30_000)]
    return b"".join(b"%x\r\n%b\r\n" % (len(piece), piece) for piece in pieces) + b"0\r\n\r\n"


@pytest_asyncio.fixture
async def gateway(upstream: StubUpstream) -> AsyncIterator[LocalGateway]:
    config = settings(upstream.url, limits={"body": "off"}, upstream={"pool_idle": "1m"})
    async with LocalGateway(config) as gateway:
        yield gateway


@pytest.mark.parametrize("chunked", [False, True], ids=["length", "chunked"])
async def test_bodies_of_any_size_pass_one_after_the_other(
    gateway: LocalGateway, upstream: StubUpstream, chunked: bool
) -> None:
    """What is left over by one exchange is found by the next: all use the same two connections."""

    async def mirror(exchange: Exchange) -> None:
        body = await exchange.read_body()
        if chunked:
            head = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n"
            await exchange.send(head + in_chunks(body))
        else:
            head = b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n" % len(body)
            await exchange.send(head + body)

    upstream.script("/public/x", mirror)
    async with RawClient(gateway.port) as client:
        for size in SIZES:
            body, before = content(size), client.size
            if chunked:
                head = request("POST", "/public/x", "Transfer-Encoding: chunked")
                await client.send(head + in_chunks(body))
            else:
                await client.send(request("POST", "/public/x", body=body))
            end = b"\r\n0\r\n\r\n" if chunked else body[-20:]
            await client.wait(partial(has, client, before + size, end))
            answer = client.answer_from(before)
            assert answer.body == body, size
    assert len(upstream.connections) == 1


def has(client: RawClient, size: int, end: bytes) -> bool:
    return client.size > size and client.received.endswith(end)


async def test_bodies_pass_both_ways_at_once(gateway: LocalGateway, upstream: StubUpstream) -> None:
    async def echo(exchange: Exchange) -> None:
        await exchange.send(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n")
        async for piece in exchange.pieces():
            await exchange.send(b"%x\r\n%b\r\n" % (len(piece), piece))
        await exchange.send(b"0\r\n\r\n")

    upstream.script("/public/x", echo)
    for size in (1, 64 * KIB, 3000 * KIB):
        body = content(size)
        async with RawClient(gateway.port) as client:
            head = request("POST", "/public/x", f"Content-Length: {size}", "Connection: close")
            await client.send(head + body, deadline=60)
            await client.read_until_closed(deadline=60)
            [answer] = client.answers().all
            assert answer.complete
            assert answer.body == body
