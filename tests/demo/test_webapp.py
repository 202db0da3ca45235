"""The demo's web app: its page, and a sign-in side that only its own page can use."""

from __future__ import annotations

import re
from http.cookies import SimpleCookie

import pytest
from aiohttp import web
from aiohttp.test_utils import TestClient
from pytest_aiohttp.plugin import AiohttpClient

from proxy.demo.people import PEOPLE
from proxy.demo.sessions import COOKIE, LIFETIME, DemoSessions
from proxy.demo.webapp import WebApp

Client = TestClient[web.Request, web.Application]

ORIGIN = "http://localhost:3000"
GATEWAY = "http://localhost:8080"
OWN = {"Host": "localhost:3000", "Origin": ORIGIN}


@pytest.fixture
def sessions() -> DemoSessions:
    return DemoSessions("correct-horse-battery-staple-0001", lambda: 1_800_000_000.0)


@pytest.fixture
async def app(aiohttp_client: AiohttpClient, sessions: DemoSessions) -> Client:
    return await aiohttp_client(WebApp(sessions, ORIGIN, GATEWAY, "listen: x\n").application())


@pytest.mark.parametrize(
    ("path", "kind"),
    [
        ("/", "text/html"),
        ("/app.js", "text/javascript"),
        ("/scenarios.js", "text/javascript"),
        ("/style.css", "text/css"),
        ("/icon.svg", "image/svg+xml"),
    ],
)
async def test_the_page_and_its_parts_are_served(app: Client, path: str, kind: str) -> None:
    async with app.get(path, headers=OWN) as answer:
        assert answer.status == 200
        assert answer.content_type == kind
        assert len(await answer.text()) > 100


async def test_the_page_needs_nothing_but_its_parts(app: Client) -> None:
    """Whatever it refers to is served here, so it works without a network."""
    async with app.get("/", headers=OWN) as answer:
        text = await answer.text()
    referred = re.findall(r'(?:src|href)="([^"]*)"', text)
    assert referred
    for path in referred:
        async with app.get(path, headers=OWN) as answer:
            assert answer.status == 200


async def test_the_page_holds_no_inline_code_or_style(app: Client) -> None:
    """The policy forbids it, so it would not run."""
    async with app.get("/", headers=OWN) as answer:
        text = await answer.text()
    assert (
        re.search(r"<script(?![^>]*\bsrc=)|<style|\bstyle=|\bon[a-z]+=|javascript:", text) is None
    )


async def test_the_policy_lets_the_page_call_the_gateway_only(app: Client) -> None:
    async with app.get("/", headers=OWN) as answer:
        policy = answer.headers["Content-Security-Policy"].split("; ")
    assert "default-src 'none'" in policy
    assert "script-src 'self'" in policy
    assert f"connect-src 'self' {GATEWAY} ws://localhost:8080" in policy
    assert not any("unsafe" in rule or "*" in rule for rule in policy)


@pytest.mark.parametrize("host", ["127.0.0.1:3000", "[::1]:3000", "localhost"])
async def test_by_another_loopback_name_the_page_sends_to_its_own(app: Client, host: str) -> None:
    async with app.get("/", headers={"Host": host}, allow_redirects=False) as answer:
        assert answer.status == 307
        assert answer.headers["Location"] == f"{ORIGIN}/"


async def test_the_page_learns_what_is_running(app: Client) -> None:
    async with app.get("/demo.json", headers=OWN) as answer:
        about = await answer.json()
    assert about["gateway"] == GATEWAY
    assert about["config"] == "listen: x\n"
    assert [person["key"] for person in about["people"]] == ["ada", "ben", "zoe"]


async def test_signing_in_sets_a_session_cookie_as_auth_js_does(
    app: Client, sessions: DemoSessions
) -> None:
    wish = {"person": "zoe", "flaw": "none"}
    async with app.post("/api/auth/demo-signin", json=wish, headers=OWN) as answer:
        assert answer.status == 200
        session = await answer.json()
        cookie = SimpleCookie(answer.headers["Set-Cookie"])[COOKIE]
    assert session["user"]["name"] == "Zoë Ångström"
    assert sessions.describe(cookie.value) == session
    assert cookie["httponly"]
    assert cookie["samesite"] == "Lax"
    assert cookie["path"] == "/"
    assert cookie["max-age"] == str(LIFETIME)
    assert not cookie["domain"]


async def test_a_session_with_a_flaw_is_set_as_well(app: Client) -> None:
    wish = {"person": "ada", "flaw": "expired"}
    async with app.post("/api/auth/demo-signin", json=wish, headers=OWN) as answer:
        assert await answer.json() == {"user": None, "code": "session_expired"}
        assert COOKIE in answer.headers["Set-Cookie"]


async def test_the_session_can_be_asked_for_and_ended(app: Client, sessions: DemoSessions) -> None:
    async with app.get("/api/auth/session", headers=OWN) as answer:
        assert await answer.json() == {"user": None, "code": None}
    carried = {**OWN, "Cookie": f"{COOKIE}={sessions.token(PEOPLE['ben'])}"}
    async with app.get("/api/auth/session", headers=carried) as answer:
        assert (await answer.json())["user"]["id"] == "u-1002"
    async with app.post("/api/auth/signout", headers=carried) as answer:
        assert await answer.json() == {"user": None, "code": None}
        cookie = SimpleCookie(answer.headers["Set-Cookie"])[COOKIE]
    assert (cookie.value, cookie["max-age"], cookie["path"]) == ("", "0", "/")


@pytest.mark.parametrize(
    "value",
    ["x", "a.b.c", "a.b.c.d.e", "....", "%ff", '"quoted"', "\xff\xfe", "\u0663", "x" * 5000],
)
async def test_a_cookie_that_is_no_session_is_no_fault(app: Client, value: str) -> None:
    carried = {**OWN, "Cookie": f"{COOKIE}={value}"}
    async with app.get("/api/auth/session", headers=carried) as answer:
        assert answer.status == 200
        assert (await answer.json())["user"] is None


@pytest.mark.parametrize("path", ["/api/auth/demo-signin", "/api/auth/signout"])
@pytest.mark.parametrize(
    "headers",
    [
        {"Host": "localhost:3000"},
        {"Host": "localhost:3000", "Origin": "null"},
        {"Host": "localhost:3000", "Origin": GATEWAY},
        {"Host": "localhost:3000", "Origin": "https://evil.example"},
    ],
    ids=["no origin", "null", "another port", "another site"],
)
async def test_another_site_can_sign_nobody_in_or_out(
    app: Client, path: str, headers: dict[str, str]
) -> None:
    async with app.post(path, json={"person": "ada"}, headers=headers) as answer:
        assert answer.status == 403
        assert "Set-Cookie" not in answer.headers


@pytest.mark.parametrize(
    "body",
    [b"", b"[]", b"{", b"\xff", b"{}", b'{"person": 1}', b'{"person": "eve"}',
     b'{"person": "ada", "flaw": "other"}'],
)  # fmt: skip
async def test_a_wish_that_makes_no_sense_is_refused(app: Client, body: bytes) -> None:
    async with app.post("/api/auth/demo-signin", data=body, headers=OWN) as answer:
        assert answer.status == 400
        assert "Set-Cookie" not in answer.headers
