"""Bodies pass piece by piece, both ways, and nothing is ever held whole."""

from __future__ import annotations

import asyncio
import hashlib
from collections.abc import AsyncIterator, Callable
from contextlib import suppress
from functools import partial
from pathlib import Path

import pytest
import yaml

from tests.support.client import RawClient
from tests.support.gateway import GatewayProcess
from tests.support.scripts import silent
from tests.support.upstream import Exchange, StubUpstream
from tests.support.worker import LocalGateway, request, settings, signed_in

MIB = 1 << 20
HELD = 32 * MIB
"""More than may be on the way, and half of what is sent: the kernel's buffers (up to 4 MiB each,
some grow further), the stub's and ours."""


async def stalled(gateway: LocalGateway, count: Callable[[], int]) -> int:
    """Wait until `count()` moves no more, and return it."""
    seen, rounds = -1, 0

    def still() -> bool:
        nonlocal seen, rounds
        seen, rounds = count(), rounds + 1 if count() == seen else 0
        return rounds > 30

    await gateway.until(still, deadline=30.0)
    return seen


@pytest.mark.parametrize(
    ("head", "chunked"),
    [
        pytest.param(b"Transfer-Encoding: chunked\r\n", True, id="chunked"),
        pytest.param(b"Content-Length: 15\r\n", False, id="length"),
        pytest.param(b"", False, id="until-close"),
    ],
)
async def test_event_arrives_before_the_next_is_sent(
    gateway: LocalGateway, upstream: StubUpstream, head: bytes, chunked: bool
) -> None:
    taken = asyncio.Event()

    async def events(exchange: Exchange) -> None:
        await exchange.send(
            b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\n" + head + b"\r\n"
        )
        for event in (b"one\n\n", b"two\n\n", b"six\n\n"):
            data = b"%x\r\n%b\r\n" % (len(event), event) if chunked else event
            taken.clear()
            await exchange.send(data)
            async with asyncio.timeout(10):
                await taken.wait()
        if chunked:
            await exchange.send(b"0\r\n\r\n")
        exchange.close()

    def arrived(event: bytes) -> bool:
        return event in client.received

    upstream.script("/api/events", events)
    async with RawClient(gateway.port) as client:
        await client.send(request("GET", "/api/events", signed_in()))
        await client.wait(lambda: b"\r\n\r\n" in client.received)
        for event in (b"one\n\n", b"two\n\n", b"six\n\n"):
            await client.wait(partial(arrived, event))
            taken.set()
        [answer] = await client.read_answers()
    assert answer.body == b"one\n\ntwo\n\nsix\n\n"
    assert answer.complete


async def test_head_arrives_before_the_body(gateway: LocalGateway, upstream: StubUpstream) -> None:
    seen = asyncio.Event()

    async def late(exchange: Exchange) -> None:
        await exchange.send(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\n")
        async with asyncio.timeout(10):
            await seen.wait()
        await exchange.send(b"hi")

    upstream.script("/public/x", late)
    async with RawClient(gateway.port) as client:
        await client.send(request("GET", "/public/x"))
        await client.wait(lambda: b"\r\n\r\n" in client.received)
        seen.set()
        [answer] = await client.read_answers()
    assert answer.body == b"hi"


async def test_piece_of_a_request_arrives_before_the_next_is_sent(
    gateway: LocalGateway, upstream: StubUpstream
) -> None:
    def arrived(size: int) -> bool:
        return [each.size for each in upstream.requests] == [size]

    async with RawClient(gateway.port) as client:
        await client.send(request("POST", "/public/x", "Transfer-Encoding: chunked"))
        for size, word in ((3, "one"), (6, "two"), (9, "six")):
            await client.send(f"3\r\n{word}\r\n".encode())
            await gateway.until(partial(arrived, size))
        await client.send(b"0\r\n\r\n")
        [answer] = await client.read_answers()
    assert answer.json()["body"] == "onetwosix"


@pytest.mark.parametrize("coding", [b"Transfer-Encoding: chunked\r\n", b""])
async def test_client_of_http_1_0_gets_a_body_that_ends_with_the_connection(
    gateway: LocalGateway, upstream: StubUpstream, coding: bytes
) -> None:
    async def answer(exchange: Exchange) -> None:
        body = b"5\r\nhello\r\n0\r\n\r\n" if coding else b"hello"
        await exchange.send(
            b"HTTP/1.1 103 Early Hints\r\nLink: </a>\r\n\r\nHTTP/1.1 200 OK\r\n"
            + coding
            + b"\r\n"
            + body
        )
        if not coding:
            exchange.close()

    upstream.script("/public/x", answer)
    async with RawClient(gateway.port) as client:
        await client.send(b"GET /public/x HTTP/1.0\r\nHost: a\r\nConnection: keep-alive\r\n\r\n")
        data = await client.read_until_closed()
    head, _, body = data.partition(b"\r\n\r\n")
    assert head.startswith(b"HTTP/1.1 200 ")
    assert b"Connection: close" in head
    assert b"Transfer-Encoding" not in head
    assert body == b"hello"
    assert not client.reset


async def test_early_hints_are_relayed_and_other_interim_answers_are_not(
    gateway: LocalGateway, upstream: StubUpstream
) -> None:
    seen = asyncio.Event()

    async def answer(exchange: Exchange) -> None:
        await exchange.send(
            b"HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 102 Processing\r\n\r\n"
            b"HTTP/1.1 103 Early Hints\r\nLink: </a>; rel=preload\r\nX-User-Id: 1\r\n\r\n"
        )
        async with asyncio.timeout(10):
            await seen.wait()
        await exchange.send(b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n")

    upstream.script("/public/x", answer)
    async with RawClient(gateway.port) as client:
        await client.send(request("GET", "/public/x"))
        await client.wait(lambda: bool(client.answers().all))
        seen.set()
        await client.read_answers()
        hints, final = client.answers().all
    assert (hints.status, hints.headers) == (103, [(b"Link", b"</a>; rel=preload")])
    assert final.status == 200


async def test_trailers_are_dropped(gateway: LocalGateway, upstream: StubUpstream) -> None:
    upstream.script(
        "/public/x",
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\nTrailer: X-User-Id\r\n\r\n"
        b"2;ext=1\r\nhi\r\n0\r\nX-User-Id: root\r\nX-Other: root\r\n\r\n",
    )
    sent = b"2;a=b\r\nhi\r\n0\r\nX-User-Id: root\r\n\r\n"
    async with RawClient(gateway.port) as client:
        await client.send(request("POST", "/public/x", "Transfer-Encoding: chunked") + sent)
        await client.read_answers(1)
        await client.send(request("GET", "/public/y"))
        first, second = await client.read_answers(2)
    assert (first.body, second.status) == (b"hi", 200)
    assert b"root" not in client.received
    assert b"root" not in upstream.received
    assert len(upstream.connections) == 1


async def test_slow_reader_holds_the_upstream_back(
    gateway: LocalGateway, upstream: StubUpstream
) -> None:
    size = 2 * HELD
    sent = 0
    digest = hashlib.sha256()

    async def large(exchange: Exchange) -> None:
        nonlocal sent
        await exchange.send(b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n" % size)
        for number in range(size // (64 * 1024)):
            piece = bytes([number % 251]) * (64 * 1024)
            digest.update(piece)
            await exchange.send(piece)
            sent += len(piece)

    upstream.script("/public/x", large)
    async with RawClient(gateway.port, window=8 * 1024) as client:
        await client.send(request("GET", "/public/x"))
        held = await stalled(gateway, lambda: sent)
        assert 0 < held < HELD
        client.read_on()
        await client.wait(lambda: client.size >= size, deadline=60)
        [answer] = await client.read_answers()
    assert hashlib.sha256(answer.body).digest() == digest.digest()


@pytest.mark.parametrize("framing", ["length", "chunked"])
async def test_slow_upstream_holds_the_client_back(upstream: StubUpstream, framing: str) -> None:
    size, piece = 2 * HELD, b"x" * (64 * 1024)
    go = asyncio.Event()

    async def slow(exchange: Exchange) -> None:
        await go.wait()
        await exchange.read_body()
        await exchange.send(b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n")

    upstream.script("/public/x", slow)
    chunked = framing == "chunked"
    line = "Transfer-Encoding: chunked" if chunked else f"Content-Length: {size}"
    frame = b"%x\r\n%b\r\n" % (len(piece), piece) if chunked else piece
    config = settings(upstream.url, limits={"body": "off"})
    async with LocalGateway(config) as gateway, RawClient(gateway.port) as client:
        await client.send(request("POST", "/public/x", line))
        sent = 0

        async def upload() -> None:
            nonlocal sent
            for _ in range(size // len(piece)):
                await client.send(frame, deadline=60)
                sent += len(piece)
            await client.send(b"0\r\n\r\n" if chunked else b"")

        task = asyncio.create_task(upload())
        held = await stalled(gateway, lambda: sent)
        assert 0 < held < HELD
        go.set()
        await task
        [answer] = await client.read_answers(deadline=60)
    assert answer.status == 200
    assert upstream.requests[0].size == size
    assert upstream.requests[0].digest == hashlib.sha256(b"x" * size).hexdigest()


@pytest.mark.parametrize("path", ["/public/x", "/api/x", "/healthz"])
async def test_client_that_reads_nothing_is_not_answered_without_end(
    upstream: StubUpstream, path: str
) -> None:
    """Each answer fits into one write, and behind it waits the next request."""
    size = 100 * 1024
    upstream.script(
        "/public/x", b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n" % size + b"x" * size
    )
    config = settings(upstream.url, health_path="/healthz")
    async with (
        LocalGateway(config) as gateway,
        RawClient(gateway.port, window=4096) as client,
    ):
        with suppress(TimeoutError):
            for _ in range(400 if path == "/public/x" else 2000):
                await client.send(request("GET", path, "X-Pad: " + "x" * 2000) * 10, deadline=1)
        await stalled(gateway, lambda: len(upstream.requests))
        held = [
            each.transport.get_write_buffer_size() for each in gateway.clients if each.transport
        ]
        assert len(held) == 1
        assert held[0] < 2 * MIB


async def test_long_stall_of_the_client_is_no_timeout_of_the_upstream(
    upstream: StubUpstream,
) -> None:
    """`first_byte` ends with the first byte; how fast the client reads is `stream_idle`'s business.

    That more than `first_byte` has passed, a request that nobody answers tells.
    """
    size = 8 * MIB

    async def large(exchange: Exchange) -> None:
        await exchange.send(b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n" % size + b"x" * size)

    upstream.script("/public/large", large)
    upstream.script("/public/silent", silent)
    config = settings(
        upstream.url, upstream={"timeouts": {"first_byte": "200ms", "stream_idle": "1m"}}
    )
    async with (
        LocalGateway(config) as gateway,
        RawClient(gateway.port, window=8 * 1024) as client,
    ):
        await client.send(request("GET", "/public/large"))
        await upstream.wait(lambda: bool(upstream.requests))
        assert (await gateway.ask("GET", "/public/silent")).status == 504
        client.read_on()
        await client.wait(lambda: client.size >= size, deadline=60)
        [answer] = await client.read_answers()
    assert answer.complete
    assert len(answer.body) == size


async def test_upload_that_ends_behind_the_answers_head_begins_no_deadline(
    upstream: StubUpstream,
) -> None:
    """The first byte has come; how long the client takes to read the others is its own business."""

    async def both_ways(exchange: Exchange) -> None:
        await exchange.send(b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n" % HELD)
        await asyncio.gather(exchange.send(b"x" * HELD), exchange.read_body())

    upstream.script("/public/x", both_ways)
    upstream.script("/public/silent", silent)
    config = settings(
        upstream.url, upstream={"timeouts": {"first_byte": "200ms", "stream_idle": "1m"}}
    )
    async with (
        LocalGateway(config) as gateway,
        RawClient(gateway.port, window=8 * 1024) as client,
    ):
        await client.send(
            request("POST", "/public/x", "Transfer-Encoding: chunked") + b"1\r\na\r\n"
        )
        await gateway.until(lambda: any(each.stalled for each in gateway.clients))
        await client.send(b"0\r\n\r\n")
        await upstream.wait(lambda: upstream.requests[0].complete)
        assert (await gateway.ask("GET", "/public/silent")).status == 504
        client.read_on()
        await client.wait(lambda: client.size > HELD or client.eof, deadline=60)
        assert client.size > HELD


async def test_client_that_takes_nothing_is_cut_off(
    upstream: StubUpstream,
) -> None:
    async def endless(exchange: Exchange) -> None:
        await exchange.send(b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n" % (1 << 40))
        while True:
            await exchange.send(b"x" * 65536)

    upstream.script("/public/x", endless)
    config = settings(upstream.url, upstream={"timeouts": {"stream_idle": "300ms"}})
    async with (
        LocalGateway(config) as gateway,
        RawClient(gateway.port, window=8 * 1024) as client,
    ):
        await client.send(request("GET", "/public/x"))
        line = await gateway.logged()
        assert line["code"] == "client_gone"
        await upstream.wait(lambda: upstream.connections[0].ended.is_set())
        await gateway.until(lambda: gateway.status["connections"] == {"client": 0, "upstream": 0})
        client.read_on()
        await client.read_until_closed()
    assert client.reset


@pytest.mark.parametrize("closing", [True, False], ids=["close", "keep-alive"])
async def test_client_that_never_takes_the_end_is_cut_off(
    upstream: StubUpstream, closing: bool
) -> None:
    """The upstream is done, everything is written: what waits in our buffer has a deadline too."""
    size = 300 * 1024
    upstream.script(
        "/public/x", b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n" % size + b"x" * size
    )
    config = settings(
        upstream.url,
        limits={"idle": "300ms"},
        upstream={"timeouts": {"stream_idle": "300ms"}},
    )
    async with (
        LocalGateway(config) as gateway,
        RawClient(gateway.port, window=4 * 1024) as client,
    ):
        # Several answers, so that the kernel's buffer is full and ours is not empty.
        head = "Connection: close" if closing else "X: y"
        await client.send(request("GET", "/public/x") * 15 + request("GET", "/public/x", head))
        await gateway.until(lambda: gateway.status["connections"]["client"] == 0)


# Sizes that no buffer holds, through a process whose memory can be measured.


class Counter:
    """Reads a stream to its end; keeps nothing of it."""

    def __init__(self) -> None:
        self.size = 0

    async def read(self, reader: asyncio.StreamReader) -> None:
        while piece := await reader.read(1 << 18):
            self.size += len(piece)


@pytest.fixture
async def process(upstream: StubUpstream, tmp_path: Path) -> AsyncIterator[GatewayProcess]:
    config = settings(upstream.url, limits={"body": "off"})
    async with GatewayProcess(yaml.safe_dump(config), tmp_path) as gateway:
        yield gateway


async def pass_through(process: GatewayProcess, upstream: StubUpstream, size: int) -> int:
    """Send `size` bytes up and as many down; return by how many bytes the process grew."""
    piece = b"x" * (1 << 18)

    async def down(exchange: Exchange) -> None:
        await exchange.send(b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n" % size)
        for _ in range(size // len(piece)):
            await exchange.send(piece)

    async def up(exchange: Exchange) -> None:
        async for _ in exchange.pieces():
            pass
        await exchange.send(b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n")

    upstream.script("/public/down", down)
    upstream.script("/public/up", up)
    await _ask(process.port, request("GET", "/public/warm", "Connection: close"))
    before = process.forget_peak()
    received = await _ask(process.port, request("GET", "/public/down", "Connection: close"))
    assert received.size > size
    head = request("POST", "/public/up", f"Content-Length: {size}", "Connection: close")
    await _ask(process.port, head, [piece] * (size // len(piece)))
    assert upstream.requests[-1].size == size
    return process.peak_rss() - before


async def _ask(port: int, head: bytes, body: list[bytes] | None = None) -> Counter:
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    counter = Counter()
    task = asyncio.create_task(counter.read(reader))
    writer.write(head)
    for piece in body or []:
        writer.write(piece)
        await writer.drain()
    await task
    writer.close()
    await writer.wait_closed()
    return counter


async def test_memory_does_not_grow_with_the_body(
    process: GatewayProcess, upstream: StubUpstream
) -> None:
    assert await pass_through(process, upstream, 256 * MIB) < 24 * MIB


@pytest.mark.slow
async def test_memory_stays_flat_over_2_gib(
    process: GatewayProcess, upstream: StubUpstream
) -> None:
    assert await pass_through(process, upstream, 2048 * MIB) < 24 * MIB
