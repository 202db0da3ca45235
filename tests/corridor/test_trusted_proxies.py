"""Forwarding headers: believed from trusted proxies, dropped from everybody else."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path

import pytest
import pytest_asyncio

from tests.support import mint
from tests.support.client import exchange
from tests.support.upstream import Recorded, StubUpstream
from tests.support.worker import LocalGateway, request, settings, token

CLAIMED = (
    "X-Forwarded-For: 203.0.113.9, 198.51.100.7",
    "X-Forwarded-Proto: https",
    "X-Forwarded-Host: other.example",
    "X-Forwarded-Port: 4443",
    "Forwarded: for=192.0.2.1",
    "X-Real-IP: 192.0.2.1",
    "X-Request-Id: from-the-proxy",
    "X-Envoy-External-Address: 192.0.2.1",
    "Remote-User: root",
)


@pytest_asyncio.fixture
async def trusting(upstream: StubUpstream) -> AsyncIterator[LocalGateway]:
    async with LocalGateway(settings(upstream.url, trusted_proxies=["127.0.0.0/8"])) as gateway:
        yield gateway


def told(request: Recorded) -> dict[str, list[str]]:
    """Return what the upstream reads of the client."""
    names = {name.decode().lower() for name, _ in request.headers}
    return {
        name: request.values(name)
        for name in names
        if name.startswith(("x-forwarded", "forwarded", "x-real", "remote", "x-envoy"))
    }


async def test_stranger_is_not_believed(gateway: LocalGateway, upstream: StubUpstream) -> None:
    answer = await gateway.ask("GET", "/public/x", *CLAIMED)
    [seen] = upstream.requests
    assert told(seen) == {
        "x-forwarded-for": ["127.0.0.1"],
        "x-forwarded-proto": ["http"],
        "x-forwarded-host": ["api.example.com"],
        "x-forwarded-port": ["80"],
    }
    assert seen.get("X-Request-Id") == answer.get("X-Request-Id") != "from-the-proxy"
    assert (await gateway.logged())["client"] == "127.0.0.1"


async def test_trusted_proxy_is_believed_from_the_right(
    trusting: LocalGateway, upstream: StubUpstream
) -> None:
    answer = await trusting.ask("GET", "/public/x", *CLAIMED)
    [seen] = upstream.requests
    assert seen.get("X-Forwarded-For") == "203.0.113.9, 198.51.100.7, 127.0.0.1"
    assert seen.get("X-Forwarded-Proto") == "https"
    assert seen.get("X-Forwarded-Host") == "api.example.com"  # not among trusted_headers
    assert seen.get("X-Forwarded-Port") == "443"
    assert answer.get("X-Request-Id") == "from-the-proxy"
    line = await trusting.logged()
    assert (line["client"], line["request_id"]) == ("198.51.100.7", "from-the-proxy")


async def test_request_id_that_is_not_sane_is_replaced(trusting: LocalGateway) -> None:
    for bad in ("a b", "x" * 200, "<x>", "\xff"):
        answer = await trusting.ask("GET", "/public/x", f"X-Request-Id: {bad}")
        assert answer.get("X-Request-Id") != bad


async def test_scheme_of_the_proxy_decides_which_cookies_count(trusting: LocalGateway) -> None:
    plain = f"Cookie: {mint.V5_COOKIE}={token()}"
    secure = f"Cookie: {mint.V5_SECURE_COOKIE}={token(cookie=mint.V5_SECURE_COOKIE)}"
    by_https = "X-Forwarded-Proto: https"
    statuses = [
        (await trusting.ask("GET", "/api/x", *lines)).status
        for lines in ((plain,), (plain, by_https), (secure, by_https), (secure,))
    ]
    assert statuses == [200, 401, 200, 200]


async def test_scheme_of_a_stranger_decides_nothing(gateway: LocalGateway) -> None:
    plain = f"Cookie: {mint.V5_COOKIE}={token()}"
    answer = await gateway.ask("GET", "/api/x", plain, "X-Forwarded-Proto: https")
    assert answer.status == 200


async def test_origin_check_knows_the_scheme_of_the_proxy(trusting: LocalGateway) -> None:
    secure = f"Cookie: {mint.V5_SECURE_COOKIE}={token(cookie=mint.V5_SECURE_COOKIE)}"
    ours = "Origin: https://api.example.com"
    by_https = await trusting.ask("POST", "/api/x", secure, ours, "X-Forwarded-Proto: https")
    by_http = await trusting.ask("POST", "/api/x", secure, ours)
    assert (by_https.status, by_http.status) == (200, 403)


@pytest.mark.parametrize(
    "lines",
    [
        ("X-Forwarded-Proto: https", "X-Forwarded-Proto: http"),
        ("X-Forwarded-Proto: https, http",),
        ("X-Forwarded-Proto: gopher",),
        ("X-Forwarded-Prefix: /a", "X-Forwarded-Prefix: /b"),
    ],
    ids=["twice", "list", "unknown", "prefix"],
)
async def test_proxy_that_contradicts_itself_is_400(
    trusting: LocalGateway, upstream: StubUpstream, lines: tuple[str, ...]
) -> None:
    answer = await trusting.ask("GET", "/public/x", *lines)
    assert (answer.status, answer.json()["code"]) == (400, "bad_request")
    assert upstream.connections == []


async def test_peer_of_a_unix_socket_is_trusted_when_it_is_listed(
    upstream: StubUpstream, tmp_path: Path
) -> None:
    told_for = []
    for number, trusted in enumerate(([], ["unix"])):
        path = str(tmp_path / f"{number}.sock")
        config = settings(upstream.url, listen=f"unix:{path}", trusted_proxies=trusted)
        async with LocalGateway(config):
            lines = "X-Forwarded-For: 203.0.113.9", "X-Forwarded-Proto: https"
            assert (await exchange(path, request("GET", "/public/x", *lines))).status == 200
        told_for.append(
            (
                upstream.requests[-1].values("X-Forwarded-For"),
                upstream.requests[-1].get("X-Forwarded-Proto"),
            )
        )
    assert told_for == [([], "http"), (["203.0.113.9"], "https")]
