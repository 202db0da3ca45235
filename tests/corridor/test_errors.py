"""Each error of our own: problem details that a page of the app can read, and nothing else."""

from __future__ import annotations

import re
import socket
from collections.abc import Callable
from contextlib import suppress
from typing import Any

import pytest

from proxy import errors
from tests.support.answers import Answer
from tests.support.client import RawClient, exchange
from tests.support.upstream import Exchange, StubUpstream
from tests.support.worker import COOKIE, ORIGIN, LocalGateway, request, settings, signed_in, token

CLASSES = {
    each.code: each
    for each in vars(errors).values()
    if isinstance(each, type) and issubclass(each, errors.ProxyError) and hasattr(each, "code")
}
FROM_APP = f"Origin: {ORIGIN}"
SECRET_WORD = "Sw0rdfish"


def asking(method: str, target: str, *lines: str, body: bytes | None = None) -> Callable[[], bytes]:
    return lambda: request(method, target, FROM_APP, *lines, body=body)


JUDGED: dict[str, tuple[str, Callable[[], bytes]]] = {
    "two of a header": (
        "bad_request",
        lambda: request("POST", "/api/x", FROM_APP, signed_in(), *["Sec-Fetch-Site: none"] * 2),
    ),
    "bad escape": ("bad_target", asking("GET", f"/api/{SECRET_WORD}%zz")),
    "fragment": ("bad_target", asking("GET", f"/api/x#{SECRET_WORD}")),
    "another host": ("bad_target", asking("GET", f"http://{SECRET_WORD}.example/api/x")),
    "dot segments": ("ambiguous_path", asking("GET", f"/public/../api/{SECRET_WORD}")),
    "folded path": ("ambiguous_path", asking("GET", f"/public/..;/{SECRET_WORD}")),
    "cookie flood": (
        "bad_cookie",
        asking("GET", "/api/x", f"Cookie: {COOKIE}={SECRET_WORD}; a={'x' * 300_000}"),
    ),
    "no session": ("session_missing", asking("GET", "/api/x")),
    "bad session": ("session_invalid", asking("GET", "/api/x", f"Cookie: {COOKIE}={SECRET_WORD}")),
    "old session": (
        "session_expired",
        lambda: request("GET", "/api/x", FROM_APP, f"Cookie: {COOKIE}={token(ttl=-60)}"),
    ),
    "two sessions": (
        "session_ambiguous",
        asking("GET", "/api/x", f"Cookie: {COOKIE}=a; {COOKIE}={SECRET_WORD}"),
    ),
    "no role": ("forbidden", lambda: request("GET", "/admin/x", FROM_APP, signed_in())),
    "no route": ("no_route", asking("GET", f"/{SECRET_WORD}")),
    "method not offered": ("method_refused", asking("DELETE", "/only-get")),
    "body declared": ("body_too_large", asking("POST", "/public/x", "Content-Length: 2000000")),
    "target too long": ("target_too_long", asking("GET", f"/{SECRET_WORD}{'x' * 9000}")),
    "head too large": (
        "head_too_large",
        asking("GET", "/api/x", *[f"X-{i}: {SECRET_WORD}{'x' * 4000}" for i in range(20)]),
    ),
    "too many fields": ("head_too_large", asking("GET", "/api/x", *["A: b"] * 300)),
    "expectation": ("expectation_failed", asking("POST", "/public/x", f"Expect: {SECRET_WORD}")),
    "trace": ("method_unknown", asking("TRACE", "/public/x")),
    "coding": ("coding_unknown", asking("POST", "/public/x", "Transfer-Encoding: gzip, chunked")),
}
"""Requests whose head can be read: every answer has the CORS headers of a listed origin."""

UNREADABLE: dict[str, tuple[str, bytes]] = {
    "no http": ("method_unknown", f"{SECRET_WORD}\r\n\r\n".encode()),
    "tls": ("bad_request", b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03" + b"\x00" * 64),
    "field name": (
        "bad_request",
        f"GET / HTTP/1.1\r\nHost: a\r\nA {SECRET_WORD}: b\r\n\r\n".encode(),
    ),
    "field value": ("bad_request", b"GET / HTTP/1.1\r\nHost: a\r\nA: b\x00c\r\n\r\n"),
    "bare lf": ("bad_request", b"GET / HTTP/1.1\nHost: a\n\n"),
    "folded": ("bad_request", b"GET / HTTP/1.1\r\nHost: a\r\nA: b\r\n c\r\n\r\n"),
    "two lengths": (
        "bad_request",
        b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 1\r\nContent-Length: 2\r\n\r\nxy",
    ),
    "length and chunks": (
        "bad_request",
        b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 5\r\nTransfer-Encoding: chunked\r\n\r\n"
        b"0\r\n\r\n",
    ),
    "two hosts": ("bad_request", b"GET / HTTP/1.1\r\nHost: a\r\nHost: b\r\n\r\n"),
    "no host": ("bad_request", b"GET / HTTP/1.1\r\n\r\n"),
    "version": ("bad_request", b"GET / HTTP/1.2\r\nHost: a\r\n\r\n"),
    "not ascii": (
        "bad_target",
        f"GET /\xff{SECRET_WORD} HTTP/1.1\r\nHost: a\r\n\r\n".encode("latin-1"),
    ),
    "http/2": ("bad_request", b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"),
    "method": ("method_unknown", f"{SECRET_WORD} / HTTP/1.1\r\nHost: a\r\n\r\n".encode()),
    "target without end": ("target_too_long", b"GET /" + b"x" * 300_000),
    "target beyond all": (
        "target_too_long",
        b"GET /" + b"x" * 300_000 + b" HTTP/1.1\r\nHost: a\r\n\r\n",
    ),
    "head without end": ("head_too_large", b"GET / HTTP/1.1\r\nHost: a\r\n" + b"A: b\r\n" * 50_000),
}


def check_problem(answer: Answer, code: str) -> None:
    """Assert that `answer` is the whole of the error `code` and nothing more."""
    error = CLASSES[code]
    problem = answer.json()
    assert problem == {
        "type": f"urn:gatelodge:error:{code}",
        "title": error.title,
        "status": error.status,
        "detail": error.detail,
        "code": code,
        "request_id": answer.get("X-Request-Id"),
    }
    assert answer.status == error.status
    assert re.fullmatch("[0-9a-f]{32}", problem["request_id"])
    assert answer.get("Content-Type") == "application/problem+json"
    assert answer.get("Cache-Control") == "no-store"
    assert answer.get("Retry-After") == (str(error.retry_after) if error.retry_after else None)
    assert answer.values("Server") == []
    said = b"\r\n".join([*(name + b": " + value for name, value in answer.headers), answer.body])
    assert SECRET_WORD.encode() not in said
    assert b"Traceback" not in said


@pytest.fixture
def routes() -> list[dict[str, Any]]:
    base: list[dict[str, Any]] = settings()["routes"]
    return [*base, {"path": "/only-get", "methods": ["GET", "PUT"], "upstream": "api"}]


@pytest.mark.parametrize(("code", "make"), JUDGED.values(), ids=JUDGED)
async def test_error_is_a_problem_that_the_page_can_read(
    upstream: StubUpstream,
    routes: list[dict[str, Any]],
    code: str,
    make: Callable[[], bytes],
) -> None:
    limits = {"body": "1MiB", "head": "512KiB" if code in ("bad_cookie",) else "64KiB"}
    config = settings(upstream.url, limits=limits, routes=routes)
    async with LocalGateway(config) as gateway:
        answer = await exchange(gateway.port, make())
        line = await gateway.logged()
    check_problem(answer, code)
    assert answer.get("Access-Control-Allow-Origin") == ORIGIN
    assert answer.get("Access-Control-Allow-Credentials") == "true"
    assert "X-Request-Id" in str(answer.get("Access-Control-Expose-Headers"))
    assert answer.get("Vary") == "Origin"
    assert (line["status"], line["code"]) == (answer.status, code)
    assert line["request_id"] == answer.get("X-Request-Id")
    assert upstream.connections == []


@pytest.mark.parametrize(("code", "data"), UNREADABLE.values(), ids=UNREADABLE)
async def test_what_is_no_request_is_answered_and_the_connection_closed(
    upstream: StubUpstream, code: str, data: bytes
) -> None:
    async with LocalGateway(settings(upstream.url)) as gateway, RawClient(gateway.port) as client:
        await client.send(data)
        await client.wait(lambda: bool(client.answers().final))
        client.half_close()
        await client.read_until_closed()
        [answer] = client.answers().all
        line = await gateway.logged()
    check_problem(answer, code)
    assert answer.get("Connection") == "close"
    assert (line["status"], line["code"], line["path"]) == (answer.status, code, "")
    assert SECRET_WORD not in gateway.log_text()
    assert upstream.connections == []


@pytest.mark.parametrize(
    ("lines", "error"),
    [
        pytest.param((), None, id="missing"),
        pytest.param((f"Cookie: {COOKIE}=x",), errors.SessionInvalid, id="invalid"),
        pytest.param((f"Cookie: {COOKIE}={token(ttl=-60)}",), errors.SessionExpired, id="expired"),
    ],
)
async def test_401_carries_the_challenge(
    gateway: LocalGateway, lines: tuple[str, ...], error: type[errors.Unauthorized] | None
) -> None:
    answer = await gateway.ask("GET", "/api/x", *lines)
    challenge = 'Bearer realm="gatelodge"'
    if error is not None:
        challenge += f', error="invalid_token", error_description="{error.detail}"'
    assert answer.get("WWW-Authenticate") == challenge


async def test_405_says_what_is_offered(
    upstream: StubUpstream, routes: list[dict[str, Any]]
) -> None:
    async with LocalGateway(settings(upstream.url, routes=routes)) as gateway:
        answer = await gateway.ask("DELETE", "/only-get")
    assert answer.get("Allow") == "GET, HEAD, PUT"


@pytest.mark.parametrize(
    ("data", "head"),
    [
        pytest.param(request("HEAD", "/api/x"), True, id="401"),
        pytest.param(request("HEAD", "/nowhere"), True, id="404"),
        pytest.param(request("HEAD", "/api//"), True, id="400"),
    ],
)
async def test_head_gets_no_body(gateway: LocalGateway, data: bytes, head: bool) -> None:
    async with RawClient(gateway.port) as client:
        await client.send(data + request("GET", "/public/x", "Connection: close"))
        await client.read_until_closed()
        first, second = client.answers(("HEAD" if head else "GET",)).all
    assert (first.body, second.status) == (b"", 200)
    assert int(str(first.get("Content-Length"))) > 0


@pytest.mark.parametrize("host", ["", "a b", "a/b", "a@b", "-:x", "[::1", "a:99999", "a,b"])
async def test_bad_host_is_refused(
    gateway: LocalGateway, upstream: StubUpstream, host: str
) -> None:
    data = f"GET /public/x HTTP/1.1\r\nHost: {host}\r\n{FROM_APP}\r\n\r\n".encode()
    answer = await exchange(gateway.port, data)
    check_problem(answer, "bad_host")
    assert answer.get("Access-Control-Allow-Origin") == ORIGIN
    assert upstream.connections == []


async def test_http_1_0_without_host_is_refused(gateway: LocalGateway) -> None:
    check_problem(await exchange(gateway.port, b"GET /public/x HTTP/1.0\r\n\r\n"), "bad_host")


async def test_connect_opens_no_tunnel(gateway: LocalGateway, upstream: StubUpstream) -> None:
    async with RawClient(gateway.port) as client:
        await client.send(b"CONNECT a.example:443 HTTP/1.1\r\nHost: a.example:443\r\n\r\n")
        await client.send(request("GET", "/public/x"))
        await client.read_until_closed()
        [answer] = client.answers().all
    check_problem(answer, "method_unknown")
    assert upstream.connections == []


async def test_head_that_does_not_end_in_time_is_408(upstream: StubUpstream) -> None:
    config = settings(upstream.url, limits={"header_timeout": "100ms", "idle": "1m"})
    async with LocalGateway(config) as gateway, RawClient(gateway.port) as client:
        await client.send(b"GET /public/x HT")
        await client.wait(lambda: bool(client.answers().final))
        [answer] = client.answers().all
    check_problem(answer, "request_timeout")
    assert answer.get("Connection") == "close"


@pytest.mark.parametrize(
    "start", [b"\r\n", b"\r\n\r\n", b"GET /", b"GET / HTTP/1.1\r\nHost: a\r\n"]
)
async def test_head_that_drips_is_408_all_the_same(upstream: StubUpstream, start: bytes) -> None:
    config = settings(upstream.url, limits={"header_timeout": "300ms", "idle": "1m"})
    async with LocalGateway(config) as gateway, RawClient(gateway.port) as client:
        await client.send(start)
        for _ in range(400):  # a piece now and then: the deadline is that of the whole head
            await client.send(b"A" if start.strip() else b"\r\n")
            with suppress(TimeoutError):
                await client.wait(lambda: bool(client.received), deadline=0.02)
                break
        [answer] = client.answers().all
    check_problem(answer, "request_timeout")


async def test_unreachable_upstream_is_502_with_cors() -> None:
    with socket.socket() as nobody:
        nobody.bind(("127.0.0.1", 0))
        url = f"http://127.0.0.1:{nobody.getsockname()[1]}"
        async with LocalGateway(settings(url)) as gateway:
            answer = await gateway.ask("GET", "/public/x", FROM_APP)
    check_problem(answer, "upstream_unreachable")
    assert answer.get("Access-Control-Allow-Origin") == ORIGIN


async def test_connections_beyond_the_limit_are_told_so(upstream: StubUpstream) -> None:
    config = settings(upstream.url, limits={"connections": 1})
    async with LocalGateway(config) as gateway, RawClient(gateway.port) as first:
        await first.send(request("GET", "/public/x"))
        await first.read_answers()
        async with RawClient(gateway.port) as second:
            await second.send(request("GET", "/public/x"))
            await second.wait(lambda: bool(second.answers().final))
            [answer] = second.answers().all
        check_problem(answer, "overloaded")
        assert answer.get("Connection") == "close"
        await gateway.until(lambda: gateway.status["connections"]["client"] == 1)
        await first.send(request("GET", "/public/y"))
        assert [each.status for each in await first.read_answers(2)] == [200, 200]


async def test_fault_of_our_own_is_500_and_says_nothing(
    upstream: StubUpstream, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def broken(*_: object) -> None:
        raise RuntimeError(SECRET_WORD)

    monkeypatch.setattr("proxy.gateway.handler.forward", broken)
    async with LocalGateway(settings(upstream.url), expect_errors=True) as gateway:
        answer = await gateway.ask("GET", "/public/x", FROM_APP)
    check_problem(answer, "internal")
    assert answer.get("Connection") == "close"
    assert answer.get("Access-Control-Allow-Origin") == ORIGIN


async def test_error_after_the_answer_has_begun_resets_the_connection(
    gateway: LocalGateway, upstream: StubUpstream
) -> None:
    async def cut(exchange: Exchange) -> None:
        await exchange.send(b"HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\nhello")
        exchange.close()

    upstream.script("/public/x", cut)
    async with RawClient(gateway.port) as client:
        await client.send(request("GET", "/public/x"))
        data = await client.read_until_closed()
    assert client.reset
    assert data.count(b"HTTP/1.1") == 1
    assert b"problem" not in data
