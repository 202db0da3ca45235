"""What passes, passes as it is: targets, bodies, and headers with their order, case and repeats."""

from __future__ import annotations

import hashlib
import time
from email.utils import parsedate_to_datetime

import pytest
from hypothesis import HealthCheck, given
from hypothesis import settings as hypothesis_settings
from hypothesis import strategies as st

from tests.support.answers import Answer
from tests.support.client import RawClient, exchange
from tests.support.upstream import StubUpstream
from tests.support.worker import LocalGateway, request, settings, signed_in

OURS = {
    b"x-user-id",
    b"x-forwarded-for",
    b"x-forwarded-proto",
    b"x-forwarded-host",
    b"x-forwarded-port",
    b"x-request-id",
    b"traceparent",
    b"transfer-encoding",
    b"content-length",
}


@pytest.mark.parametrize(
    "target",
    [
        "/public/a",
        "/public/a?",
        "/public/a?b=c&b=%20+%2F?d=//..//",
        "/public/%41%e4%C3%b6/a%20b",
        "/public/a//b/",
        "/public/a;p=1/b",
        "/public/!$&'()*+,=:@-._~[]{}|^",
        "/public/a?x={}|^[]\\`'",
        "/public/",
    ],
)
async def test_target_arrives_byte_for_byte(
    gateway: LocalGateway, upstream: StubUpstream, target: str
) -> None:
    assert (await gateway.ask("GET", target)).status == 200
    assert upstream.requests[0].target == target


async def test_absolute_form_becomes_origin_form(
    gateway: LocalGateway, upstream: StubUpstream
) -> None:
    for target in ("http://api.example.com/public/a?b", "http://API.example.com:80/public/a?b"):
        assert (await gateway.ask("GET", target)).status == 200
    assert [each.target for each in upstream.requests] == ["/public/a?b", "/public/a?b"]


async def test_request_headers_keep_order_case_repeats_and_bytes(
    gateway: LocalGateway, upstream: StubUpstream
) -> None:
    lines = [
        "accept: a",
        'X-Odd: \xff\xfe ; "q"\tz',
        "ACCEPT: b",
        "X-Empty:",
        "Cookie: b=2",
        "x-odd: again",
        "Via: 1.1 other",
        "Range: bytes=0-1",
        "cookie: c=3",
    ]
    await gateway.ask("GET", "/public/a", *lines)
    sent = [(name, value.strip()) for name, _, value in (line.partition(":") for line in lines)]
    arrived = [
        (name.decode(), value.decode("latin-1")) for name, value in upstream.requests[0].headers
    ]
    assert [each for each in arrived if each[0].lower().encode() not in OURS | {b"host"}] == sent
    assert arrived[0] == ("Host", "api.example.com")


async def test_answer_headers_keep_order_case_repeats_and_bytes(
    gateway: LocalGateway, upstream: StubUpstream
) -> None:
    fields = [
        (b"Set-Cookie", b"a=1; Path=/"),
        (b"set-cookie", b"b=\xff; Expires=Wed, 21 Oct 2015 07:28:00 GMT"),
        (b"X-B", b"2"),
        (b"x-a", b""),
        (b"Server", b"theirs/1"),
        (b"X-B", b"1"),
        (b"Set-Cookie", b"a=3"),
        (b"Link", b"</a>; rel=preload"),
        (b"WWW-Authenticate", b"Basic"),
        (b"Content-Length", b"0"),
    ]
    head = b"".join(b"%b: %b\r\n" % field for field in fields)
    upstream.script("/public/a", b"HTTP/1.1 401 Whatever\r\n" + head + b"\r\n")
    answer = await gateway.ask("GET", "/public/a")
    assert answer.status == 401
    assert answer.headers[: len(fields)] == fields
    assert {name for name, _ in answer.headers[len(fields) :]} == {
        b"Vary",
        b"X-Request-Id",
        b"Date",
    }


async def test_hop_by_hop_fields_stay_on_their_side(
    gateway: LocalGateway, upstream: StubUpstream
) -> None:
    upstream.script(
        "/public/a",
        b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\nConnection: X-Mine, keep-alive\r\nX-Mine: 1\r\n"
        b"Keep-Alive: timeout=5\r\nProxy-Connection: a\r\nTE: b\r\nTrailer: c\r\nUpgrade: h2c\r\n"
        b"X-User-Id: echoed\r\nX-Request-Id: theirs\r\n\r\n",
    )
    lines = (
        "Connection: keep-alive, X-Hop",
        "X-Hop: 1",
        "Keep-Alive: 5",
        "TE: trailers",
        "Trailer: X",
        "Proxy-Authorization: Basic YTpi",
        "Proxy-Connection: keep-alive",
        "Proxy: http://evil.example",
        "X-HTTP-Method-Override: DELETE",
        "X-Original-URL: /admin",
        "X-Middleware-Subrequest: middleware",
        "X_Under_Score: 1",
    )
    answer = await gateway.ask("GET", "/public/a", *lines)
    names = {name.lower() for name, _ in upstream.requests[0].headers}
    assert names == {b"host"} | OURS - {b"x-user-id", b"transfer-encoding", b"content-length"}
    names = {name.lower() for name, _ in answer.headers}
    assert names == {b"content-length", b"vary", b"x-request-id", b"date"}
    assert answer.get("X-Request-Id") == upstream.requests[0].get("X-Request-Id")


async def test_content_length_that_is_named_in_connection_still_frames_the_answer(
    gateway: LocalGateway, upstream: StubUpstream
) -> None:
    upstream.script(
        "/public/a",
        b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\nConnection: content-length\r\n\r\nhello",
    )
    async with RawClient(gateway.port) as client:
        await client.send(request("GET", "/public/a"))
        [first] = await client.read_answers(1)
        await client.send(request("GET", "/public/b"))
        answers = await client.read_answers(2)
    assert first.body == b"hello"
    assert [each.status for each in answers] == [200, 200]


@pytest.mark.parametrize(
    "status", [200, 201, 203, 206, 226, 300, 302, 404, 418, 429, 451, 500, 599]
)
async def test_status_passes(gateway: LocalGateway, upstream: StubUpstream, status: int) -> None:
    upstream.script("/public/a", b"HTTP/1.1 %d Odd\r\nContent-Length: 2\r\n\r\nhi" % status)
    answer = await gateway.ask("GET", "/public/a")
    assert (answer.status, answer.body) == (status, b"hi")


@pytest.mark.parametrize(
    ("status", "method"), [(204, "GET"), (304, "GET"), (200, "HEAD"), (404, "HEAD")]
)
async def test_answer_without_a_body_leaves_the_connection_usable(
    gateway: LocalGateway, upstream: StubUpstream, status: int, method: str
) -> None:
    length = b"" if status == 204 else b"Content-Length: 9\r\n"
    upstream.script("/public/a", b"HTTP/1.1 %d X\r\nETag: a\r\n" % status + length + b"\r\n")
    async with RawClient(gateway.port) as client:
        await client.send(request(method, "/public/a") + request("GET", "/public/b"))
        first, second = await client.read_answers(2, methods=(method, "GET"))
    assert (first.status, first.body, second.status) == (status, b"", 200)
    assert first.get("Content-Length") == (None if status == 204 else "9")
    assert len(upstream.connections) == 1


async def test_length_of_a_204_is_not_passed_on(
    gateway: LocalGateway, upstream: StubUpstream
) -> None:
    """RFC 9110 section 8.6: a 204 has none; a client may wait for the body that it announces."""
    upstream.script("/public/a", b"HTTP/1.1 204 X\r\nContent-Length: 9\r\n\r\n")
    answer = await gateway.ask("GET", "/public/a")
    assert answer.values("Content-Length") == []


@pytest.mark.parametrize("method", ["GET", "POST", "PUT", "PATCH", "DELETE", "QUERY", "PROPFIND"])
async def test_body_passes_with_any_method(
    gateway: LocalGateway, upstream: StubUpstream, method: str
) -> None:
    body = bytes(range(256)) * 16
    answer = await gateway.ask(method, "/public/a", body=body)
    assert answer.json()["sha256"] == hashlib.sha256(body).hexdigest()
    [arrived] = upstream.requests
    assert (arrived.method, arrived.values("Content-Length")) == (method, ["4096"])
    assert arrived.values("Transfer-Encoding") == []


@pytest.mark.parametrize("framing", ["", "Content-Length: 0\r\n"], ids=["no-length", "length-zero"])
async def test_empty_body_keeps_its_framing(
    gateway: LocalGateway, upstream: StubUpstream, framing: str
) -> None:
    data = f"POST /public/a HTTP/1.1\r\nHost: a\r\n{framing}\r\n".encode()
    assert (await exchange(gateway.port, data)).status == 200
    assert upstream.requests[0].values("Content-Length") == (["0"] if framing else [])


CHUNKS = st.lists(st.binary(min_size=1, max_size=300), max_size=6)


@given(chunks=CHUNKS, cut=st.integers(1, 50), data=st.data())
@hypothesis_settings(max_examples=40, suppress_health_check=list(HealthCheck))
async def test_body_passes_in_any_pieces(
    gateway: LocalGateway,
    upstream: StubUpstream,
    chunks: list[bytes],
    cut: int,
    data: st.DataObject,
) -> None:
    """However chunks and packets are cut, both ways, the same body arrives."""
    body = b"".join(chunks)
    encoded = b"".join(b"%x\r\n%b\r\n" % (len(c), c) for c in chunks) + b"0\r\n\r\n"
    chunked = data.draw(st.booleans())
    answer_body = (
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n" + encoded
        if data.draw(st.booleans())
        else b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n" % len(body) + body
    )
    upstream.script("/public/a", answer_body)
    framing = "Transfer-Encoding: chunked" if chunked else f"Content-Length: {len(body)}"
    sent = request("POST", "/public/a", framing) + (encoded if chunked else body)
    upstream.forget()
    async with RawClient(gateway.port) as client:
        for start in range(0, len(sent), cut * 40):
            await client.send(sent[start : start + cut * 40])
        [answer] = await client.read_answers(1)
    assert answer.body == body
    assert bytes(upstream.requests[0].body) == body


async def test_rewritten_path_says_what_was_cut(upstream: StubUpstream) -> None:
    routes = [
        {"path": "/svc/**", "upstream": "api", "auth": "public", "strip_prefix": "/svc"},
        {"path": "/rw/**", "upstream": "api", "auth": "public", "rewrite": "/new/**"},
    ]
    async with LocalGateway(settings(upstream.url, routes=routes)) as gateway:
        for target in ("/svc/a%20b?c=/svc", "/svc", "/rw/x/?y"):
            assert (await gateway.ask("GET", target)).status == 200
        refused = await gateway.ask("GET", "/svc//evil.example/x")
    assert [each.target for each in upstream.requests] == ["/a%20b?c=/svc", "/", "/new/x/?y"]
    assert [each.get("X-Forwarded-Prefix") for each in upstream.requests] == ["/svc", "/svc", None]
    assert refused.status == 400


async def test_trace_goes_on(gateway: LocalGateway, upstream: StubUpstream) -> None:
    trace = "4bf92f3577b34da6a3ce929d0e0e4736"
    await gateway.ask("GET", "/api/x", signed_in(), f"traceparent: 00-{trace}-00f067aa0ba902b7-01")
    await gateway.ask("GET", "/api/x", signed_in(), "traceparent: 00-nonsense")
    sent = [str(each.get("traceparent")) for each in upstream.requests]
    assert sent[0].startswith(f"00-{trace}-")
    assert not sent[0].endswith("00f067aa0ba902b7-01")
    assert sent[0].endswith("-01")
    assert not sent[1].startswith(f"00-{trace}")
    assert (await gateway.logged(lambda line: line["trace_id"] == trace))["path"] == "/api/x"


async def test_an_answer_without_a_date_gets_that_of_the_moment(
    gateway: LocalGateway, upstream: StubUpstream
) -> None:
    """In the corridor and in the lane, which the third and later ones take."""
    upstream.script("/public/x", b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n")
    before = time.time()
    answers: list[Answer] = []
    async with RawClient(gateway.port) as client:
        for number in range(1, 6):
            await client.send(request("GET", "/public/x"))
            answers = await client.read_answers(number)
    after = time.time()
    assert len(answers) == 5
    for answer in answers:
        [date] = answer.values("Date")
        assert before - 2 < parsedate_to_datetime(date).timestamp() < after + 1


async def test_the_date_of_an_answer_is_its_upstream_s(
    gateway: LocalGateway, upstream: StubUpstream
) -> None:
    then = "Tue, 15 Nov 1994 08:12:31 GMT"
    head = f"HTTP/1.1 200 OK\r\nContent-Length: 0\r\ndate: {then}\r\n\r\n"
    upstream.script("/public/x", head.encode())
    answers: list[Answer] = []
    async with RawClient(gateway.port) as client:
        for number in range(1, 6):
            await client.send(request("GET", "/public/x"))
            answers = await client.read_answers(number)
    assert [answer.values("Date") for answer in answers] == [[then]] * 5
