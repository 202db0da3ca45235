"""A page of a listed origin can read every answer, the upstream's and ours; no other page can."""

from __future__ import annotations

import pytest

from tests.support.upstream import StubUpstream
from tests.support.worker import ORIGIN, LocalGateway, settings, signed_in

ANSWER = (
    b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n"
    b"Access-Control-Allow-Origin: *\r\nAccess-Control-Allow-Credentials: false\r\n"
    b"Access-Control-Allow-Methods: GET\r\nAccess-Control-Allow-Headers: *\r\n"
    b"Access-Control-Max-Age: 1\r\nAccess-Control-Expose-Headers: ETag, x-total-count\r\n"
    b"Vary: Accept-Encoding\r\nETag: 1\r\n\r\nhi"
)


async def test_upstreams_own_cors_headers_are_replaced(
    gateway: LocalGateway, upstream: StubUpstream
) -> None:
    upstream.script("/api/x", ANSWER)
    answer = await gateway.ask("GET", "/api/x", signed_in(), f"Origin: {ORIGIN}")
    assert {name: value for name, value in answer.headers if name.startswith(b"Access")} == {
        b"Access-Control-Allow-Origin": ORIGIN.encode(),
        b"Access-Control-Allow-Credentials": b"true",
        b"Access-Control-Expose-Headers": (
            b"X-Request-Id, Retry-After, RateLimit, RateLimit-Policy, X-Total-Count, ETag"
        ),
    }
    assert answer.values("Vary") == ["Accept-Encoding", "Origin", "Cookie, Authorization"]


@pytest.mark.parametrize("lines", [(), ("Origin: https://evil.example",), ("Origin: null",)])
async def test_other_pages_get_nothing_but_vary(
    gateway: LocalGateway, upstream: StubUpstream, lines: tuple[str, ...]
) -> None:
    upstream.script("/public/x", ANSWER)
    answer = await gateway.ask("GET", "/public/x", *lines)
    assert [name for name, _ in answer.headers if name.startswith(b"Access")] == []
    assert answer.values("Vary") == ["Accept-Encoding", "Origin"]


async def test_two_origins_are_no_origin(gateway: LocalGateway) -> None:
    answer = await gateway.ask("GET", "/public/x", f"Origin: {ORIGIN}", f"Origin: {ORIGIN}")
    assert answer.values("Access-Control-Allow-Origin") == []


async def test_with_cors_off_the_upstreams_own_pass(upstream: StubUpstream) -> None:
    upstream.script("/api/x", ANSWER)
    async with LocalGateway(settings(upstream.url, cors="off")) as gateway:
        answer = await gateway.ask("GET", "/api/x", signed_in(), f"Origin: {ORIGIN}")
    assert answer.get("Access-Control-Allow-Origin") == "*"
    assert answer.get("Access-Control-Expose-Headers") == "ETag, x-total-count"
    assert answer.values("Vary") == ["Accept-Encoding", "Cookie, Authorization"]


async def test_cors_of_a_route_counts_on_its_answers_and_errors(upstream: StubUpstream) -> None:
    other = "https://other.example"
    routes = [
        {"path": "/a/**", "upstream": "api", "cors": {"origins": [other]}},
        {"path": "/b/**", "upstream": "api", "cors": "off"},
    ]
    async with LocalGateway(settings(upstream.url, routes=routes)) as gateway:
        for lines in ((), (signed_in(),)):
            name = "Access-Control-Allow-Origin"
            assert (await gateway.ask("GET", "/a/x", f"Origin: {other}", *lines)).get(name) == other
            assert (await gateway.ask("GET", "/a/x", f"Origin: {ORIGIN}", *lines)).get(name) is None
            assert (await gateway.ask("GET", "/b/x", f"Origin: {ORIGIN}", *lines)).get(name) is None


async def test_origin_below_a_listed_domain_is_granted(upstream: StubUpstream) -> None:
    cors = {"origins": ["https://*.preview.example.com"]}
    async with LocalGateway(settings(upstream.url, cors=cors)) as gateway:
        granted = []
        for origin in (
            "https://a.preview.example.com",
            "https://a.b.preview.example.com",
            "https://preview.example.com",
            "https://evilpreview.example.com",
            "https://a.preview.example.com.evil.example",
            "http://a.preview.example.com",
            "https://a.preview.example.com:8443",
        ):
            answer = await gateway.ask("GET", "/public/x", f"Origin: {origin}")
            granted.append(answer.get("Access-Control-Allow-Origin") == origin)
    assert granted == [True, True, False, False, False, False, False]


@pytest.mark.parametrize(
    ("path", "sent", "received"),
    [
        pytest.param("/api/x", b"", ["private"], id="guarded"),
        pytest.param("/optional/x", b"", ["private"], id="optional"),
        pytest.param("/public/x", b"", [], id="public"),
        pytest.param("/api/x", b"Cache-Control: max-age=5\r\n", ["max-age=5"], id="upstreams-own"),
    ],
)
async def test_shared_caches_are_told_what_depends_on_the_user(
    gateway: LocalGateway, upstream: StubUpstream, path: str, sent: bytes, received: list[str]
) -> None:
    upstream.script(path, b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n" + sent + b"\r\n")
    answer = await gateway.ask("GET", path, signed_in())
    assert answer.values("Cache-Control") == received
    assert ("Cookie, Authorization" in answer.values("Vary")) == (path != "/public/x")
