"""The PROXY protocol on the listener: a trusted proxy says who connects, and nobody else does."""

from __future__ import annotations

import asyncio
import logging
import socket
import struct
from collections.abc import AsyncIterator
from functools import partial
from pathlib import Path
from typing import Any, Final

import pytest
import pytest_asyncio

from proxy.gateway.handler import Gateway
from proxy.gateway.passage import Passage
from tests.support.certificates import Authority
from tests.support.client import RawClient
from tests.support.upstream import Exchange, StubUpstream
from tests.support.worker import LocalGateway, request, settings, signed_in

BOTH_LOOPS = True

SIGNATURE: Final = bytes.fromhex("0D0A0D0A000D0A515549540A")
LOCAL: Final = SIGNATURE + b"\x20\x00\0\0"
NOBODY: Final = b"PROXY UNKNOWN\r\n"


def v1(source: str = "203.0.113.9") -> bytes:
    return f"PROXY TCP4 {source} 10.0.0.1 50000 80\r\n".encode()


def v2(source: str = "203.0.113.9", more: bytes = b"") -> bytes:
    block = socket.inet_aton(source) + socket.inet_aton("10.0.0.1") + bytes(4) + more
    return SIGNATURE + struct.pack(">BBH", 0x21, 0x11, len(block)) + block


def listening(*endpoints: str, **more: Any) -> dict[str, Any]:
    listen = {"address": "127.0.0.1:0", "proxy_protocol": True, **more.pop("listen", {})}
    return settings(*endpoints, **{"listen": listen, "trusted_proxies": ["127.0.0.0/8"], **more})


@pytest_asyncio.fixture
async def gateway(upstream: StubUpstream) -> AsyncIterator[LocalGateway]:
    async with LocalGateway(listening(upstream.url, health_path="/healthz")) as gateway:
        yield gateway


@pytest.fixture
def warnings(caplog: pytest.LogCaptureFixture) -> pytest.LogCaptureFixture:
    caplog.set_level(logging.WARNING, "gatelodge")
    return caplog


def refused(gateway: LocalGateway) -> dict[str, int]:
    """Return how many connections were refused, by reason."""
    return gateway.worker.metrics.arrivals_refused


@pytest.mark.parametrize("header", [v1(), v2(), v2(more=b"\xea\0\2ab")], ids=["1", "2", "values"])
async def test_client_is_who_the_header_says(
    gateway: LocalGateway, upstream: StubUpstream, header: bytes
) -> None:
    async with RawClient(gateway.port) as client:
        for number in (1, 2):  # the header is of the connection, not of a request
            sent = request("GET", "/public/x", f"X-Forwarded-For: 192.0.2.{number}")
            await client.send(header + sent if number == 1 else sent)
            assert (await client.read_answers(number))[-1].status == 200
    assert [each.get("X-Forwarded-For") for each in upstream.requests] == ["203.0.113.9"] * 2
    assert [line["client"] for line in await logged(gateway, 2)] == ["203.0.113.9"] * 2
    assert refused(gateway) == {}


async def logged(gateway: LocalGateway, count: int) -> list[dict[str, Any]]:
    await gateway.until(lambda: len(gateway.log_lines()) >= count)
    return gateway.log_lines()


async def test_header_and_request_come_in_any_pieces(
    gateway: LocalGateway, upstream: StubUpstream
) -> None:
    for header in (v1(), v2(more=b"\4\0\1x")):
        data = header + request("POST", "/public/x", body=b"body")
        for cut in [*range(1, len(header) + 2), len(data) - 3]:
            async with RawClient(gateway.port) as client:
                client.transport.get_extra_info("socket").setsockopt(
                    socket.IPPROTO_TCP, socket.TCP_NODELAY, 1
                )
                client.post(data[:cut])
                # A piece of its own: the gateway has taken the first before the second is sent.
                await gateway.until(partial(taken, gateway, cut, len(header)))
                client.post(data[cut:])
                [answer] = await client.read_answers()
                assert (answer.status, answer.json()["size"]) == (200, 4)
    assert {each.get("X-Forwarded-For") for each in upstream.requests} == {"203.0.113.9"}


def taken(gateway: LocalGateway, cut: int, header: int) -> bool:
    """Whether the gateway has read the first `cut` bytes of the one connection there is."""
    waiting = [len(each._came) for each in gateway.worker._arrivals.under_way]
    return waiting == [cut] if cut < header else not waiting and len(gateway.clients) == 1


async def test_pipelined_requests_may_follow_at_once(gateway: LocalGateway) -> None:
    async with RawClient(gateway.port) as client:
        await client.send(v2() + request("GET", "/public/x") * 3)
        assert [each.status for each in await client.read_answers(3)] == [200] * 3


async def test_address_of_a_header_is_judged_like_any_peer(upstream: StubUpstream) -> None:
    """A content network in front of the load balancer is believed, a client behind it is not."""
    config = listening(upstream.url, trusted_proxies=["127.0.0.1", "198.51.100.0/24"])
    claims = "X-Forwarded-For: 192.0.2.1", "X-Forwarded-Proto: https", "X-Forwarded-Prefix: /p"
    async with LocalGateway(config) as gateway:
        for source in ("198.51.100.7", "203.0.113.9"):
            async with RawClient(gateway.port) as client:
                await client.send(v2(source) + request("GET", "/public/x", *claims))
                await client.read_answers()
    told = [
        (each.get("X-Forwarded-For"), each.get("X-Forwarded-Proto"), each.get("X-Forwarded-Prefix"))
        for each in upstream.requests
    ]
    assert told == [("192.0.2.1, 198.51.100.7", "https", "/p"), ("203.0.113.9", "http", None)]


async def test_load_balancer_itself_is_believed_and_an_unknown_client_is_not(
    gateway: LocalGateway, upstream: StubUpstream
) -> None:
    claims = "X-Forwarded-For: 192.0.2.1", "X-Real-IP: 192.0.2.1"
    for header in (LOCAL, NOBODY, SIGNATURE + b"\x21\x00\0\0"):
        async with RawClient(gateway.port) as client:
            await client.send(header + request("GET", "/public/x", *claims))
            [answer] = await client.read_answers()
            assert answer.status == 200
    told = [
        (each.values("X-Forwarded-For"), each.values("X-Real-IP")) for each in upstream.requests
    ]
    assert told == [(["192.0.2.1, 127.0.0.1"], ["192.0.2.1"]), ([], []), ([], [])]
    clients = [line["client"] for line in await logged(gateway, 3)]
    assert clients == ["192.0.2.1", "unknown", "unknown"]


@pytest.mark.parametrize("header", [LOCAL, NOBODY, v1()], ids=["local", "unknown", "address"])
async def test_health_checks_are_answered(gateway: LocalGateway, header: bytes) -> None:
    async with RawClient(gateway.port) as client:
        await client.send(header + b"GET /healthz HTTP/1.0\r\n\r\n")
        assert (await client.read_until_closed()).startswith(b"HTTP/1.1 200 ")


async def test_port_check_that_says_nothing_is_no_failure(
    gateway: LocalGateway, warnings: pytest.LogCaptureFixture
) -> None:
    async with RawClient(gateway.port):
        await gateway.until(lambda: gateway.status["connections"]["client"] == 1)
    async with RawClient(gateway.port) as client:
        client.half_close()
        assert await client.read_until_closed() == b""
    await gateway.until(lambda: gateway.status["connections"]["client"] == 0)
    assert refused(gateway) == {}
    assert warnings.messages == []


BROKEN: Final = {
    "none": (request("GET", "/public/x"), "proxy_header_missing"),
    "tls": (b"\x16\x03\x01\x02\x00\x01\x00", "proxy_header_missing"),
    "malformed": (b"PROXY TCP4 203.0.113.9\r\n" + request("GET", "/public/x"), "proxy_header_bad"),
    "too long": (b"PROXY UNKNOWN " + b"x" * 200, "proxy_header_bad"),
    "too long, binary": (SIGNATURE + b"\x21\x11\xff\xff", "proxy_header_bad"),
}


@pytest.mark.parametrize(("data", "reason"), BROKEN.values(), ids=BROKEN)
async def test_trusted_proxy_must_send_the_header(
    gateway: LocalGateway,
    upstream: StubUpstream,
    warnings: pytest.LogCaptureFixture,
    data: bytes,
    reason: str,
) -> None:
    for _ in range(3):
        async with RawClient(gateway.port) as client:
            await client.send(data)
            assert await client.read_until_closed() == b""
    assert refused(gateway) == {reason: 3}
    assert len(warnings.messages) == 1
    assert "PROXY header" in warnings.messages[0]
    assert upstream.connections == []
    assert gateway.log_lines() == []


async def test_header_that_is_cut_short_is_counted(gateway: LocalGateway) -> None:
    async with RawClient(gateway.port) as client:
        await client.send(v2()[:20])
        client.half_close()
        assert await client.read_until_closed() == b""
    await gateway.until(lambda: refused(gateway) == {"proxy_header_bad": 1})


@pytest.mark.parametrize("data", [b"", v1()[:20], v2()[:14]], ids=["nothing", "1", "2"])
async def test_header_has_a_deadline(
    upstream: StubUpstream, warnings: pytest.LogCaptureFixture, data: bytes
) -> None:
    config = listening(upstream.url, limits={"header_timeout": "100ms", "idle": "1h"})
    async with LocalGateway(config) as gateway, RawClient(gateway.port) as client:
        await client.send(data)
        assert await client.read_until_closed() == b""
        assert refused(gateway) == {"proxy_header_late": 1}
    assert "limits.header_timeout" in warnings.messages[0]


async def test_header_that_comes_by_the_byte_does_not_put_the_deadline_off(
    upstream: StubUpstream,
) -> None:
    config = listening(upstream.url, limits={"header_timeout": "100ms", "idle": "1h"})
    async with LocalGateway(config) as gateway, RawClient(gateway.port) as client:
        header = b"PROXY UNKNOWN " + b"x" * 80
        for byte in header:
            if client.eof:
                break
            client.post(bytes([byte]))
            await asyncio.sleep(0.02)  # how slow the sender is: the thing that is tested
        await client.read_until_closed()
        assert refused(gateway) == {"proxy_header_late": 1}


async def test_request_behind_the_header_has_its_own_deadlines(upstream: StubUpstream) -> None:
    config = listening(upstream.url, limits={"header_timeout": "100ms", "idle": "1h"})
    async with LocalGateway(config) as gateway, RawClient(gateway.port) as client:
        await client.send(v1())
        await gateway.until(lambda: len(gateway.clients) == 1)
        [waiting] = gateway.clients
        assert waiting.deadline > asyncio.get_running_loop().time() + 1000
        await client.send(b"GET /public/x HTTP/1.1\r\n")
        [answer] = await client.read_answers()
    assert answer.status == 408


@pytest.mark.parametrize("data", [v2() + request("GET", "/public/x"), request("GET", "/public/x")])
async def test_peer_that_is_not_trusted_is_not_let_in(
    upstream: StubUpstream, warnings: pytest.LogCaptureFixture, data: bytes
) -> None:
    """With the header or without: what he says he is does not count, and neither is guessed."""
    async with LocalGateway(listening(upstream.url, trusted_proxies=["10.0.0.0/8"])) as gateway:
        for _ in range(2):
            async with RawClient(gateway.port) as client:
                await client.send(data)
                assert await client.read_until_closed() == b""
        assert refused(gateway) == {"peer_untrusted": 2}
    assert upstream.connections == []
    [message] = warnings.messages
    assert "trusted_proxies" in message


async def test_mapped_ipv4_peer_is_known_by_its_ipv4_network(upstream: StubUpstream) -> None:
    """A listener on [::] sees IPv4 peers as ::ffff:127.0.0.1."""
    config = listening(upstream.url, listen={"address": "[::]:0"})
    async with LocalGateway(config) as gateway, RawClient(gateway.port) as client:
        await client.send(v2("203.0.113.9") + request("GET", "/public/x"))
        assert [each.status for each in await client.read_answers()] == [200]
    assert [each.get("X-Forwarded-For") for each in upstream.requests] == ["203.0.113.9"]


async def test_unix_socket_may_carry_it(upstream: StubUpstream, tmp_path: Path) -> None:
    path = str(tmp_path / "front.sock")
    listen = {"address": f"unix:{path}"}
    config = listening(upstream.url, listen=listen, trusted_proxies=["unix"])
    async with LocalGateway(config), RawClient(path) as client:
        await client.send(v2() + request("GET", "/public/x"))
        assert [each.status for each in await client.read_answers()] == [200]
    assert [each.get("X-Forwarded-For") for each in upstream.requests] == ["203.0.113.9"]


async def test_client_over_a_unix_socket_of_the_proxy_is_not_our_unix_peer(
    upstream: StubUpstream, tmp_path: Path
) -> None:
    """`trusted_proxies: [unix]` is about who connects to us; what a header calls UNIX is not."""
    path = str(tmp_path / "front.sock")
    listen = {"address": f"unix:{path}"}
    config = listening(upstream.url, listen=listen, trusted_proxies=["unix"])
    async with LocalGateway(config), RawClient(path) as client:
        header = SIGNATURE + struct.pack(">BBH", 0x21, 0x31, 216) + bytes(216)
        await client.send(header + request("GET", "/public/x", "X-Forwarded-For: 192.0.2.1"))
        assert [each.status for each in await client.read_answers()] == [200]
    assert [each.values("X-Forwarded-For") for each in upstream.requests] == [[]]


async def test_second_header_is_no_header(gateway: LocalGateway, upstream: StubUpstream) -> None:
    """Neither right behind the first nor between requests: it is what a client sent."""
    for first in (v2() + v2("192.0.2.1"), v1() + v1("192.0.2.1")):
        async with RawClient(gateway.port) as client:
            await client.send(first + request("GET", "/public/x"))
            [answer] = await client.read_answers()
            assert answer.status == 400
    async with RawClient(gateway.port) as client:
        await client.send(v2() + request("GET", "/public/x"))
        await client.read_answers()
        await client.send(v2("192.0.2.1") + request("GET", "/public/x"))
        assert [each.status for each in await client.read_answers(2)] == [200, 400]
    assert [each.get("X-Forwarded-For") for each in upstream.requests] == ["203.0.113.9"]
    assert {line["client"] for line in await logged(gateway, 4)} == {"203.0.113.9"}


async def test_without_the_setting_a_header_is_400(upstream: StubUpstream) -> None:
    """Also from a trusted proxy: what is not configured is not guessed."""
    config = settings(upstream.url, trusted_proxies=["127.0.0.0/8"])
    async with LocalGateway(config) as gateway:
        for header in (v1(), v2()):
            async with RawClient(gateway.port) as client:
                await client.send(header + request("GET", "/public/x"))
                [answer] = await client.read_answers()
                assert answer.status == 400
        assert "listen.proxy_protocol" in (await gateway.logged())["reason"]


async def test_lane_knows_clients_apart(
    gateway: LocalGateway, upstream: StubUpstream, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The same bytes behind two headers are two clients: what was learnt of the one is not said of
    the other, though their connections come from one peer.
    """
    passages: list[str] = []
    enter = Gateway.enter

    def noting(self: Gateway, client: Any, data: bytes) -> Passage | None:
        passage = enter(self, client, data)
        if passage is not None:
            passages.append(client.whoever.address)
        return passage

    monkeypatch.setattr(Gateway, "enter", noting)
    head = request("GET", "/api/x", signed_in())
    sources = ["203.0.113.9", "198.51.100.7", "unknown"]
    headers = [v2(sources[0]), v1(sources[1]), NOBODY]
    async with (
        RawClient(gateway.port) as one,
        RawClient(gateway.port) as two,
        RawClient(gateway.port) as three,
    ):
        clients = [one, two, three]
        for client, header in zip(clients, headers, strict=True):
            await client.send(header)
        for turn in range(1, 7):
            for client in clients:
                await client.send(head)
                assert (await client.read_answers(turn))[-1].status == 200
    assert all(passages.count(each) >= 4 for each in sources)
    told = [each.values("X-Forwarded-For") for each in upstream.requests]
    assert told == [["203.0.113.9"], ["198.51.100.7"], []] * 6
    assert [line["client"] for line in await logged(gateway, 18)] == sources * 6


async def test_drain_ends_what_has_not_said_who_it_is(upstream: StubUpstream) -> None:
    async with LocalGateway(listening(upstream.url)) as gateway, RawClient(gateway.port) as client:
        await gateway.until(lambda: gateway.status["connections"]["client"] == 1)
        await gateway.drain()
        assert await client.read_until_closed() == b""


async def test_drain_answers_who_is_half_way_in(upstream: StubUpstream) -> None:
    async with LocalGateway(listening(upstream.url)) as gateway, RawClient(gateway.port) as client:
        await client.send(v2()[:20])
        await gateway.until(lambda: bool(gateway.worker._arrivals.under_way))
        drained = asyncio.ensure_future(gateway.drain())
        await gateway.until(lambda: gateway.worker._gateway.closing)
        await client.send(v2()[20:] + request("GET", "/public/x"))
        [answer] = await client.read_answers()
        assert (answer.status, answer.get("Connection")) == (200, "close")
        await drained


async def test_arrivals_are_bounded(upstream: StubUpstream) -> None:
    config = listening(upstream.url, limits={"connections": 2})
    async with LocalGateway(config) as gateway:
        async with RawClient(gateway.port), RawClient(gateway.port):
            await gateway.until(lambda: gateway.status["connections"]["client"] == 2)
            async with RawClient(gateway.port) as third:
                assert await third.read_until_closed() == b""
            assert refused(gateway) == {"too_many_arriving": 1}
        await gateway.until(lambda: gateway.status["connections"]["client"] == 0)
        async with RawClient(gateway.port) as client:
            await client.send(v2() + request("GET", "/public/x"))
            assert [each.status for each in await client.read_answers()] == [200]


async def test_websocket_and_stream_are_no_different(
    gateway: LocalGateway, upstream: StubUpstream
) -> None:
    async def echo(exchange: Exchange) -> None:
        await exchange.send(
            b"HTTP/1.1 101 X\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
            b"Sec-WebSocket-Accept: s3pPLMBiTxaQ9kYGzzhZRbK+xOo=\r\n\r\n"
        )
        while data := await exchange.read():
            await exchange.send(data)
        exchange.close()

    upstream.script("/optional/ws", echo)
    upgrade = request(
        "GET",
        "/optional/ws",
        "Connection: Upgrade",
        "Upgrade: websocket",
        "Sec-WebSocket-Version: 13",
        "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==",
    )
    async with RawClient(gateway.port) as client:
        await client.send(v1() + upgrade)
        [answer] = await client.read_answers()
        assert answer.status == 101
        # Inside a tunnel these bytes are nobody's header.
        await client.send(b"\x82\x85\0\0\0\0hello" + v1())
        await client.wait(lambda: client.received.endswith(v1()))


async def test_header_comes_before_the_handshake(upstream: StubUpstream, tmp_path: Path) -> None:
    authority = Authority(tmp_path)
    cert, key = authority.issue("localhost")
    config = listening(upstream.url, listen={"tls": {"cert": str(cert), "key": str(key)}})
    async with LocalGateway(config) as gateway:
        for header in (v1(), v2()):
            async with RawClient(gateway.port, tls=authority.client(), preamble=header) as client:
                for number in (1, 2):
                    await client.send(request("GET", "/public/x"))
                    assert (await client.read_answers(number))[-1].status == 200
        assert refused(gateway) == {}
    told = {
        (each.get("X-Forwarded-For"), each.get("X-Forwarded-Proto")) for each in upstream.requests
    }
    assert told == {("203.0.113.9", "https")}
