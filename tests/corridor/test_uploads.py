"""Bodies on their way up: bounded, timed, asked for, and given up when nobody wants them."""

from __future__ import annotations

import pytest

from tests.support.client import RawClient
from tests.support.scripts import OK, early, silent
from tests.support.upstream import Exchange, StubUpstream
from tests.support.worker import LocalGateway, request, settings, signed_in

BOTH_LOOPS = True

CHUNKED = "Transfer-Encoding: chunked"
EXPECT = "Expect: 100-continue"


async def test_length_stays_a_length_and_chunks_stay_chunks(
    gateway: LocalGateway, upstream: StubUpstream
) -> None:
    async with RawClient(gateway.port) as client:
        await client.send(request("POST", "/public/a", "Content-Length: 20000") + b"h" * 19_997)
        await upstream.wait(lambda: len(upstream.requests) == 1)
        await client.send(b"llo")
        await client.read_answers(1)
        await client.send(request("POST", "/public/b", CHUNKED) + b"2\r\nhe\r\n")
        await upstream.wait(lambda: len(upstream.requests) == 2)
        await client.send(b"3\r\nllo\r\n0\r\n\r\n")
        await client.read_answers(2)
    sized, chunked = upstream.requests
    assert (sized.get("Content-Length"), sized.values("Transfer-Encoding")) == ("20000", [])
    assert (chunked.values("Content-Length"), chunked.get("Transfer-Encoding")) == ([], "chunked")
    assert (bytes(sized.body), bytes(chunked.body)) == (b"h" * 19_997 + b"llo", b"hello")
    assert len(upstream.connections) == 1


async def test_small_body_is_all_here_before_an_endpoint_is_asked(
    gateway: LocalGateway, upstream: StubUpstream
) -> None:
    """Else as many slow ones as there are places would keep everybody else out."""
    async with RawClient(gateway.port) as client:
        head = request("POST", "/public/a", "Content-Length: 5", "Expect: 100-continue")
        await client.send(head)
        await client.wait(lambda: client.received == b"HTTP/1.1 100 Continue\r\n\r\n")
        await client.send(b"he")
        [connection] = gateway.clients
        await gateway.until(lambda: connection._body.total_bytes == 2)
        assert upstream.connections == []
        assert (await gateway.ask("GET", "/public/b")).status == 200
        await client.send(b"llo")
        [answer] = await client.read_answers()
    assert answer.status == 200
    assert [(each.target, bytes(each.body)) for each in upstream.requests] == [
        ("/public/b", b""),
        ("/public/a", b"hello"),
    ]


async def test_upload_may_outlast_the_pools_patience(upstream: StubUpstream) -> None:
    """The connection came from the pool, where it had a deadline; that is over once it is taken.

    That it is over, a request tells that nobody answers.
    """
    upstream.script("/public/silent", silent)
    config = settings(
        upstream.url, upstream={"pool_idle": "500ms", "timeouts": {"first_byte": "700ms"}}
    )
    async with LocalGateway(config) as gateway, RawClient(gateway.port) as client:
        await client.send(request("GET", "/public/warm"))
        await client.read_answers(1)
        await client.send(request("POST", "/public/up", CHUNKED) + b"2\r\nhe\r\n")
        await upstream.wait(lambda: len(upstream.requests) == 2)
        assert len(upstream.connections) == 1
        assert (await gateway.ask("GET", "/public/silent")).status == 504
        await client.send(b"3\r\nllo\r\n0\r\n\r\n")
        _, answer = await client.read_answers(2)
    assert answer.status == 200
    assert upstream.requests[1].body == b"hello"


async def test_answer_before_the_bodys_end_gives_up_both_connections(
    gateway: LocalGateway, upstream: StubUpstream
) -> None:
    upstream.script("/public/a", early)
    async with RawClient(gateway.port) as client:
        await client.send(request("POST", "/public/a", CHUNKED) + b"2\r\nhe\r\n")
        [answer] = await client.read_answers()
        assert (answer.status, answer.body) == (200, b"ok")
        assert answer.get("Connection") == "close"
        await upstream.wait(lambda: upstream.connections[0].ended.is_set())
        await client.send(b"2\r\nhe\r\n")
        await client.wait(lambda: client.eof)
    assert gateway.endpoints[0]["open"] == 0


async def test_connection_that_waits_for_the_rest_of_a_body_is_closed(
    gateway: LocalGateway, upstream: StubUpstream, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The client has its answer; if it neither leaves nor ends its body, we leave."""
    monkeypatch.setattr("proxy.gateway.listener.LINGER", 0.2)
    upstream.script("/public/a", early)
    async with RawClient(gateway.port) as client:
        await client.send(request("POST", "/public/a", CHUNKED) + b"2\r\nhe\r\n")
        await client.read_answers()
        await gateway.until(lambda: gateway.status["connections"]["client"] == 0)


@pytest.mark.parametrize("path", ["/api/x", "/nowhere"])
async def test_refused_upload_is_not_waited_for(
    gateway: LocalGateway,
    upstream: StubUpstream,
    path: str,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("proxy.gateway.listener.LINGER", 0.2)
    async with RawClient(gateway.port) as client:
        await client.send(request("POST", path, "Content-Length: 1000000") + b"x" * 1000)
        [answer] = await client.read_answers()
        assert answer.get("Connection") == "close"
        await client.send(b"x" * 100_000)
        await gateway.until(lambda: gateway.status["connections"]["client"] == 0)
    assert upstream.connections == []


async def test_client_that_still_sends_gets_the_whole_answer(
    gateway: LocalGateway, upstream: StubUpstream
) -> None:
    """Closing with unread bytes would be a reset, which takes the answer from the client."""
    async with RawClient(gateway.port) as client:
        await client.send(request("POST", "/api/x", "Content-Length: 1000000") + b"x" * 400_000)
        await client.read_until_closed()
        await client.send(b"x" * 600_000)
        [answer] = client.answers().all
    assert answer.status == 401
    assert answer.complete
    assert not client.reset
    assert upstream.connections == []


async def test_declared_size_over_the_limit_is_413_without_the_upstream(
    upstream: StubUpstream,
) -> None:
    async with LocalGateway(settings(upstream.url, limits={"body": "1KiB"})) as gateway:
        most = await gateway.ask("POST", "/public/a", body=b"x" * 1024)
        more = await gateway.ask("POST", "/public/a", "Content-Length: 1025")
    assert (most.status, more.status) == (200, 413)
    assert more.get("Connection") == "close"
    assert len(upstream.requests) == 1


@pytest.mark.parametrize("pieces", [1, 4], ids=["at-once", "in-pieces"])
async def test_counted_size_over_the_limit_is_413(upstream: StubUpstream, pieces: int) -> None:
    async with (
        LocalGateway(settings(upstream.url, limits={"body": "1KiB"})) as gateway,
        RawClient(gateway.port) as client,
    ):
        body = b"200\r\n" + b"x" * 512 + b"\r\n"
        data = request("POST", "/public/a", CHUNKED) + body * 2 + b"1\r\nx\r\n0\r\n\r\n"
        step = -(-len(data) // pieces)
        for start in range(0, len(data), step):
            await client.send(data[start : start + step])
            if start + step < len(data):
                await upstream.wait(lambda: len(upstream.requests) == 1)
        [answer] = await client.read_answers()
        assert (answer.status, answer.json()["code"]) == (413, "body_too_large")
        assert answer.get("Connection") == "close"
        await gateway.until(lambda: gateway.endpoints[0]["open"] == 0)
    assert not any(each.complete for each in upstream.requests)


async def test_limit_of_a_route_counts(upstream: StubUpstream) -> None:
    routes = [
        {"path": "/big", "upstream": "api", "auth": "public", "limits": {"body": "2KiB"}},
        {"path": "/any", "upstream": "api", "auth": "public", "limits": {"body": "off"}},
    ]
    config = settings(upstream.url, limits={"body": "1KiB"}, routes=routes)
    async with LocalGateway(config) as gateway:
        statuses = [
            (await gateway.ask("POST", path, body=b"x" * size)).status
            for path, size in (("/big", 2048), ("/big", 2049), ("/any", 20_000_000))
        ]
    assert statuses == [200, 413, 200]


async def test_continue_is_sent_by_us_when_the_body_is_wanted(
    gateway: LocalGateway, upstream: StubUpstream
) -> None:
    async with RawClient(gateway.port) as client:
        await client.send(request("POST", "/api/a", EXPECT, "Content-Length: 5", signed_in()))
        await client.wait(lambda: bool(client.answers().all))
        assert client.received == b"HTTP/1.1 100 Continue\r\n\r\n"
        await client.send(b"hello")
        [answer] = await client.read_answers()
        await client.send(request("GET", "/api/b", signed_in()))
        assert [each.status for each in await client.read_answers(2)] == [200, 200]
    assert answer.json()["body"] == "hello"
    assert upstream.requests[0].values("Expect") == []


async def test_continue_is_not_sent_to_who_may_not_send(
    gateway: LocalGateway, upstream: StubUpstream
) -> None:
    async with RawClient(gateway.port) as client:
        await client.send(request("POST", "/api/a", EXPECT, "Content-Length: 5"))
        await client.read_answers()
        [answer] = client.answers().all
    assert (answer.status, answer.get("Connection")) == (401, "close")
    assert upstream.connections == []


async def test_continue_is_not_sent_for_a_body_that_is_there(gateway: LocalGateway) -> None:
    async with RawClient(gateway.port) as client:
        await client.send(request("POST", "/public/a", EXPECT, body=b"hello"))
        await client.read_answers()
        assert [each.status for each in client.answers().all] == [200]


async def test_continue_is_not_sent_where_there_is_no_body(gateway: LocalGateway) -> None:
    async with RawClient(gateway.port) as client:
        await client.send(request("GET", "/public/a", EXPECT))
        await client.read_answers()
        assert [each.status for each in client.answers().all] == [200]


async def test_continue_is_never_sent_to_http_1_0(gateway: LocalGateway) -> None:
    head = f"POST /public/a HTTP/1.0\r\nHost: a\r\n{EXPECT}\r\nContent-Length: 5\r\n\r\n"
    async with RawClient(gateway.port) as client:
        await client.send(head.encode())
        await client.send(b"hello")
        await client.read_answers()
        assert [each.status for each in client.answers().all] == [200]


async def test_upstreams_own_continue_is_swallowed(
    gateway: LocalGateway, upstream: StubUpstream
) -> None:
    async def eager(exchange: Exchange) -> None:
        await exchange.send(b"HTTP/1.1 100 Continue\r\n\r\n")
        await exchange.read_body()
        await exchange.send(OK)

    upstream.script("/public/a", eager)
    answer = await gateway.ask("POST", "/public/a", body=b"x")
    assert answer.status == 200


@pytest.mark.parametrize("value", ["100-continues", "200-ok", "100-continue, x", "x=y"])
async def test_other_expectations_are_417(
    gateway: LocalGateway, upstream: StubUpstream, value: str
) -> None:
    answer = await gateway.ask("POST", "/public/a", f"Expect: {value}", body=b"x")
    assert (answer.status, answer.json()["code"]) == (417, "expectation_failed")
    assert upstream.connections == []


@pytest.mark.parametrize("framing", [CHUNKED, "Content-Length: 100"])
async def test_body_that_stands_still_is_408(upstream: StubUpstream, framing: str) -> None:
    config = settings(upstream.url, limits={"body_idle": "100ms"})
    async with LocalGateway(config) as gateway, RawClient(gateway.port) as client:
        await client.send(request("POST", "/public/a", framing) + b"2\r\nhe\r\n")
        [answer] = await client.read_answers()
        assert (answer.status, answer.json()["code"]) == (408, "request_timeout")
        assert answer.get("Connection") == "close"
        await gateway.until(lambda: gateway.endpoints[0]["open"] == 0)


@pytest.mark.parametrize(
    "bad", [b"zz\r\n", b"2\r\nhello\r\n", b"-1\r\n", b"2\nhe\r\n", b"fffffffffffffffff\r\n"]
)
async def test_broken_chunks_are_400_and_end_the_upload(
    gateway: LocalGateway, upstream: StubUpstream, bad: bytes
) -> None:
    async with RawClient(gateway.port) as client:
        await client.send(request("POST", "/public/a", CHUNKED) + b"2\r\nhe\r\n")
        await upstream.wait(lambda: len(upstream.requests) == 1)
        await client.send(bad)
        await client.read_until_closed()
        [answer] = client.answers().all
    assert (answer.status, answer.json()["code"]) == (400, "bad_request")
    await upstream.wait(lambda: upstream.connections[0].ended.is_set())
    assert not upstream.requests[0].complete


@pytest.mark.parametrize("last", [1, 300_000], ids=["short", "long"])
async def test_end_of_a_body_is_no_beginning_of_a_head(upstream: StubUpstream, last: int) -> None:
    """However much of a body comes in its last packet, nothing but its answer follows."""
    first = b"x" * 20_000
    config = settings(upstream.url, limits={"body": "off", "idle": "300ms"})
    async with LocalGateway(config) as gateway, RawClient(gateway.port) as client:
        await client.send(request("POST", "/public/a", f"Content-Length: {last + 20_000}") + first)
        await upstream.wait(lambda: len(upstream.requests) == 1)
        await client.send(b"x" * last)
        await client.read_answers()
        await client.read_until_closed()  # after limits.idle, without a word
        assert [each.status for each in client.answers().all] == [200]
        assert client.answers().rest == b""


async def test_unread_body_does_not_end_the_next_request(
    gateway: LocalGateway, upstream: StubUpstream
) -> None:
    """The gateway refuses without reading a body that came whole; what follows is a request."""
    async with RawClient(gateway.port) as client:
        await client.send(
            request("POST", "/api/a", body=b"GET /public/smuggled HTTP/1.1\r\nHost: a\r\n\r\n")
            + request("GET", "/public/b")
        )
        first, second = await client.read_answers(2)
    assert (first.status, second.status) == (401, 200)
    assert [each.target for each in upstream.requests] == ["/public/b"]
