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
import pytest
from yarl import URL

from proxy.config.load import loads
from proxy.demo.echo import EVENTS
from proxy.demo.sessions import COOKIE
from proxy.demo.stack import GATEWAY_CONFIG, Addresses, running


class Browser:
    """A visitor with the page open: keeps cookies, and sends the Origin of the page."""

    def __init__(self, demo: Addresses, client: aiohttp.ClientSession) -> None:
        self.demo = demo
        self.client = client
        self.origin = {"Origin": demo.web}

    async def sign_in(self, person: str, flaw: str = "none") -> None:
        wish = {"person": person, "flaw": flaw}
        url = self.demo.web + "/api/auth/demo-signin"
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
async def browser() -> AsyncIterator[Browser]:
    async with running(0, pace=0) as demo, aiohttp.ClientSession() as client:
        yield Browser(demo, client)


async def test_page_and_api_are_two_origins_of_one_site(browser: Browser) -> None:
    web, gateway = urlsplit(browser.demo.web), urlsplit(browser.demo.gateway)
    assert web.port != gateway.port
    assert (web.scheme, web.hostname) == (gateway.scheme, gateway.hostname) == ("http", "localhost")
    async with browser.client.get(browser.demo.web) as answer:
        assert "Gatelodge demo" in await answer.text()
    async with browser.client.get(browser.demo.web + "/demo.json") as answer:
        assert (await answer.json())["gateway"] == browser.demo.gateway


async def test_signed_in_the_api_knows_the_user(browser: Browser) -> None:
    await browser.sign_in("ada")
    async with browser.call("/api/me") as answer:
        assert answer.status == 200
        assert_readable(answer, browser)
        received = await answer.json()
    assert received["user"] == {
        "id": "u-1001",
        "email": "ada@example.com",
        "name": "Ada Lovelace",
        "roles": ["admin", "user"],
    }
    assert "cookie" not in names(received)


async def test_a_name_that_is_not_ascii_travels_encoded(browser: Browser) -> None:
    await browser.sign_in("zoe")
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
    ("flaw", "code"),
    [
        ("expired", "session_expired"),
        ("tampered", "session_invalid"),
        ("foreign", "session_invalid"),
    ],
)
async def test_a_session_with_a_flaw_is_refused_readably(
    browser: Browser, flaw: str, code: str
) -> None:
    await browser.sign_in("ada", flaw)
    async with browser.call("/api/me") as answer:
        assert answer.status == 401
        assert_readable(answer, browser)
        assert (await answer.json())["code"] == code


async def test_a_forged_user_does_not_arrive(browser: Browser) -> None:
    forged = {"X-User-Id": "u-1", "X_User_Roles": "admin", "X-User-Roles": "admin"}
    await browser.sign_in("ben")
    async with browser.call("/api/me", headers=forged) as answer:
        received = await answer.json()
    assert (received["user"]["id"], received["user"]["roles"]) == ("u-1002", ["user"])
    values = [value for name, value in received["headers"] if "user" in name.lower()]
    assert "u-1" not in values
    assert "admin" not in values
    async with browser.call("/public/hello", headers=forged) as answer:
        assert (await answer.json())["user"] is None


async def test_a_role_opens_the_admin_route(browser: Browser) -> None:
    await browser.sign_in("ben")
    async with browser.call("/api/admin") as answer:
        assert answer.status == 403
        assert_readable(answer, browser)
        assert (await answer.json())["code"] == "forbidden"
    await browser.sign_in("ada")
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
    assert received["user"]["id"] == "u-1002"


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
    assert json.loads(events[0].removeprefix("data: "))["user"]["id"] == "u-1002"


async def test_a_websocket_passes(browser: Browser) -> None:
    await browser.sign_in("ben")
    url = browser.demo.gateway + "/api/ws"
    async with browser.client.ws_connect(url, headers=browser.origin) as socket:
        assert (await socket.receive_json())["user"]["id"] == "u-1002"
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


async def test_signed_out_the_session_is_gone(browser: Browser) -> None:
    await browser.sign_in("ada")
    url = browser.demo.web + "/api/auth/signout"
    async with browser.client.post(url, headers=browser.origin) as answer:
        assert answer.status == 200
    assert COOKIE not in {cookie.key for cookie in browser.client.cookie_jar}
    async with browser.call("/api/me") as answer:
        assert (await answer.json())["code"] == "session_missing"


async def test_the_end_leaves_nothing_behind() -> None:
    """Not even with a stream and a WebSocket that are still open."""
    before = asyncio.all_tasks()
    async with aiohttp.ClientSession() as client:
        async with running(0, pace=60) as demo:
            browser = Browser(demo, client)
            await browser.sign_in("ada")
            url = demo.gateway + "/api/ws"
            socket = await client.ws_connect(url, headers=browser.origin)
            stream = await client.get(demo.gateway + "/api/events", headers=browser.origin)
            assert await stream.content.readline()
            assert (await socket.receive_json())["user"]["id"] == "u-1001"
        assert (await socket.receive()).type in (aiohttp.WSMsgType.CLOSED, aiohttp.WSMsgType.ERROR)
        stream.close()
        for address in (demo.web, demo.gateway, demo.api, demo.admin):
            with pytest.raises(aiohttp.ClientConnectorError):
                await client.get(address)
    assert asyncio.all_tasks() == before


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


def test_the_gateway_listens_on_loopback_only() -> None:
    environment = {"AUTH_SECRET": "s" * 8 + "k3Jd81mQz0" * 4, "WEB_ORIGIN": "http://localhost:1"}
    environment["API_ENDPOINT"] = "http://127.0.0.1:2"
    config = loads(GATEWAY_CONFIG, "demo.yaml", environment).config
    assert config.listen.address.host == config.admin.host == "127.0.0.1"
