"""The demo's web app: its page, and a sign-in side that only its own page can use."""

from __future__ import annotations

import re
from collections.abc import AsyncIterator
from http.cookies import Morsel, SimpleCookie
from typing import Any, cast

import pytest
from aiohttp import web
from aiohttp.test_utils import TestClient
from pytest_aiohttp.plugin import AiohttpClient

from proxy.demo.rows import SessionRows, session_rows
from proxy.demo.sessions import COOKIE, LIFETIME, JwtSessions
from proxy.demo.webapp import Setting, WebApp

Client = TestClient[web.Request, web.Application]

ORIGIN = "http://localhost:3000"
GATEWAY = "http://localhost:8080"
OWN = {"Host": "localhost:3000", "Origin": ORIGIN}


SETTING = Setting(ORIGIN, GATEWAY, "listen: x\n", 2)


@pytest.fixture
def jwts() -> JwtSessions:
    return JwtSessions("correct-horse-battery-staple-0001", lambda: 1_800_000_000.0)


@pytest.fixture
async def app(aiohttp_client: AiohttpClient, jwts: JwtSessions) -> Client:
    """Without a database."""
    return await aiohttp_client(WebApp(SETTING, jwts).application())


@pytest.fixture
async def rows(database_url: str) -> AsyncIterator[SessionRows]:
    async with session_rows(database_url) as made:
        yield made


@pytest.fixture
async def both(aiohttp_client: AiohttpClient, jwts: JwtSessions, rows: SessionRows) -> Client:
    """With a database, so with both kinds of sessions."""
    return await aiohttp_client(WebApp(SETTING, jwts, rows).application())


@pytest.mark.parametrize(
    ("path", "kind"),
    [
        ("/", "text/html"),
        ("/app.js", "text/javascript"),
        ("/calls.js", "text/javascript"),
        ("/elements.js", "text/javascript"),
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
    referred = set(re.findall(r'(?:src|href)="([^"]*)"', text))
    seen = set[str]()
    while referred > seen:
        path = (referred - seen).pop()
        seen.add(path)
        async with app.get(path, headers=OWN) as answer:
            assert answer.status == 200
            referred |= set(re.findall(r'from "([^"]*)"', await answer.text()))
    assert seen >= {"/style.css", "/app.js", "/scenarios.js", "/calls.js"}


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
    assert about["remembered"] == 2
    assert about["kinds"] == {"jwt": ["expired", "tampered", "foreign"]}
    assert [person["key"] for person in about["people"]] == ["ada", "ben", "zoe"]


async def sign_in(app: Client, person: str, kind: str, flaw: str = "none") -> Morsel[str]:
    wish = {"person": person, "kind": kind, "flaw": flaw}
    async with app.post("/api/auth/demo-signin", json=wish, headers=OWN) as answer:
        assert answer.status == 200
        assert (await answer.json())["kind"] == kind
        return SimpleCookie(answer.headers["Set-Cookie"])[COOKIE]


async def session_of(app: Client, cookie: str) -> dict[str, Any]:
    carried = {**OWN, "Cookie": f"{COOKIE}={cookie}"}
    async with app.get("/api/auth/session", headers=carried) as answer:
        assert answer.status == 200
        return cast(dict[str, Any], await answer.json())


ZOE = {"id": "1003", "name": "Zoë Ångström", "role": "user"}


@pytest.mark.parametrize("kind", ["jwt", "database"])
async def test_signing_in_sets_a_session_cookie_as_auth_js_does(both: Client, kind: str) -> None:
    cookie = await sign_in(both, "zoe", kind)
    assert await session_of(both, cookie.value) == {"kind": kind, "user": ZOE, "code": None}
    assert cookie["httponly"]
    assert cookie["samesite"] == "Lax"
    assert cookie["path"] == "/"
    assert cookie["max-age"] == str(LIFETIME)
    assert not cookie["domain"]


@pytest.mark.parametrize(
    ("kind", "flaw", "code"),
    [
        ("jwt", "expired", "session_expired"),
        ("jwt", "tampered", "session_invalid"),
        ("jwt", "foreign", "session_invalid"),
        ("database", "expired", "session_expired"),
        ("database", "tampered", "session_invalid"),
    ],
)
async def test_a_session_with_a_flaw_is_set_as_well(
    both: Client, kind: str, flaw: str, code: str
) -> None:
    cookie = await sign_in(both, "ada", kind, flaw)
    assert await session_of(both, cookie.value) == {"kind": kind, "user": None, "code": code}


async def test_without_a_cookie_nobody_is_signed_in(app: Client) -> None:
    async with app.get("/api/auth/session", headers=OWN) as answer:
        assert await answer.json() == {"kind": None, "user": None, "code": None}


@pytest.mark.parametrize("kind", ["jwt", "database"])
async def test_signing_out_removes_the_cookie(both: Client, kind: str) -> None:
    token = (await sign_in(both, "ben", kind)).value
    carried = {**OWN, "Cookie": f"{COOKIE}={token}"}
    async with both.post("/api/auth/signout", headers=carried) as answer:
        assert await answer.json() == {"kind": None, "user": None, "code": None}
        cookie = SimpleCookie(answer.headers["Set-Cookie"])[COOKIE]
    assert (cookie.value, cookie["max-age"], cookie["path"]) == ("", "0", "/")
    # Whoever has a copy of a JWT has the session; of a row they have a key to nothing.
    assert ((await session_of(both, token))["user"] is None) == (kind == "database")


async def test_signing_out_without_a_session_is_no_fault(both: Client) -> None:
    async with both.post("/api/auth/signout", headers=OWN) as answer:
        assert answer.status == 200


async def test_a_row_can_be_ended_and_its_cookie_stays(both: Client) -> None:
    token = (await sign_in(both, "ben", "database")).value
    ended = {"kind": "database", "user": None, "code": "session_invalid"}
    carried = {**OWN, "Cookie": f"{COOKIE}={token}"}
    async with both.post("/api/auth/demo-end", headers=carried) as answer:
        assert (answer.status, await answer.json()) == (200, ended)
        assert "Set-Cookie" not in answer.headers
    assert await session_of(both, token) == ended


async def test_what_is_no_row_cannot_be_ended(both: Client) -> None:
    token = (await sign_in(both, "ben", "jwt")).value
    for cookie in (f"{COOKIE}={token}", f"{COOKIE}=no-such-key", "other=1"):
        async with both.post("/api/auth/demo-end", headers={**OWN, "Cookie": cookie}) as answer:
            assert answer.status == 409
    assert (await session_of(both, token))["code"] is None


@pytest.mark.parametrize(
    "value",
    ["x", "a.b.c", "a.b.c.d.e", "....", "%ff", '"quoted"', "\xff\xfe", "\u0663", "x" * 5000],
)
async def test_a_cookie_that_is_no_session_is_no_fault(both: Client, value: str) -> None:
    assert (await session_of(both, value))["user"] is None


@pytest.mark.parametrize(
    "path", ["/api/auth/demo-signin", "/api/auth/signout", "/api/auth/demo-end"]
)
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
     b'{"person": "ada", "flaw": "other"}', b'{"person": "ada", "kind": "database"}',
     b'{"person": "ada", "kind": "other"}'],
)  # fmt: skip
async def test_a_wish_that_makes_no_sense_is_refused(app: Client, body: bytes) -> None:
    async with app.post("/api/auth/demo-signin", data=body, headers=OWN) as answer:
        assert answer.status == 400
        assert "Set-Cookie" not in answer.headers
