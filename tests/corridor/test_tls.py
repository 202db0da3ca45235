"""TLS, on both sides: our own certificate for clients, and a checked one of the upstream."""

from __future__ import annotations

import asyncio
import ssl
from pathlib import Path
from typing import Any

import pytest

from tests.support import mint
from tests.support.certificates import Authority
from tests.support.client import RawClient, exchange
from tests.support.upstream import Exchange, StubUpstream
from tests.support.worker import LocalGateway, request, settings, signed_in, token

BOTH_LOOPS = True


@pytest.fixture
def authority(tmp_path: Path) -> Authority:
    return Authority(tmp_path)


def listening(authority: Authority, *endpoints: str, **more: Any) -> dict[str, Any]:
    cert, key = authority.issue("localhost")
    listen = {"address": "127.0.0.1:0", "tls": {"cert": str(cert), "key": str(key)}}
    return settings(*endpoints, listen=listen, **more)


async def test_listener_speaks_tls(upstream: StubUpstream, authority: Authority) -> None:
    cookie = f"Cookie: {mint.V5_SECURE_COOKIE}={token(cookie=mint.V5_SECURE_COOKIE)}"
    async with (
        LocalGateway(listening(authority, upstream.url)) as gateway,
        RawClient(gateway.port, tls=authority.client()) as client,
    ):
        assert client.transport.get_extra_info("ssl_object").version() in ("TLSv1.2", "TLSv1.3")
        body = bytes(range(256)) * 2000
        for number in (1, 2):
            await client.send(request("POST", "/api/x", cookie, body=body))
            answers = await client.read_answers(number)
            assert answers[-1].status == 200
            assert answers[-1].json()["size"] == len(body)
    [first, _] = upstream.requests
    assert first.get("X-Forwarded-Proto") == "https"
    assert first.get("X-Forwarded-Port") == "443"
    assert first.get("X-User-Id") == "u-1"


async def test_plain_cookie_does_not_count_over_tls(
    upstream: StubUpstream, authority: Authority
) -> None:
    async with LocalGateway(listening(authority, upstream.url)) as gateway:
        data = request("GET", "/api/x", signed_in())
        answer = await exchange(gateway.port, data, tls=authority.client())
    assert (answer.status, answer.json()["code"]) == (401, "session_missing")


async def test_refusal_of_an_upload_arrives_over_tls(
    upstream: StubUpstream, authority: Authority
) -> None:
    async with (
        LocalGateway(listening(authority, upstream.url)) as gateway,
        RawClient(gateway.port, tls=authority.client()) as client,
    ):
        await client.send(request("POST", "/api/x", "Content-Length: 1000") + b"part")
        await client.read_until_closed()
        [answer] = client.answers().all
    assert (answer.status, answer.complete) == (401, True)


async def test_cut_answer_is_no_orderly_end_over_tls(
    upstream: StubUpstream, authority: Authority
) -> None:
    async def cut(exchange: Exchange) -> None:
        await exchange.send(b"HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\nhello")
        exchange.close()

    upstream.script("/public/x", cut)
    async with (
        LocalGateway(listening(authority, upstream.url)) as gateway,
        RawClient(gateway.port, tls=authority.client()) as client,
    ):
        await client.send(b"GET /public/x HTTP/1.0\r\nHost: a\r\n\r\n")
        await client.read_until_closed()
    assert client.reset


async def test_plain_http_on_the_tls_listener_gets_nothing(
    upstream: StubUpstream, authority: Authority
) -> None:
    async with (
        LocalGateway(listening(authority, upstream.url)) as gateway,
        RawClient(gateway.port) as client,
    ):
        await client.send(request("GET", "/public/x"))
        assert b"HTTP/" not in await client.read_until_closed()
    assert upstream.connections == []


async def test_old_tls_is_refused(upstream: StubUpstream, authority: Authority) -> None:
    context = authority.client()
    context.set_ciphers("ALL:@SECLEVEL=0")
    with pytest.warns(DeprecationWarning, match="TLSv1_1"):
        context.minimum_version = context.maximum_version = ssl.TLSVersion.TLSv1_1
    async with LocalGateway(listening(authority, upstream.url)) as gateway:
        with pytest.raises((ssl.SSLError, ConnectionError)):
            await exchange(gateway.port, request("GET", "/public/x"), tls=context)


# Towards the upstream.


def trusting(upstream: StubUpstream, authority: Authority, **tls: object) -> dict[str, Any]:
    return settings(upstream.url, upstream={"tls": {"ca": str(authority.ca), **tls}})


async def test_upstream_is_reached_by_tls_and_kept(authority: Authority) -> None:
    async with StubUpstream(tls=authority.server()) as upstream:
        assert upstream.url.startswith("https://127.0.0.1:")
        async with LocalGateway(trusting(upstream, authority)) as gateway:
            for _ in range(3):
                answer = await gateway.ask("POST", "/public/x", body=b"x" * 300_000)
                assert answer.json()["size"] == 300_000
    assert len(upstream.connections) == 1


async def test_certificate_for_another_name_is_refused(authority: Authority) -> None:
    async with StubUpstream(tls=authority.server("other", address=None)) as upstream:
        async with LocalGateway(trusting(upstream, authority)) as gateway:
            answer = await gateway.ask("GET", "/public/x")
            line = await gateway.logged()
        assert (answer.status, answer.json()["code"]) == (502, "upstream_unreachable")
        assert line["reason"].startswith("TLS: ")
        async with LocalGateway(trusting(upstream, authority, server_name="other")) as gateway:
            assert (await gateway.ask("GET", "/public/x")).status == 200
    assert len(upstream.requests) == 1


async def test_certificate_of_a_stranger_is_refused(authority: Authority, tmp_path: Path) -> None:
    (tmp_path / "stranger").mkdir()
    stranger = Authority(tmp_path / "stranger", "stranger")
    async with StubUpstream(tls=stranger.server()) as upstream:
        for config in (trusting(upstream, authority), settings(upstream.url)):
            async with LocalGateway(config) as gateway:
                answer = await gateway.ask("GET", "/public/x")
                assert (answer.status, answer.json()["code"]) == (502, "upstream_unreachable")
    assert upstream.requests == []


async def test_client_certificate_is_shown(authority: Authority) -> None:
    context = authority.server()
    context.verify_mode = ssl.CERT_REQUIRED
    context.load_verify_locations(authority.ca)
    cert, key = authority.issue("gateway")
    async with StubUpstream(tls=context) as upstream:
        config = trusting(upstream, authority, cert=str(cert), key=str(key))
        async with LocalGateway(config) as gateway:
            assert (await gateway.ask("GET", "/public/x")).status == 200
        async with LocalGateway(trusting(upstream, authority)) as gateway:
            assert (await gateway.ask("GET", "/public/x")).status == 502


async def test_endpoint_that_speaks_no_tls_is_502(authority: Authority) -> None:
    async def plain(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.read(1)
        writer.write(b"HTTP/1.1 400 Bad Request\r\nConnection: close\r\n\r\n")
        writer.close()

    server = await asyncio.start_server(plain, "127.0.0.1", 0)
    async with server:
        url = f"https://127.0.0.1:{server.sockets[0].getsockname()[1]}"
        config = settings(url, upstream={"tls": {"ca": str(authority.ca)}})
        async with LocalGateway(config) as gateway:
            answer = await gateway.ask("GET", "/public/x")
            line = await gateway.logged()
    assert (answer.status, answer.json()["code"]) == (502, "upstream_unreachable")
    assert line["reason"].startswith("TLS: ")


async def test_handshake_counts_as_connecting(upstream: StubUpstream, authority: Authority) -> None:
    """The endpoint accepts and says nothing."""
    url = upstream.url.replace("http:", "https:")
    tls, timeouts = {"ca": str(authority.ca)}, {"connect": "200ms"}
    async with LocalGateway(settings(url, upstream={"tls": tls, "timeouts": timeouts})) as gateway:
        answer = await gateway.ask("GET", "/public/x")
        assert gateway.endpoints[0]["open"] == 0
    assert (answer.status, answer.json()["code"]) == (504, "upstream_timeout")
    await upstream.wait(lambda: all(each.ended.is_set() for each in upstream.connections))
    upstream.violations.clear()  # a handshake is no request


async def test_websocket_passes_over_tls_on_both_sides(authority: Authority) -> None:
    async def echo(exchange: Exchange) -> None:
        key = str(exchange.request.get("Sec-WebSocket-Key")).encode()
        await exchange.send(
            b"HTTP/1.1 101 X\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
            b"Sec-WebSocket-Accept: %b\r\n\r\n" % accept_of(key)
        )
        while data := await exchange.read():
            await exchange.send(data)
        exchange.close()

    async with StubUpstream(tls=authority.server()) as upstream:
        upstream.script("/optional/ws", echo)
        config = listening(authority, upstream.url, upstream={"tls": {"ca": str(authority.ca)}})
        async with (
            LocalGateway(config) as gateway,
            RawClient(gateway.port, tls=authority.client()) as client,
        ):
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
            [answer] = await client.read_answers()
            assert answer.status == 101
            await client.send(b"\x82\x85\0\0\0\0hello" * 1000)
            await client.wait(lambda: client.received.count(b"hello") == 1000)


def accept_of(key: bytes) -> bytes:
    assert key == b"dGhlIHNhbXBsZSBub25jZQ=="  # the example of RFC 6455 section 1.3
    return b"s3pPLMBiTxaQ9kYGzzhZRbK+xOo="
