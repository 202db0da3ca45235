"""The demo as a visitor's browser uses it: the web app on one origin, the gateway on another."""

from __future__ import annotations

import asyncio
import errno
import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any
from urllib.parse import urlsplit

import aiohttp
import asyncpg
import pytest
from yarl import URL

from proxy.config.load import loads
from proxy.demo.echo import EVENTS
from proxy.demo.sessions import COOKIE
from proxy.demo.stack import REMEMBERED, Addresses, gateway_config, running


class Browser:
    """A visitor with the page open: keeps cookies, and sends the Origin of the page."""

    def __init__(self, demo: Addresses, client: aiohttp.ClientSession) -> None:
        self.demo = demo
        self.client = client
        self.origin = {"Origin": demo.web}

    async def sign_in(self, person: str, kind: str = "jwt", flaw: str = "none") -> None:
        await self.post("/api/auth/demo-signin", person=person, kind=kind, flaw=flaw)

    async def post(self, path: str, **wish: str) -> None:
        """Press a button of the sign-in side."""
        url = self.demo.web + path
        async with self.client.post(url, json=wish, headers=self.origin) as answer:
            assert answer.status == 200

    @asynccontextmanager
    async def call(
        self, path: str, method: str = "GET", headers: dict[str, str] | None = None, **more: Any
    ) -> AsyncIterator[aiohttp.ClientResponse]:
        """Call the API as the page's script does: through the gateway, with the cookie."""
        url, sent = self.demo.gateway + path, self.origin | (headers or {})
        async with self.client.request(method, url, headers=sent, **more) as answer:
            yield answer


def assert_readable(answer: aiohttp.ClientResponse, browser: Browser) -> None:
    """The page's script may see the answer (Fetch standard, CORS check)."""
    assert answer.headers.getall("Access-Control-Allow-Origin") == [browser.demo.web]
    assert answer.headers.getall("Access-Control-Allow-Credentials") == ["true"]
    assert "Origin" in answer.headers["Vary"]


def names(received: dict[str, Any]) -> set[str]:
    return {name.lower() for name, _ in received["headers"]}


@pytest.fixture
async def browser(database_url: str) -> AsyncIterator[Browser]:
    async with (
        running(0, pace=0, database_url=database_url) as demo,
        aiohttp.ClientSession() as client,
    ):
        yield Browser(demo, client)


@pytest.fixture
async def plain() -> AsyncIterator[Browser]:
    """Of a demo without a database."""
    async with running(0, pace=0) as demo, aiohttp.ClientSession() as client:
        yield Browser(demo, client)


PATIENCE = 60.0
"""Seconds for what takes REMEMBERED; only a fault takes as long."""

KINDS = pytest.mark.parametrize("kind", ["jwt", "database"])


async def test_page_and_api_are_two_origins_of_one_site(browser: Browser) -> None:
    web, gateway = urlsplit(browser.demo.web), urlsplit(browser.demo.gateway)
    assert web.port != gateway.port
    assert (web.scheme, web.hostname) == (gateway.scheme, gateway.hostname) == ("http", "localhost")
    async with browser.client.get(browser.demo.web) as answer:
        assert "Gatelodge demo" in await answer.text()
    async with browser.client.get(browser.demo.web + "/demo.json") as answer:
        assert (await answer.json())["gateway"] == browser.demo.gateway


@KINDS
async def test_signed_in_the_api_knows_the_user(browser: Browser, kind: str) -> None:
    await browser.sign_in("ada", kind)
    async with browser.call("/api/me") as answer:
        assert answer.status == 200
        assert_readable(answer, browser)
        received = await answer.json()
    assert received["user"] == {
        "id": "1001",
        "email": "ada@example.com",
        "name": "Ada Lovelace",
        "roles": ["admin"],
    }
    assert "cookie" not in names(received)


async def test_without_a_database_there_are_jwts(plain: Browser) -> None:
    await plain.sign_in("ada")
    async with plain.call("/api/me") as answer:
        assert (await answer.json())["user"]["id"] == "1001"
    async with plain.client.get(plain.demo.web + "/demo.json") as answer:
        about = await answer.json()
    assert list(about["kinds"]) == ["jwt"]
    assert "database" not in about["config"]


async def test_the_page_shows_the_configuration_that_runs(browser: Browser) -> None:
    async with browser.client.get(browser.demo.web + "/demo.json") as answer:
        about = await answer.json()
    assert "url: ${DATABASE_URL}" in about["config"]
    assert f"cache: {{ttl: {REMEMBERED}s}}" in about["config"]
    assert about["remembered"] == REMEMBERED


@KINDS
async def test_a_name_that_is_not_ascii_travels_encoded(browser: Browser, kind: str) -> None:
    await browser.sign_in("zoe", kind)
    async with browser.call("/api/me") as answer:
        received = await answer.json()
    assert ["X-User-Name", "Zo%C3%AB %C3%85ngstr%C3%B6m"] in received["headers"]
    assert received["user"]["name"] == "Zoë Ångström"


async def test_cookies_that_are_no_session_pass(browser: Browser) -> None:
    await browser.sign_in("ben")
    browser.client.cookie_jar.update_cookies({"theme": "dark"}, gateway_url(browser))
    async with browser.call("/api/me") as answer:
        received = await answer.json()
    assert ["cookie", "theme=dark"] in [[n.lower(), v] for n, v in received["headers"]]


def gateway_url(browser: Browser) -> URL:
    return URL(browser.demo.gateway)


async def test_without_a_session_the_page_can_read_the_401(browser: Browser) -> None:
    async with browser.call("/api/me") as answer:
        assert answer.status == 401
        assert_readable(answer, browser)
        assert answer.content_type == "application/problem+json"
        assert (await answer.json())["code"] == "session_missing"


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
async def test_a_session_with_a_flaw_is_refused_readably(
    browser: Browser, kind: str, flaw: str, code: str
) -> None:
    await browser.sign_in("ada", kind, flaw)
    async with browser.call("/api/me") as answer:
        assert answer.status == 401
        assert_readable(answer, browser)
        assert (await answer.json())["code"] == code


async def test_a_forged_user_does_not_arrive(browser: Browser) -> None:
    forged = {"X-User-Id": "1", "X_User_Roles": "admin", "X-User-Roles": "admin"}
    await browser.sign_in("ben")
    async with browser.call("/api/me", headers=forged) as answer:
        received = await answer.json()
    assert (received["user"]["id"], received["user"]["roles"]) == ("1002", ["user"])
    values = [value for name, value in received["headers"] if "user" in name.lower()]
    assert "1" not in values
    assert "admin" not in values
    async with browser.call("/public/hello", headers=forged) as answer:
        assert (await answer.json())["user"] is None


@KINDS
async def test_a_role_opens_the_admin_route(browser: Browser, kind: str) -> None:
    await browser.sign_in("ben", kind)
    async with browser.call("/api/admin") as answer:
        assert answer.status == 403
        assert_readable(answer, browser)
        assert (await answer.json())["code"] == "forbidden"
    await browser.sign_in("ada", kind)
    async with browser.call("/api/admin") as answer:
        assert answer.status == 200


async def test_a_public_route_needs_nobody_and_names_nobody(browser: Browser) -> None:
    async with browser.call("/public/hello") as answer:
        assert answer.status == 200
    await browser.sign_in("ada")
    async with browser.call("/public/hello") as answer:
        assert (await answer.json())["user"] is None


async def test_json_is_posted_after_a_preflight(browser: Browser) -> None:
    ask = {
        "Access-Control-Request-Method": "POST",
        "Access-Control-Request-Headers": "content-type",
    }
    await browser.sign_in("ben")
    async with browser.call("/api/notes", "OPTIONS", ask) as answer:
        assert answer.status == 204
        assert_readable(answer, browser)
        assert "POST" in answer.headers["Access-Control-Allow-Methods"]
        assert "content-type" in answer.headers["Access-Control-Allow-Headers"].lower()
    async with browser.call("/api/notes", "POST", json={"text": "hello"}) as answer:
        assert_readable(answer, browser)
        received = await answer.json()
    assert json.loads(received["body"]) == {"text": "hello"}
    assert received["user"]["id"] == "1002"


async def test_another_origin_gets_nowhere(browser: Browser) -> None:
    evil = {"Origin": "https://evil.example"}
    await browser.sign_in("ada")
    async with browser.call("/api/notes", "POST", evil, json={}) as answer:
        assert answer.status == 403
        assert (await answer.json())["code"] == "origin_refused"
    async with browser.call("/api/me", headers=evil) as answer:
        assert "Access-Control-Allow-Origin" not in answer.headers


async def test_an_address_without_a_route_is_not_forwarded(browser: Browser) -> None:
    await browser.sign_in("ada")
    async with browser.call("/elsewhere") as answer:
        assert answer.status == 404
        assert (await answer.json())["code"] == "no_route"


async def test_events_pass(browser: Browser) -> None:
    await browser.sign_in("ben")
    async with browser.call("/api/events") as answer:
        assert answer.content_type == "text/event-stream"
        events = (await answer.text()).split("\n\n")[:-1]
    assert len(events) == EVENTS
    assert json.loads(events[0].removeprefix("data: "))["user"]["id"] == "1002"


async def test_a_websocket_passes(browser: Browser) -> None:
    await browser.sign_in("ben")
    url = browser.demo.gateway + "/api/ws"
    async with browser.client.ws_connect(url, headers=browser.origin) as socket:
        assert (await socket.receive_json())["user"]["id"] == "1002"
        await socket.send_str("hello")
        assert await socket.receive_json() == {"echo": "hello"}


@pytest.mark.parametrize(
    ("person", "origin", "status"),
    [(None, None, 401), ("ada", "https://evil.example", 403)],
    ids=["no session", "another site"],
)
async def test_a_websocket_is_refused(
    browser: Browser, person: str | None, origin: str | None, status: int
) -> None:
    if person is not None:
        await browser.sign_in(person)
    headers = {"Origin": origin or browser.demo.web}
    with pytest.raises(aiohttp.WSServerHandshakeError) as refused:
        await browser.client.ws_connect(browser.demo.gateway + "/api/ws", headers=headers)
    assert refused.value.status == status


async def test_a_session_whose_row_was_deleted_is_refused_readably(browser: Browser) -> None:
    """The gateway has not read this one before, so nothing is remembered of it."""
    await browser.sign_in("ada", "database")
    await browser.post("/api/auth/demo-end")
    assert COOKIE in {cookie.key for cookie in browser.client.cookie_jar}
    async with browser.call("/api/me") as answer:
        assert answer.status == 401
        assert_readable(answer, browser)
        assert (await answer.json())["code"] == "session_invalid"


@pytest.mark.slow
async def test_what_is_remembered_is_forgotten_in_time(browser: Browser) -> None:
    """As the page shows it: called before the end, and again and again after it."""
    await browser.sign_in("ada", "database")
    async with browser.call("/api/me") as answer:
        assert answer.status == 200
    await browser.post("/api/auth/demo-end")
    status = 200
    async with asyncio.timeout(PATIENCE):
        while status == 200:
            async with browser.call("/api/me") as answer:
                status = answer.status
    assert status == 401


@KINDS
async def test_signed_out_the_session_is_gone(browser: Browser, kind: str) -> None:
    await browser.sign_in("ada", kind)
    await browser.post("/api/auth/signout")
    assert COOKIE not in {cookie.key for cookie in browser.client.cookie_jar}
    async with browser.call("/api/me") as answer:
        assert (await answer.json())["code"] == "session_missing"


async def test_the_end_leaves_nothing_behind(database_url: str) -> None:
    """Not even with a stream and a WebSocket that are still open."""
    before = asyncio.all_tasks()
    async with aiohttp.ClientSession() as client:
        async with running(0, pace=60, database_url=database_url) as demo:
            browser = Browser(demo, client)
            await browser.sign_in("ada", "database")
            url = demo.gateway + "/api/ws"
            socket = await client.ws_connect(url, headers=browser.origin)
            stream = await client.get(demo.gateway + "/api/events", headers=browser.origin)
            assert await stream.content.readline()
            assert (await socket.receive_json())["user"]["id"] == "1001"
        assert (await socket.receive()).type in (aiohttp.WSMsgType.CLOSED, aiohttp.WSMsgType.ERROR)
        stream.close()
        for address in (demo.web, demo.gateway, demo.api, demo.admin):
            with pytest.raises(aiohttp.ClientConnectorError):
                await client.get(address)
    assert asyncio.all_tasks() == before
    connection = await asyncpg.connect(database_url)
    others = "SELECT count(*) FROM pg_stat_activity WHERE datname = current_database()"
    assert await connection.fetchval(others) == 1
    await connection.close()


async def test_every_start_has_its_own_secret(browser: Browser) -> None:
    await browser.sign_in("ada")
    async with running(0) as other:
        jar = browser.client.cookie_jar.filter_cookies(gateway_url(browser))
        carried = {"Cookie": f"{COOKIE}={jar[COOKIE].value}", "Origin": other.web}
        async with (
            aiohttp.ClientSession() as client,
            client.get(other.gateway + "/api/me", headers=carried) as answer,
        ):
            assert (await answer.json())["code"] == "session_invalid"


async def test_a_port_that_is_taken_is_an_error(browser: Browser) -> None:
    port = urlsplit(browser.demo.web).port
    with pytest.raises(OSError, match=r".") as refused:
        async with running(port):
            pass
    assert refused.value.errno == errno.EADDRINUSE


@pytest.mark.parametrize("database", [True, False])
def test_the_gateway_listens_on_loopback_only(database: bool) -> None:
    environment = {"AUTH_SECRET": "s" * 8 + "k3Jd81mQz0" * 4, "WEB_ORIGIN": "http://localhost:1"}
    environment["API_ENDPOINT"] = "http://127.0.0.1:2"
    environment["DATABASE_URL"] = "postgresql://postgres@127.0.0.1:3/postgres"
    config = loads(gateway_config(database=database), "demo.yaml", environment).config
    assert config.listen.address.host == config.admin.host == "127.0.0.1"
