"""What a listed page can do from another origin, and what it is told when it may not."""

from __future__ import annotations

from typing import Any, Final
from urllib.parse import quote

import pytest
from playwright.async_api import Page

from tests.e2e.browser import api
from tests.e2e.browser.conftest import Browser
from tests.e2e.browser.hosts import API, APP, BLOG, PARTNER, PREVIEW
from tests.e2e.browser.site import Site

pytestmark = pytest.mark.asyncio(loop_scope="session")

# [status, type, code of a problem or else the text], or the name of the error.
FETCH: Final = """async ([url, init]) => {
    try {
        const response = await fetch(url, {credentials: "include", ...init});
        const text = await response.text();
        const code = text.startsWith("{") ? JSON.parse(text).code : text;
        return [response.status, response.type, code];
    } catch (error) { return error.name; }
}"""
EVENTS: Final = """(url) => new Promise((resolve) => {
    const source = new EventSource(url, {withCredentials: true});
    const events = [];
    source.onmessage = (event) => events.push(JSON.parse(event.data));
    source.onerror = () => { source.close(); resolve(events); };
})"""
WEBSOCKET: Final = """(url) => new Promise((resolve) => {
    const socket = new WebSocket(url);
    const messages = [];
    socket.onmessage = ({data}) => {
        if (messages.push(data) === 1) socket.send("hello");
        else socket.close(1000);
    };
    socket.onclose = ({code}) => resolve([...messages, code]);
})"""
WSS: Final = API.replace("https", "wss")
JSON_PUT: Final = {"method": "PUT", "headers": {"Content-Type": "application/json"}, "body": "{}"}

Journal = list[tuple[str, int]]


async def fetch(page: Page, path: str, init: dict[str, Any] | None = None) -> Any:
    return await page.evaluate(FETCH, [API + path, init or {}])


async def journal(site: Site, path: str) -> Journal:
    return [(line["method"], line["status"]) for line in await site.journal(path)]


@pytest.mark.parametrize("origin", [APP, PREVIEW, PARTNER])
async def test_a_preflighted_request_with_the_cookie_succeeds(
    browser: Browser, site: Site, spot: str, origin: str
) -> None:
    await browser.sign_in("None" if origin == PARTNER else "Lax")
    page = await browser.open(origin)
    path = f"/any{spot}/notes"

    assert await fetch(page, path, JSON_PUT) == [200, "cors", path]

    [request] = [each for each in site.upstream.requests if each.path == path]
    assert (request.method, request.get("X-User-Id")) == ("PUT", "u-1")
    assert request.values("Cookie") == []
    assert await journal(site, path) == [("OPTIONS", 204), ("PUT", 200)]


@pytest.mark.parametrize("method", ["GET", "PUT"])
async def test_the_401_is_read_by_the_script(
    browser: Browser, site: Site, spot: str, method: str
) -> None:
    page, path, init = await browser.open(APP), f"/any{spot}", {"method": method}
    assert await fetch(page, path, init) == [401, "cors", "session_missing"]
    await browser.sign_in(ttl=-60)
    assert await fetch(page, path, init) == [401, "cors", "session_expired"]
    assert site.arrived(path) == []


@pytest.mark.parametrize("method", ["GET", "PUT"])
async def test_the_403_is_read_by_the_script(
    browser: Browser, site: Site, spot: str, method: str
) -> None:
    await browser.sign_in()
    page = await browser.open(APP)
    assert await fetch(page, f"/admin{spot}/403", {"method": method}) == [403, "cors", "forbidden"]
    assert site.arrived(f"/admin{spot}/403") == []


async def test_an_origin_that_is_not_listed_is_refused(
    browser: Browser, site: Site, spot: str
) -> None:
    """Of the same site, so that the cookie travels: the answer exists and cannot be read."""
    await browser.sign_in()
    page = await browser.open(BLOG)
    assert await fetch(page, f"/any{spot}/blog") == "TypeError"
    assert site.arrived(f"/any{spot}/blog") == ["GET"]
    assert await fetch(page, f"/any{spot}/blog/put", JSON_PUT) == "TypeError"
    assert await journal(site, f"/any{spot}/blog/put") == [("OPTIONS", 403)]


@pytest.mark.parametrize(
    "origin",
    [
        "https://preview.example.com",
        "https://evilpreview.example.com",
        "https://pr-7.preview.example.com.evil.test",
        "https://app.example.com.evil.test",
        "https://app.example.com:8443",
        "http://pr-7.preview.example.com",
    ],
)
async def test_an_origin_that_only_looks_listed_is_refused(
    browser: Browser, site: Site, spot: str, origin: str
) -> None:
    await browser.sign_in("None")
    page = await browser.open(origin)
    assert await fetch(page, f"/any{spot}/read") == "TypeError"
    assert await fetch(page, f"/any{spot}/put", JSON_PUT) == "TypeError"
    assert site.arrived(f"/any{spot}") == ["GET"]


async def test_a_cookie_of_another_site_does_not_travel(browser: Browser, spot: str) -> None:
    """With SameSite=Lax a listed page of another site is told so by a 401 that it can read."""
    await browser.sign_in("Lax")
    page = await browser.open(PARTNER)
    assert await fetch(page, f"/any{spot}/lax") == [401, "cors", "session_missing"]


async def test_a_preflight_is_remembered(browser: Browser, site: Site, spot: str) -> None:
    await browser.sign_in()
    page = await browser.open(APP)
    remembered, forgotten = f"/any{spot}", f"/fresh{spot}"  # max_age: 10m and 0s
    for path in (remembered, remembered, forgotten, forgotten):
        assert await fetch(page, path, JSON_PUT) == [200, "cors", path]
    asked, put = ("OPTIONS", 204), ("PUT", 200)
    assert await journal(site, remembered) == [asked, put, put]
    assert await journal(site, forgotten) == [asked, put, asked, put]


async def test_events_arrive_with_the_cookie(browser: Browser, spot: str) -> None:
    await browser.sign_in()
    page = await browser.open(APP)
    events = await page.evaluate(EVENTS, f"{API}/any{spot}/events")
    assert events == [[number, "u-1"] for number in range(api.EVENTS)]


@pytest.mark.parametrize("origin", [APP, BLOG], ids=["nobody", "not listed"])
async def test_events_do_not_arrive(browser: Browser, site: Site, spot: str, origin: str) -> None:
    if origin == BLOG:
        await browser.sign_in()
    page = await browser.open(origin)
    assert await page.evaluate(EVENTS, f"{API}/any{spot}/no/events") == []
    assert site.arrived(f"/any{spot}/no/events") == (["GET"] if origin == BLOG else [])


@pytest.mark.parametrize("origin", [APP, PREVIEW, PARTNER])
async def test_a_websocket_opens_with_the_cookie(
    browser: Browser, site: Site, spot: str, origin: str
) -> None:
    await browser.sign_in("None" if origin == PARTNER else "Lax")
    page = await browser.open(origin)
    assert await page.evaluate(WEBSOCKET, f"{WSS}/any{spot}/ws") == ["u-1", "hello", 1000]
    [request] = [each for each in site.upstream.requests if each.path == f"/any{spot}/ws"]
    assert request.values("Cookie") == []


async def test_a_websocket_without_a_session_does_not_open(
    browser: Browser, site: Site, spot: str
) -> None:
    page = await browser.open(APP)
    assert await page.evaluate(WEBSOCKET, f"{WSS}/any{spot}/nobody/ws") == [1006]
    [line] = await site.journal(f"/any{spot}/nobody/ws")
    assert (line["status"], line["code"]) == (401, "session_missing")
    assert site.arrived(f"/any{spot}/nobody") == []


async def test_who_navigates_without_a_session_is_sent_to_sign_in(
    browser: Browser, site: Site, spot: str
) -> None:
    page = await browser.open(f"{API}/pages{spot}/report?year=2026")
    callback = quote(f"{API}/pages{spot}/report?year=2026", safe="")
    assert page.url == f"{APP}/sign-in?callbackUrl={callback}"
    # A script is not: it would follow, and read a page instead of the 401.
    assert await fetch(page, f"/pages{spot}/report") == [401, "cors", "session_missing"]
    assert site.arrived(f"/pages{spot}") == []

    await browser.sign_in()
    await page.goto(f"{API}/pages{spot}/report")
    assert page.url == f"{API}/pages{spot}/report"
    assert site.arrived(f"/pages{spot}") == ["GET"]
