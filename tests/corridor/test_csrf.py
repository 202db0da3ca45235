"""No other site rides on a session cookie: unsafe methods are held to where they come from."""

from __future__ import annotations

import pytest

from tests.support.upstream import StubUpstream
from tests.support.worker import ORIGIN, LocalGateway, settings, signed_in, token

EVIL = "https://evil.example"


@pytest.mark.parametrize(
    ("method", "lines", "status"),
    [
        pytest.param("POST", ("Sec-Fetch-Site: same-origin",), 200, id="same-origin"),
        pytest.param("POST", ("Sec-Fetch-Site: none",), 200, id="typed"),
        pytest.param("POST", ("Sec-Fetch-Site: cross-site",), 403, id="cross-site"),
        pytest.param("POST", ("Sec-Fetch-Site: same-site",), 403, id="same-site"),
        pytest.param("POST", ("Sec-Fetch-Site: cross-site", f"Origin: {ORIGIN}"), 200, id="listed"),
        pytest.param("POST", (f"Origin: {ORIGIN}",), 200, id="origin"),
        pytest.param("POST", ("Origin: http://api.example.com",), 200, id="own-origin"),
        pytest.param("POST", ("Origin: https://api.example.com",), 403, id="own-but-for-scheme"),
        pytest.param("POST", (f"Origin: {EVIL}",), 403, id="evil"),
        pytest.param("POST", ("Origin: null",), 403, id="null"),
        pytest.param("PUT", (f"Origin: {EVIL}",), 403, id="put"),
        pytest.param("DELETE", (f"Origin: {EVIL}",), 403, id="delete"),
        pytest.param("POST", (f"Referer: {ORIGIN}/page",), 200, id="referer"),
        pytest.param("POST", (f"Referer: {EVIL}/page",), 403, id="evil-referer"),
        pytest.param("POST", (f"Referer: {ORIGIN}.evil.example/",), 403, id="longer-referer"),
        pytest.param("POST", (), 200, id="script"),
        pytest.param("GET", (f"Origin: {EVIL}", "Sec-Fetch-Site: cross-site"), 200, id="safe"),
        pytest.param("HEAD", (f"Origin: {EVIL}",), 200, id="head"),
    ],
)
async def test_origin_decides_where_a_cookie_signs_in(
    gateway: LocalGateway,
    upstream: StubUpstream,
    method: str,
    lines: tuple[str, ...],
    status: int,
) -> None:
    answer = await gateway.ask(method, "/api/x", signed_in(), *lines)
    assert answer.status == status
    assert len(upstream.requests) == (status == 200)
    if status == 403:
        assert answer.json()["code"] == "origin_refused"


async def test_bearer_is_not_checked(gateway: LocalGateway) -> None:
    lines = f"Authorization: Bearer {token()}", f"Origin: {EVIL}", "Sec-Fetch-Site: cross-site"
    assert (await gateway.ask("POST", "/api/x", *lines)).status == 200


async def test_broken_cookie_from_elsewhere_is_refused_for_its_origin(
    gateway: LocalGateway,
) -> None:
    cookie = "Cookie: authjs.session-token=broken"
    answer = await gateway.ask("POST", "/optional/x", cookie, f"Origin: {EVIL}")
    assert (answer.status, answer.json()["code"]) == (403, "origin_refused")


async def test_public_route_takes_requests_from_everywhere(gateway: LocalGateway) -> None:
    answer = await gateway.ask("POST", "/public/x", signed_in(), f"Origin: {EVIL}")
    assert answer.status == 200


async def test_check_is_switched_off_where_a_route_says_so(upstream: StubUpstream) -> None:
    routes = [
        {"path": "/off/**", "upstream": "api", "csrf": {"check_origin": False}},
        {"path": "/own/**", "upstream": "api", "csrf": {"origins": [EVIL]}},
    ]
    async with LocalGateway(settings(upstream.url, routes=routes)) as gateway:
        statuses = [
            (await gateway.ask("POST", path, signed_in(), f"Origin: {origin}")).status
            for path in ("/off/x", "/own/x")
            for origin in (EVIL, ORIGIN)
        ]
    assert statuses == [200, 200, 200, 403]


async def test_public_origin_is_ours(upstream: StubUpstream) -> None:
    public = "https://www.example.com"
    config = settings(upstream.url, public_origin=public)
    config["sessions"]["web"]["cookie"] = "sid"
    async with LocalGateway(config) as gateway:
        cookie = f"Cookie: sid={token(cookie='sid')}"
        ours = await gateway.ask("POST", "/api/x", cookie, f"Origin: {public}")
        other = await gateway.ask("POST", "/api/x", cookie, f"Origin: {EVIL}")
    assert (ours.status, other.status) == (200, 403)
