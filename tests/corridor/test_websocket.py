"""A WebSocket: a handshake that is checked like any request, then bytes for bytes, to its end."""

from __future__ import annotations

import asyncio
import base64
import hashlib
import struct
from collections.abc import AsyncIterator

import pytest
import pytest_asyncio

from tests.support import mint
from tests.support.answers import Answer
from tests.support.client import RawClient
from tests.support.scripts import silent
from tests.support.upstream import Exchange, StubUpstream
from tests.support.worker import (
    COOKIE,
    ORIGIN,
    SECRET,
    LocalGateway,
    request,
    settings,
    signed_in,
    token,
)

BOTH_LOOPS = True

KEY = base64.b64encode(b"sixteen bytes!!!").decode()
ACCEPT = base64.b64encode(
    hashlib.sha1(  # noqa: S324 - RFC 6455 section 4.2.2
        (KEY + "258EAFA5-E914-47DA-95CA-C5AB0DC85B11").encode()
    ).digest()
).decode()
HANDSHAKE = (
    "Connection: keep-alive, Upgrade",
    "Upgrade: websocket",
    "Sec-WebSocket-Version: 13",
    f"Sec-WebSocket-Key: {KEY}",
)
SWITCH = (
    "HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
    f"Sec-WebSocket-Accept: {ACCEPT}\r\n"
)
SWITCHED = f"{SWITCH}\r\n".encode()


def frame(payload: bytes, *, opcode: int = 2, masked: bool = False) -> bytes:
    """Return a final frame (RFC 6455 section 5.2); the mask is all zeros."""
    mask = 0x80 if masked else 0
    if len(payload) < 126:
        size = bytes([mask | len(payload)])
    elif len(payload) < 1 << 16:
        size = bytes([mask | 126]) + struct.pack(">H", len(payload))
    else:
        size = bytes([mask | 127]) + struct.pack(">Q", len(payload))
    return bytes([0x80 | opcode]) + size + (b"\0" * 4 if masked else b"") + payload


def closing(code: int) -> bytes:
    return frame(code.to_bytes(2, "big"), opcode=8)


async def echo(exchange: Exchange) -> None:
    """Accept, and send back every byte that comes."""
    await exchange.send(SWITCHED)
    while data := await exchange.read():
        await exchange.send(data)
    exchange.close()


@pytest_asyncio.fixture
async def gateway(upstream: StubUpstream) -> AsyncIterator[LocalGateway]:
    upstream.default = echo
    routes = [
        {"path": "/public/**", "upstream": "api", "auth": "public"},
        {"path": "/open/**", "upstream": "api", "auth": "public", "upgrade": "websocket"},
        {"path": "/closed/**", "upstream": "api", "upgrade": "off"},
        {"path": "/api/**", "upstream": "api"},
    ]
    async with LocalGateway(settings(upstream.url, routes=routes)) as gateway:
        yield gateway


async def connect(client: RawClient, *lines: str, path: str = "/api/ws") -> Answer:
    """Send the handshake and return the answer to it."""
    await client.send(request("GET", path, *HANDSHAKE, *lines))
    [answer] = await client.read_answers()
    return answer


async def received(client: RawClient, size: int) -> bytes:
    """Wait for `size` bytes after the handshake and return what is there."""
    start = client.received.index(b"\r\n\r\n") + 4
    await client.wait(lambda: client.size >= start + size)
    return client.received[start:]


async def test_frames_pass_both_ways(gateway: LocalGateway, upstream: StubUpstream) -> None:
    async with RawClient(gateway.port) as client:
        answer = await connect(client, signed_in(), "X-User-Id: forged", f"Origin: {ORIGIN}")
        assert answer.status == 101
        assert answer.get("Upgrade") == "websocket"
        assert answer.get("Connection") == "Upgrade"
        assert answer.get("Sec-WebSocket-Accept") == ACCEPT
        assert answer.get("Access-Control-Allow-Origin") == ORIGIN
        for payload in (b"", b"hello", bytes(range(256)) * 1000):
            sent = frame(payload, masked=True)
            before = len(await received(client, 0))
            await client.send(sent)
            assert (await received(client, before + len(sent)))[before:] == sent
    [seen] = upstream.requests
    assert seen.get("X-User-Id") == "u-1"
    assert seen.values("Cookie") == []
    assert seen.get("Upgrade") == "websocket"
    assert seen.get("Connection") == "Upgrade"
    assert seen.get("Sec-WebSocket-Key") == KEY
    assert seen.get("Sec-WebSocket-Version") == "13"


async def test_extensions_and_protocols_pass(gateway: LocalGateway, upstream: StubUpstream) -> None:
    async def accept(exchange: Exchange) -> None:
        lines = "Sec-WebSocket-Protocol: b\r\nSec-WebSocket-Extensions: permessage-deflate\r\n\r\n"
        await exchange.send((SWITCH + lines).encode())
        await silent(exchange)

    upstream.script("/api/ws", accept)
    asked = "Sec-WebSocket-Protocol: a, b", "Sec-WebSocket-Extensions: permessage-deflate; x=1"
    async with RawClient(gateway.port) as client:
        answer = await connect(client, signed_in(), *asked)
    assert answer.get("Sec-WebSocket-Protocol") == "b"
    assert answer.get("Sec-WebSocket-Extensions") == "permessage-deflate"
    [seen] = upstream.requests
    assert seen.get("Sec-WebSocket-Protocol") == "a, b"
    assert seen.get("Sec-WebSocket-Extensions") == "permessage-deflate; x=1"


async def test_bytes_that_came_with_the_handshake_pass(gateway: LocalGateway) -> None:
    early, late = frame(b"early", masked=True), frame(b"late", masked=True)
    async with RawClient(gateway.port) as client:
        await client.send(request("GET", "/api/ws", *HANDSHAKE, signed_in()) + early)
        await client.read_answers()
        await client.send(late)
        assert await received(client, len(early + late)) == early + late


async def test_bytes_that_came_before_the_answer_pass(
    gateway: LocalGateway, upstream: StubUpstream
) -> None:
    """However many they are: they are no head of a request that does not end."""
    sent = frame(b"x" * 200_000, masked=True)
    go = asyncio.Event()

    async def late(exchange: Exchange) -> None:
        await go.wait()
        await echo(exchange)

    upstream.script("/api/ws", late)
    async with RawClient(gateway.port) as client:
        await client.send(request("GET", "/api/ws", *HANDSHAKE, signed_in()))
        await upstream.wait(lambda: bool(upstream.requests))
        for start in range(0, len(sent), 10_000):
            await client.send(sent[start : start + 10_000])
            await asyncio.sleep(0)
        go.set()
        await client.read_answers()
        assert await received(client, len(sent)) == sent


@pytest.mark.parametrize("size", [0, 2, 100_000])
async def test_bytes_that_came_with_the_answer_pass(
    gateway: LocalGateway, upstream: StubUpstream, size: int
) -> None:
    first = frame(b"x" * size)

    async def eager(exchange: Exchange) -> None:
        await exchange.send(SWITCHED + first)
        await silent(exchange)

    upstream.script("/api/ws", eager)
    async with RawClient(gateway.port) as client:
        await connect(client, signed_in())
        assert await received(client, len(first)) == first


@pytest.mark.parametrize(
    ("lines", "status", "code"),
    [
        pytest.param((), 401, "session_missing", id="nobody"),
        pytest.param((f"Cookie: {COOKIE}=x",), 401, "session_invalid", id="broken"),
        pytest.param(
            (signed_in(), "Origin: https://evil.example"), 403, "origin_refused", id="evil"
        ),
        pytest.param((signed_in(), "Origin: null"), 403, "origin_refused", id="null"),
        pytest.param(
            (signed_in(), "Sec-Fetch-Site: cross-site"), 403, "origin_refused", id="cross-site"
        ),
    ],
)
async def test_handshake_is_checked_like_a_request(
    gateway: LocalGateway,
    upstream: StubUpstream,
    lines: tuple[str, ...],
    status: int,
    code: str,
) -> None:
    async with RawClient(gateway.port) as client:
        answer = await connect(client, *lines)
        assert (answer.status, answer.json()["code"]) == (status, code)
        assert answer.get("Connection") == "close"
        await client.read_until_closed()
    assert upstream.connections == []


async def test_bearer_needs_no_origin(gateway: LocalGateway) -> None:
    async with RawClient(gateway.port) as client:
        lines = f"Authorization: Bearer {token()}", "Origin: https://evil.example"
        assert (await connect(client, *lines)).status == 101


async def test_what_follows_a_refused_handshake_is_never_a_request(
    gateway: LocalGateway, upstream: StubUpstream
) -> None:
    async with RawClient(gateway.port) as client:
        await client.send(
            request("GET", "/api/ws", *HANDSHAKE) + request("GET", "/public/smuggled")
        )
        await client.read_until_closed()
        assert [each.status for each in client.answers().all] == [401]
    assert upstream.connections == []


@pytest.mark.parametrize(
    ("path", "lines"),
    [
        pytest.param("/public/x", HANDSHAKE, id="public-route"),
        pytest.param("/closed/x", HANDSHAKE, id="upgrade-off"),
        pytest.param("/api/x", (HANDSHAKE[0], "Upgrade: h2c", "HTTP2-Settings: AAAA"), id="h2c"),
        pytest.param("/api/x", (HANDSHAKE[0], "Upgrade: tcp"), id="tcp"),
        pytest.param("/api/x", (HANDSHAKE[0], "Upgrade: websocket, h2c", *HANDSHAKE[2:]), id="two"),
        pytest.param("/api/x", (*HANDSHAKE[:2], HANDSHAKE[3]), id="no-version"),
        pytest.param(
            "/api/x", (*HANDSHAKE[:2], "Sec-WebSocket-Version: 8", HANDSHAKE[3]), id="old"
        ),
        pytest.param("/api/x", HANDSHAKE[:3], id="no-key"),
        pytest.param("/api/x", (*HANDSHAKE[:3], "Sec-WebSocket-Key: short"), id="short-key"),
    ],
)
async def test_other_upgrades_are_stripped_and_end_the_connection(
    gateway: LocalGateway, upstream: StubUpstream, path: str, lines: tuple[str, ...]
) -> None:
    upstream.default = StubUpstream().default
    async with RawClient(gateway.port) as client:
        await client.send(request("GET", path, *lines, signed_in()))
        await client.read_answers()
        await client.send(request("GET", "/public/smuggled"))
        await client.read_until_closed()
        [answer] = client.answers().all
    assert (answer.status, answer.get("Connection")) == (200, "close")
    [seen] = upstream.requests
    assert seen.values("Upgrade") == []
    assert seen.values("Connection") == []
    assert seen.values("HTTP2-Settings") == []


async def test_upgrade_that_connection_does_not_name_is_none(
    gateway: LocalGateway, upstream: StubUpstream
) -> None:
    upstream.default = StubUpstream().default
    lines = HANDSHAKE[1:]
    async with RawClient(gateway.port) as client:
        await client.send(request("GET", "/api/x", *lines, signed_in()))
        await client.read_answers(1)
        await client.send(request("GET", "/public/x"))
        assert [each.status for each in await client.read_answers(2)] == [200, 200]
    assert upstream.requests[0].values("Upgrade") == []


async def test_handshake_with_a_body_is_no_handshake(
    gateway: LocalGateway, upstream: StubUpstream
) -> None:
    upstream.default = StubUpstream().default
    async with RawClient(gateway.port) as client:
        await client.send(request("GET", "/api/x", *HANDSHAKE, signed_in(), body=b"hello"))
        await client.read_until_closed()
        [answer] = client.answers().all
    assert (answer.status, answer.get("Connection")) == (200, "close")
    assert upstream.requests[0].body == b"hello"
    assert upstream.requests[0].values("Upgrade") == []


@pytest.mark.parametrize(
    "answer",
    [
        pytest.param(SWITCHED.replace(ACCEPT.encode(), b"wrong"), id="wrong-accept"),
        pytest.param(SWITCHED.replace(b"Sec-WebSocket-Accept", b"X-Other"), id="no-accept"),
        pytest.param(SWITCHED.replace(b"Upgrade: websocket", b"Upgrade: h2c"), id="h2c"),
        pytest.param(SWITCHED.replace(b"Upgrade: websocket\r\n", b""), id="no-upgrade"),
    ],
)
async def test_101_that_accepts_something_else_is_502(
    gateway: LocalGateway, upstream: StubUpstream, answer: bytes
) -> None:
    async def script(exchange: Exchange) -> None:
        await exchange.send(answer)
        await silent(exchange)

    upstream.script("/api/ws", script)
    async with RawClient(gateway.port) as client:
        problem = await connect(client, signed_in(), f"Origin: {ORIGIN}")
        assert (problem.status, problem.json()["code"]) == (502, "upstream_protocol")
        assert problem.get("Access-Control-Allow-Origin") == ORIGIN
        assert problem.get("Connection") == "close"
        await client.read_until_closed()
    await upstream.wait(lambda: upstream.connections[0].ended.is_set())


async def test_101_without_connection_upgrade_loses_nothing(
    gateway: LocalGateway, upstream: StubUpstream
) -> None:
    """RFC 6455 section 4.1 point 3 wants it. Either it is an error, or the frame behind arrives."""
    first = frame(b"first")

    async def script(exchange: Exchange) -> None:
        await exchange.send(SWITCHED.replace(b"Connection: Upgrade\r\n", b"") + first)
        await silent(exchange)

    upstream.script("/api/ws", script)
    async with RawClient(gateway.port) as client:
        answer = await connect(client, signed_in())
        assert answer.status in (101, 502)
        if answer.status == 101:
            assert await received(client, len(first)) == first


@pytest.mark.parametrize(
    ("status", "body"), [(200, b"ok"), (403, b"no"), (426, b"old"), (302, b"")]
)
async def test_answer_that_does_not_switch_is_an_answer(
    gateway: LocalGateway, upstream: StubUpstream, status: int, body: bytes
) -> None:
    upstream.script(
        "/api/ws", b"HTTP/1.1 %d X\r\nContent-Length: %d\r\n\r\n%b" % (status, len(body), body)
    )
    async with RawClient(gateway.port) as client:
        await client.send(
            request("GET", "/api/ws", *HANDSHAKE, signed_in()) + frame(b"early", masked=True)
        )
        await client.read_until_closed()
        [answer] = client.answers().all
    assert (answer.status, answer.body) == (status, body)
    assert answer.get("Connection") == "close"
    assert answer.values("Upgrade") == []


async def test_end_of_the_upstream_ends_the_client_after_its_last_bytes(
    gateway: LocalGateway, upstream: StubUpstream
) -> None:
    last = frame(b"x" * 100_000) + closing(1000)

    async def script(exchange: Exchange) -> None:
        await exchange.send(SWITCHED)
        await exchange.read()
        await exchange.send(last)
        exchange.close()

    upstream.script("/api/ws", script)
    async with RawClient(gateway.port) as client:
        await connect(client, signed_in())
        await client.send(frame(b"go", masked=True))
        data = await client.read_until_closed()
    assert data.endswith(last)
    assert not client.reset
    line = await gateway.logged()
    assert (line["status"], line["code"]) == (101, None)
    assert (line["bytes_in"], line["bytes_out"]) == (8, len(last))


@pytest.mark.parametrize("how", ["fin", "rst"])
async def test_end_of_the_client_ends_the_upstream(
    gateway: LocalGateway, upstream: StubUpstream, how: str
) -> None:
    async with RawClient(gateway.port) as client:
        await connect(client, signed_in())
        if how == "fin":
            client.transport.close()
        else:
            client.reset_connection()
        await upstream.wait(lambda: upstream.connections[0].ended.is_set())
        await gateway.until(lambda: gateway.status["connections"] == {"client": 0, "upstream": 0})


async def test_last_frames_of_the_client_reach_the_upstream(
    gateway: LocalGateway, upstream: StubUpstream
) -> None:
    last = frame(b"x" * 50_000, masked=True) + frame(b"\x03\xe8", opcode=8, masked=True)
    async with RawClient(gateway.port) as client:
        await connect(client, signed_in())
        await client.send(last)
        client.transport.close()
        await upstream.wait(lambda: upstream.connections[0].ended.is_set())
    assert upstream.received.endswith(last)


async def test_slow_client_holds_the_upstream_back(
    gateway: LocalGateway, upstream: StubUpstream
) -> None:
    sent = 0
    piece = frame(b"x" * 65536)

    async def flood(exchange: Exchange) -> None:
        nonlocal sent
        await exchange.send(SWITCHED)
        for _ in range(500):
            await exchange.send(piece)
            sent += len(piece)
        await silent(exchange)

    upstream.script("/api/ws", flood)
    async with RawClient(gateway.port, window=4096) as client:
        await client.send(request("GET", "/api/ws", *HANDSHAKE, signed_in()))
        await gateway.until(lambda: any(each.stalled for each in gateway.clients))
        seen = -1
        while seen != sent:
            seen = sent
            await asyncio.sleep(0.1)
        assert sent < 400 * len(piece)
        client.read_on()
        await client.wait(lambda: client.size > 500 * len(piece), deadline=60)


async def test_slow_upstream_holds_the_client_back(
    gateway: LocalGateway, upstream: StubUpstream
) -> None:
    go = asyncio.Event()
    count = 0

    async def slow(exchange: Exchange) -> None:
        nonlocal count
        await exchange.send(SWITCHED)
        await go.wait()
        while data := await exchange.read():
            count += len(data)

    upstream.script("/api/ws", slow)
    piece = frame(b"x" * 65536, masked=True)
    async with RawClient(gateway.port) as client:
        await connect(client, signed_in())
        sent = 0

        async def flood() -> None:
            nonlocal sent
            for _ in range(500):
                await client.send(piece, deadline=60)
                sent += len(piece)

        task = asyncio.create_task(flood())
        seen = -1
        while seen != sent:
            seen = sent
            await asyncio.sleep(0.1)
        assert sent < 400 * len(piece)
        go.set()
        await task
        await gateway.until(lambda: count == 500 * len(piece), deadline=60)


async def test_idle_websocket_is_ended(upstream: StubUpstream) -> None:
    upstream.default = echo
    config = settings(upstream.url, upstream={"timeouts": {"stream_idle": "200ms"}})
    async with LocalGateway(config) as gateway, RawClient(gateway.port) as client:
        await connect(client, signed_in())
        await client.read_until_closed()
        await upstream.wait(lambda: upstream.connections[0].ended.is_set())


async def test_websocket_outlasts_the_deadlines_of_requests(upstream: StubUpstream) -> None:
    """That they have passed, a request tells that nobody answers."""
    upstream.default = echo
    upstream.script("/public/silent", silent)
    config = settings(
        upstream.url,
        limits={"idle": "200ms", "header_timeout": "200ms", "body_idle": "200ms"},
        upstream={"pool_idle": "200ms", "timeouts": {"first_byte": "300ms"}},
    )
    async with LocalGateway(config) as gateway, RawClient(gateway.port) as client:
        await connect(client, signed_in())
        assert (await gateway.ask("GET", "/public/silent")).status == 504
        await client.send(frame(b"still here", masked=True))
        await received(client, 16)


async def test_session_that_ends_closes_the_websocket_with_1008(upstream: StubUpstream) -> None:
    upstream.default = echo
    claims = mint.claims(ttl=2)
    async with LocalGateway(settings(upstream.url)) as gateway, RawClient(gateway.port) as client:
        await connect(client, f"Cookie: {COOKIE}={mint.v5(claims, SECRET)}")
        await client.send(frame(b"hello", masked=True))
        data = await client.read_until_closed()
    assert data.endswith(frame(b"hello", masked=True) + closing(1008))
    await upstream.wait(lambda: upstream.connections[0].ended.is_set())


async def test_drain_closes_between_frames_with_1012(
    gateway: LocalGateway, upstream: StubUpstream
) -> None:
    rest = asyncio.Event()
    whole = frame(b"x" * 1000)

    async def halves(exchange: Exchange) -> None:
        await exchange.send(SWITCHED + whole[:500])
        await rest.wait()
        await exchange.send(whole[500:])
        await silent(exchange)

    upstream.script("/api/half", halves)
    async with RawClient(gateway.port) as whole_client, RawClient(gateway.port) as half_client:
        await connect(whole_client, signed_in())
        await connect(half_client, signed_in(), path="/api/half")
        await received(half_client, 500)
        drained = asyncio.create_task(gateway.drain())
        await whole_client.read_until_closed()
        assert (await received(whole_client, 0)) == closing(1012)
        assert not whole_client.reset
        await gateway.until(lambda: half_client.size > 0)
        rest.set()
        await half_client.read_until_closed()
        assert (await received(half_client, 0)) == whole + closing(1012)
        await drained
    line = await gateway.logged(lambda line: line["path"] == "/api/half")
    assert line["status"] == 101


async def test_websocket_on_an_open_route_needs_nobody(gateway: LocalGateway) -> None:
    async with RawClient(gateway.port) as client:
        answer = await connect(client, "Origin: https://evil.example", path="/open/ws")
        assert answer.status == 101


async def test_websocket_that_is_accepted_during_a_drain_is_closed_too(
    gateway: LocalGateway, upstream: StubUpstream
) -> None:
    go = asyncio.Event()

    async def late(exchange: Exchange) -> None:
        await go.wait()
        await echo(exchange)

    upstream.script("/api/ws", late)
    async with RawClient(gateway.port) as client:
        await client.send(request("GET", "/api/ws", *HANDSHAKE, signed_in()))
        await upstream.wait(lambda: bool(upstream.requests))
        drained = asyncio.create_task(gateway.drain())
        await gateway.until(lambda: gateway.status["state"] == "draining")
        await refused(gateway.port)
        go.set()
        data = await client.read_until_closed()
        await drained
    assert data.endswith(closing(1012)) or data.startswith(b"HTTP/1.1 50")


async def refused(port: int) -> None:
    """Wait until nobody listens any more."""
    async with asyncio.timeout(10):
        while True:
            try:
                async with RawClient(port):
                    await asyncio.sleep(0.01)
            except ConnectionRefusedError:
                return
