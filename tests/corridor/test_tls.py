"""TLS, on both sides: our own certificate for clients, and a checked one of the upstream."""

from __future__ import annotations

import asyncio
import logging
import shutil
import ssl
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from proxy.gateway.handler import Gateway
from proxy.gateway.passage import Passage
from tests.support import mint
from tests.support.certificates import Authority
from tests.support.client import RawClient, exchange
from tests.support.upstream import Exchange, StubUpstream
from tests.support.worker import LocalGateway, request, settings, signed_in, token

BOTH_LOOPS = True

PUBLIC = request("GET", "/public/x")


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


def refused(gateway: LocalGateway) -> dict[str, int]:
    return gateway.worker.metrics.arrivals_refused


async def test_failed_handshakes_are_counted_and_not_logged(
    upstream: StubUpstream, authority: Authority, caplog: pytest.LogCaptureFixture
) -> None:
    """Scanners make thousands of them."""
    caplog.set_level(logging.INFO)
    hello = client_hello(authority.client())
    async with LocalGateway(listening(authority, upstream.url)) as gateway:
        for data in (b"\x16\x03\x01\x00\x05hello", request("GET", "/"), b"\0" * 2000):
            async with RawClient(gateway.port) as client:
                await client.send(data)
                await client.read_until_closed()
        async with RawClient(gateway.port) as client:
            await client.send(hello)
            await client.wait(lambda: client.size > 0)
            client.reset_connection()
        async with RawClient(gateway.port) as client:
            await client.send(hello[: len(hello) // 2])
            client.half_close()
            await client.read_until_closed()
        await gateway.until(lambda: refused(gateway) == {"tls_handshake": 5})
        await gateway.until(lambda: gateway.status["connections"]["client"] == 0)
        assert (await exchange(gateway.port, PUBLIC, tls=authority.client())).status == 200
    texts = [record.getMessage() for record in caplog.records if record.levelno > logging.INFO]
    assert [text for text in texts if "expires" not in text] == []


async def test_port_check_is_no_failed_handshake(
    upstream: StubUpstream, authority: Authority
) -> None:
    async with LocalGateway(listening(authority, upstream.url)) as gateway:
        async with RawClient(gateway.port):
            await gateway.until(lambda: gateway.status["connections"]["client"] == 1)
        await gateway.until(lambda: gateway.status["connections"]["client"] == 0)
        assert refused(gateway) == {}


@pytest.mark.parametrize("part", [0, 1, 100], ids=["nothing", "a byte", "a part"])
async def test_handshake_has_a_deadline(
    upstream: StubUpstream, authority: Authority, part: int
) -> None:
    limits = {"header_timeout": "200ms", "idle": "1h"}
    async with (
        LocalGateway(listening(authority, upstream.url, limits=limits)) as gateway,
        RawClient(gateway.port) as client,
    ):
        await client.send(client_hello(authority.client())[:part])
        await client.read_until_closed()
        await gateway.until(lambda: refused(gateway) == {"tls_handshake": 1})


async def more(client: RawClient, incoming: ssl.MemoryBIO) -> None:
    """Wait for more than there was, and give it to TLS."""
    await client.wait(lambda: client.size > 0)
    incoming.write(bytes(client._wire.received))
    client._wire.received.clear()


async def test_handshake_may_come_in_any_pieces(
    upstream: StubUpstream, authority: Authority
) -> None:
    """Each write of the client leaves byte by byte, those of the request behind it, too."""
    async with LocalGateway(listening(authority, upstream.url)) as gateway:
        incoming, outgoing = ssl.MemoryBIO(), ssl.MemoryBIO()
        tls = authority.client().wrap_bio(incoming, outgoing, server_hostname="localhost")
        async with RawClient(gateway.port) as client:

            async def until_done(step: Callable[[], Any]) -> Any:
                while True:
                    try:
                        return step()
                    except ssl.SSLWantReadError:
                        for byte in outgoing.read():
                            client.post(bytes([byte]))
                            await asyncio.sleep(0)
                        await more(client, incoming)

            await until_done(tls.do_handshake)
            tls.write(PUBLIC)
            assert (await until_done(lambda: tls.read(1 << 16))).startswith(b"HTTP/1.1 200")


async def test_request_may_come_with_the_end_of_the_handshake(
    upstream: StubUpstream, authority: Authority
) -> None:
    """What is decrypted in the turn in which the handshake ends is the client's first request."""
    async with LocalGateway(listening(authority, upstream.url)) as gateway:
        incoming, outgoing = ssl.MemoryBIO(), ssl.MemoryBIO()
        tls = authority.client().wrap_bio(incoming, outgoing, server_hostname="localhost")
        async with RawClient(gateway.port) as client:
            with pytest.raises(ssl.SSLWantReadError):
                tls.do_handshake()
            await client.send(outgoing.read())
            while True:
                await more(client, incoming)
                try:
                    tls.do_handshake()
                    break
                except ssl.SSLWantReadError:
                    pass
            tls.write(PUBLIC * 2)
            await client.send(outgoing.read())  # the client's Finished and two requests, at once
            answers = b""
            while answers.count(b"HTTP/1.1 200") < 2:
                await more(client, incoming)
                try:
                    while piece := tls.read(1 << 16):
                        answers += piece
                except ssl.SSLWantReadError:
                    pass
    assert len(upstream.requests) == 2


async def test_renewed_certificate_is_for_new_connections(
    upstream: StubUpstream, authority: Authority
) -> None:
    async with LocalGateway(listening(authority, upstream.url)) as gateway:
        first = (await shown(gateway, authority))["serialNumber"]
        async with RawClient(gateway.port, tls=authority.client()) as old:
            await old.send(PUBLIC)
            await old.read_answers()
            authority.issue("localhost")
            gateway.worker._certificates.renew()
            second = (await shown(gateway, authority))["serialNumber"]
            assert second != first
            await old.send(PUBLIC)
            assert [each.status for each in await old.read_answers(2)] == [200, 200]
            peer = old.transport.get_extra_info("ssl_object").getpeercert()
            assert peer["serialNumber"] == first


async def test_files_that_change_are_noticed_and_bad_ones_are_told(
    upstream: StubUpstream, authority: Authority, tmp_path: Path
) -> None:
    (tmp_path / "other").mkdir()
    _, foreign = Authority(tmp_path / "other").issue("localhost")
    config = listening(authority, upstream.url)
    key = Path(config["listen"]["tls"]["key"])
    async with LocalGateway(config, expect_errors=True) as gateway:
        first = (await shown(gateway, authority))["serialNumber"]
        await asyncio.to_thread(shutil.copyfile, foreign, key)
        await gateway.until(lambda: bool(gateway._handler.records))
        assert "the one before stays in use" in gateway._handler.records[0]
        assert (await shown(gateway, authority))["serialNumber"] == first
        authority.issue("localhost")

        async def changed() -> bool:
            return bool((await shown(gateway, authority))["serialNumber"] != first)

        async with asyncio.timeout(20):
            while not await changed():
                pass
        assert len(gateway._handler.records) == 1


async def test_a_reload_says_that_the_next_start_would_fail(
    upstream: StubUpstream, authority: Authority, tmp_path: Path
) -> None:
    """As `check` does of the same files."""
    (tmp_path / "other").mkdir()
    _, foreign = Authority(tmp_path / "other").issue("localhost")
    config = listening(authority, upstream.url)
    async with LocalGateway(config, expect_errors=True) as gateway:
        assert (await gateway.reload(config)).problems == ()
        await asyncio.to_thread(shutil.copyfile, foreign, config["listen"]["tls"]["key"])
        [problem] = (await gateway.reload(config)).problems
        assert problem.startswith("listen.tls: ")
        assert problem.endswith("cannot be used: KEY_VALUES_MISMATCH")
        assert (await gateway.reload(config)).generation == 2
        authority.issue("localhost")
        assert (await gateway.reload(config)).problems == ()


async def shown(gateway: LocalGateway, authority: Authority) -> dict[str, Any]:
    """Return the certificate that a new connection is shown."""
    async with RawClient(gateway.port, tls=authority.client()) as client:
        found: dict[str, Any] = client.transport.get_extra_info("ssl_object").getpeercert()
        return found


@pytest.mark.parametrize(
    ("offered", "chosen"),
    [(["h2", "http/1.1"], "http/1.1"), (["http/1.1"], "http/1.1"), (["h2"], None), ([], None)],
)
async def test_http_1_1_is_all_that_is_agreed_on(
    upstream: StubUpstream, authority: Authority, offered: list[str], chosen: str | None
) -> None:
    context = authority.client()
    if offered:
        context.set_alpn_protocols(offered)
    async with (
        LocalGateway(listening(authority, upstream.url)) as gateway,
        RawClient(gateway.port, tls=context) as client,
    ):
        tls = client.transport.get_extra_info("ssl_object")
        assert tls.selected_alpn_protocol() == chosen
        await client.send(PUBLIC)
        assert [each.status for each in await client.read_answers()] == [200]


@pytest.mark.parametrize(
    ("ciphers", "good"),
    [
        ("ECDHE-ECDSA-AES128-GCM-SHA256", True),
        ("ECDHE-ECDSA-CHACHA20-POLY1305", True),
        ("ECDHE-ECDSA-AES256-SHA384", False),
        ("ECDHE-ECDSA-AES128-SHA", False),
    ],
)
async def test_ciphers_of_tls_1_2_are_authenticated_ones(
    upstream: StubUpstream, authority: Authority, ciphers: str, good: bool
) -> None:
    context = authority.client()
    context.maximum_version = ssl.TLSVersion.TLSv1_2
    context.set_ciphers(ciphers)
    async with LocalGateway(listening(authority, upstream.url)) as gateway:
        if good:
            assert (await exchange(gateway.port, PUBLIC, tls=context)).status == 200
        else:
            with pytest.raises((ssl.SSLError, ConnectionError)):
                await exchange(gateway.port, PUBLIC, tls=context)


async def test_requests_take_the_lane_over_tls(
    upstream: StubUpstream, authority: Authority, monkeypatch: pytest.MonkeyPatch
) -> None:
    passages = []
    enter = Gateway.enter

    def noting(self: Gateway, client: Any, data: bytes) -> Passage | None:
        passage = enter(self, client, data)
        if passage is not None:
            passages.append(passage)
        return passage

    monkeypatch.setattr(Gateway, "enter", noting)
    cookie = f"Cookie: {mint.V5_SECURE_COOKIE}={token(cookie=mint.V5_SECURE_COOKIE)}"
    async with (
        LocalGateway(listening(authority, upstream.url)) as gateway,
        RawClient(gateway.port, tls=authority.client()) as client,
    ):
        for number in range(1, 11):
            await client.send(request("GET", "/api/x", cookie))
            assert (await client.read_answers(number))[-1].status == 200
    assert len(passages) == 8
    assert {each.get("X-Forwarded-Proto") for each in upstream.requests} == {"https"}


async def test_client_that_reads_slowly_holds_little(
    upstream: StubUpstream, authority: Authority
) -> None:
    """And is not cut off while its last answer is still on its way."""
    size = 24 << 20

    async def large(exchange: Exchange) -> None:
        await exchange.send(b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n" % size)
        for _ in range(size >> 16):
            await exchange.send(bytes(1 << 16))

    upstream.script("/public/large", large)
    async with (
        LocalGateway(listening(authority, upstream.url)) as gateway,
        RawClient(gateway.port, tls=authority.client(), window=8192) as client,
    ):
        client.post(request("GET", "/public/large", "Connection: close"))
        await gateway.until(lambda: any(each.stalled for each in gateway.clients))
        for _ in range(50):
            await asyncio.sleep(0)
        [slow] = gateway.clients
        assert slow.transport is not None
        held = slow.transport.get_write_buffer_size()
        # What one turn reads of the upstream may come on top of the limit.
        assert held < 1 << 20
        client.read_on()
        data = await client.read_until_closed(deadline=60)
        assert len(data.partition(b"\r\n\r\n")[2]) == size
        assert not client.reset


async def test_upstream_that_reads_slowly_holds_little(authority: Authority) -> None:
    size, reads = 12 << 20, asyncio.Event()

    async def slow(exchange: Exchange) -> None:
        await reads.wait()
        body = await exchange.read_body()
        await exchange.send(b"HTTP/1.1 200 OK\r\nContent-Length: 8\r\n\r\n%08x" % len(body))

    async with StubUpstream(tls=authority.server()) as upstream:
        upstream.script("/public/slow", slow)
        config = trusting(upstream, authority)
        config["routes"][0]["limits"] = {"body": "off"}
        async with LocalGateway(config) as gateway, RawClient(gateway.port) as client:
            head = request("POST", "/public/slow", f"Content-Length: {size}")
            client.post(head + bytes(size))
            endpoint = gateway.worker._gateway.snapshot.pools["api"].endpoints[0]
            await gateway.until(lambda: any(each._writing_paused for each in endpoint._open))
            for _ in range(50):
                await asyncio.sleep(0)
            [connection] = endpoint._open
            assert connection.transport is not None
            assert connection.transport.get_write_buffer_size() < 1 << 20
            reads.set()
            [answer] = await client.read_answers(deadline=60)
    assert answer.body == b"%08x" % size


async def test_stop_ends_handshakes(upstream: StubUpstream, authority: Authority) -> None:
    hello = client_hello(authority.client())
    async with (
        LocalGateway(listening(authority, upstream.url)) as gateway,
        RawClient(gateway.port) as early,
        RawClient(gateway.port) as late,
    ):
        await early.send(hello[:50])
        await late.send(hello)
        await late.wait(lambda: late.size > 0)
        await gateway.stop()
        for client in (early, late):
            await client.read_until_closed()
        assert not gateway.worker._arrivals.tasks


async def test_drain_closes_idle_connections_and_answers_the_last_request(
    upstream: StubUpstream, authority: Authority
) -> None:
    async with (
        LocalGateway(listening(authority, upstream.url)) as gateway,
        RawClient(gateway.port, tls=authority.client()) as idle,
        RawClient(gateway.port) as silent,
    ):
        await idle.send(PUBLIC)
        await idle.read_answers()
        await gateway.until(lambda: gateway.status["connections"]["client"] == 2)
        await gateway.drain()
        await idle.read_until_closed()
        assert not idle.reset
        assert await silent.read_until_closed() == b""


async def test_admin_listener_stays_plain(upstream: StubUpstream, authority: Authority) -> None:
    async with LocalGateway(listening(authority, upstream.url)) as gateway:
        data = request("GET", "/metrics", host=f"127.0.0.1:{gateway.admin_port}")
        answer = await exchange(gateway.admin_port, data)
    assert answer.status == 200
    assert b'gatelodge_certificate_expiry_timestamp_seconds{of="listen"} 1.' in answer.body


async def test_certificate_that_cannot_be_used_is_no_start(
    upstream: StubUpstream, authority: Authority, tmp_path: Path
) -> None:
    config = listening(authority, upstream.url)
    (tmp_path / "other").mkdir()
    _, config["listen"]["tls"]["key"] = map(str, Authority(tmp_path / "other").issue("localhost"))
    with pytest.raises(OSError, match=r"listen\.tls: .* cannot be used: KEY_VALUES_MISMATCH"):
        async with LocalGateway(config):
            pass


def client_hello(context: ssl.SSLContext) -> bytes:
    """Return the first flight of a client."""
    outgoing = ssl.MemoryBIO()
    tls = context.wrap_bio(ssl.MemoryBIO(), outgoing, server_hostname="localhost")
    with pytest.raises(ssl.SSLWantReadError):
        tls.do_handshake()
    return outgoing.read()


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


async def test_reload_reads_the_client_certificate_again(
    authority: Authority, tmp_path: Path
) -> None:
    context = authority.server()
    context.verify_mode = ssl.CERT_REQUIRED
    context.load_verify_locations(authority.ca)
    (tmp_path / "stranger").mkdir()
    cert, key = Authority(tmp_path / "stranger", "stranger").issue("gateway")
    async with StubUpstream(tls=context) as upstream:
        config = trusting(upstream, authority, cert=str(cert), key=str(key))
        async with LocalGateway(config) as gateway:
            gateway.worker._certificates.stop()  # it would see that the files have changed
            assert (await gateway.ask("GET", "/public/x")).status == 502
            for new, old in zip(authority.issue("gateway"), (cert, key), strict=True):
                await asyncio.to_thread(shutil.copyfile, new, old)
            assert (await gateway.worker.reloader.reload()).problems == ()
            assert (await gateway.ask("GET", "/public/x")).status == 200


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
