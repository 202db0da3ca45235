"""What a page that is not ours can do with a visitor's session, in a real browser: nothing.

Each attack is sent with a cookie that the browser does attach, which the code `origin_refused`
proves: the gateway says it only to requests with a session cookie. That it did not work is what the
API recorded.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

import pytest
from playwright.async_api import Frame

from tests.e2e.browser import api
from tests.e2e.browser.conftest import Browser
from tests.e2e.browser.hosts import API, APP, BLOG, EVIL, PLAIN_APP, SANDBOXED
from tests.e2e.browser.site import Site

pytestmark = pytest.mark.asyncio(loop_scope="session")

# Who attacks, and the SameSite of the cookie with which the browser lets it.
ATTACKERS: Final = {
    "another site": (EVIL, "None"),
    "a sibling": (BLOG, "Lax"),
    "our app's name over http": (PLAIN_APP, "None"),
    "a sandboxed frame": (SANDBOXED, "None"),
    "a page without a referrer": (f"{EVIL}/?referrer-policy=no-referrer", "None"),
}

FORM: Final = """([url, enctype, target]) => {
    if (target) {
        const frame = document.createElement("iframe");
        target = frame.name = target + Math.random();
        document.body.append(frame);
    }
    const form = document.createElement("form");
    Object.assign(form, {method: "post", action: url, enctype, target});
    const field = document.createElement("input");
    Object.assign(field, {name: "{\\"to\\": \\"mallory\\", \\"x\\": \\"", value: "\\"}"});
    form.append(field);
    document.body.append(form);
    form.submit();
}"""
NO_CORS: Final = """async ([url, method, type]) => {
    const headers = type ? {"Content-Type": type} : {};
    const init = {mode: "no-cors", credentials: "include", method, headers};
    if (method === "POST") init.body = "to=mallory";
    const {status, type: kind} = await fetch(url, init);
    return [status, kind];
}"""
CORS: Final = """([url, init]) =>
    fetch(url, {credentials: "include", ...init}).then(() => "read", (error) => error.name)"""
BEACON: Final = "([url, type]) => navigator.sendBeacon(url, new Blob(['to=mallory'], {type}))"
WEBSOCKET: Final = """(url) => new Promise((resolve) => {
    const socket = new WebSocket(url);
    socket.onopen = () => resolve("open");
    socket.onclose = ({code}) => resolve(code);
})"""


@pytest.fixture(params=ATTACKERS.values(), ids=list(ATTACKERS))
async def attacker(request: pytest.FixtureRequest) -> tuple[str, str]:
    url, same_site = request.param
    return url, same_site


async def lure(browser: Browser, attacker: tuple[str, str]) -> Frame:
    """Have a signed-in visitor open the page; return the frame that attacks."""
    url, same_site = attacker
    await browser.sign_in(same_site)
    page = await browser.open(url)
    return page.frames[-1]


async def refusals(site: Site, path: str) -> list[tuple[str, int, str]]:
    lines = await site.wait_for_journal(path)
    return [(line["method"], line["status"], line["code"]) for line in lines]


REFUSED: Final = [("POST", 403, "origin_refused")]


@pytest.mark.parametrize("target", ["", "hidden"], ids=["top level", "in a frame"])
async def test_a_form_does_not_post(
    browser: Browser, site: Site, spot: str, attacker: tuple[str, str], target: str
) -> None:
    # The text is JSON, for an API that does not look at Content-Type.
    kinds = ["text/plain"]
    if target:
        kinds += ["application/x-www-form-urlencoded", "multipart/form-data"]
    frame = await lure(browser, attacker)
    for kind in kinds:
        await frame.evaluate(FORM, [f"{API}/any{spot}/{kind}", kind, target])
        assert await refusals(site, f"/any{spot}/{kind}") == REFUSED
    assert site.arrived(f"/any{spot}") == []


async def test_a_request_without_cors_does_not_post(
    browser: Browser, site: Site, spot: str, attacker: tuple[str, str]
) -> None:
    frame = await lure(browser, attacker)
    for kind in ("", "text/plain", "application/x-www-form-urlencoded"):
        sent = [f"{API}/any{spot}/blind/{kind}", "POST", kind]
        assert await frame.evaluate(NO_CORS, sent) == [0, "opaque"]
        assert await refusals(site, f"/any{spot}/blind/{kind}") == REFUSED
    assert site.arrived(f"/any{spot}") == []


async def test_a_simple_request_does_not_post(
    browser: Browser, site: Site, spot: str, attacker: tuple[str, str]
) -> None:
    frame = await lure(browser, attacker)
    init = {"method": "POST", "body": "to=mallory"}
    assert await frame.evaluate(CORS, [f"{API}/any{spot}/simple", init]) == "TypeError"
    assert await refusals(site, f"/any{spot}/simple") == REFUSED
    assert site.arrived(f"/any{spot}/simple") == []


NEEDING_A_PREFLIGHT: Final[Mapping[str, dict[str, Any]]] = {
    "json": {"method": "POST", "headers": {"Content-Type": "application/json"}, "body": "{}"},
    "delete": {"method": "DELETE"},
    "header": {"headers": {"X-Requested-With": "XMLHttpRequest"}},
}


async def test_a_preflight_is_refused(
    browser: Browser, site: Site, spot: str, attacker: tuple[str, str]
) -> None:
    frame = await lure(browser, attacker)
    for name, init in NEEDING_A_PREFLIGHT.items():
        assert await frame.evaluate(CORS, [f"{API}/any{spot}/{name}", init]) == "TypeError"
        assert await refusals(site, f"/any{spot}/{name}") == [("OPTIONS", 403, "origin_refused")]
    assert site.arrived(f"/any{spot}") == []


async def test_a_beacon_does_not_post(
    browser: Browser, site: Site, spot: str, attacker: tuple[str, str]
) -> None:
    frame = await lure(browser, attacker)
    assert await frame.evaluate(BEACON, [f"{API}/any{spot}/beacon", "text/plain"])
    assert await refusals(site, f"/any{spot}/beacon") == REFUSED
    assert site.arrived(f"/any{spot}/beacon") == []


async def test_a_websocket_does_not_open(
    browser: Browser, site: Site, spot: str, attacker: tuple[str, str]
) -> None:
    frame = await lure(browser, attacker)
    url = f"{API.replace('https', 'wss')}/any{spot}/stolen/ws"
    assert await frame.evaluate(WEBSOCKET, url) == 1006
    assert await refusals(site, f"/any{spot}/stolen/ws") == [("GET", 403, "origin_refused")]
    assert site.arrived(f"/any{spot}/stolen") == []


async def test_an_answer_is_not_read(
    browser: Browser, site: Site, spot: str, attacker: tuple[str, str]
) -> None:
    """A GET is let through, as it changes nothing; its answer stays closed to the page."""
    frame = await lure(browser, attacker)
    assert await frame.evaluate(CORS, [f"{API}/any{spot}/secret", {}]) == "TypeError"
    assert await frame.evaluate(NO_CORS, [f"{API}/any{spot}/secret", "GET", ""]) == [0, "opaque"]
    assert site.users(f"/any{spot}/secret") == ["u-1", "u-1"]


async def test_a_form_of_our_own_app_posts(browser: Browser, site: Site, spot: str) -> None:
    """The other side: what is refused above is refused for where it comes from."""
    frame = await lure(browser, (APP, "Lax"))
    await frame.evaluate(FORM, [f"{API}/any{spot}/ours", "application/x-www-form-urlencoded", ""])
    await frame.page.wait_for_url(f"{API}/any{spot}/ours")
    assert site.arrived(f"/any{spot}/ours") == ["POST"]


async def test_lax_keeps_other_sites_out_by_itself(browser: Browser, site: Site, spot: str) -> None:
    """With SameSite=Lax, which Auth.js sets, the cookie does not even come."""
    frame = await lure(browser, (EVIL, "Lax"))
    await frame.evaluate(FORM, [f"{API}/any{spot}/lax", "text/plain", ""])
    assert await refusals(site, f"/any{spot}/lax") == [("POST", 401, "session_missing")]


async def test_a_new_cookie_without_samesite_travels_and_is_refused(
    browser: Browser, site: Site, spot: str
) -> None:
    """Chromium sends one that is younger than two minutes with another site's form (Lax+POST)."""
    await browser.set_cookie(
        f"{api.COOKIE}={api.token()}; Domain=example.com; Path=/; Secure; HttpOnly"
    )
    page = await browser.open(EVIL)
    await page.evaluate(FORM, [f"{API}/any{spot}/young", "text/plain", ""])
    assert await refusals(site, f"/any{spot}/young") == REFUSED
    assert site.arrived(f"/any{spot}/young") == []


async def test_a_cookie_planted_over_http_does_not_count(
    browser: Browser, site: Site, spot: str
) -> None:
    """Anybody on the network can be http://blog.example.com, and set cookies for the domain."""
    plain = api.COOKIE.removeprefix("__Secure-")
    planted = f"{plain}={api.token('u-mallory', cookie=plain)}; Domain=example.com; Path=/"
    await browser.set_cookie(planted, BLOG.replace("https", "http"))
    page = await browser.open(APP)
    code = "([url, init]) => fetch(url, init).then((answer) => answer.status)"
    ask = [f"{API}/any{spot}/planted", {"credentials": "include"}]
    assert await page.evaluate(code, ask) == 401
    await browser.sign_in()
    assert await page.evaluate(code, ask) == 200
    assert site.users(f"/any{spot}/planted") == ["u-1"]


async def test_a_second_cookie_planted_by_a_sibling_makes_no_session(
    browser: Browser, site: Site, spot: str
) -> None:
    """A sibling's longer Path puts its cookie first; the gateway takes neither."""
    await browser.sign_in()
    planted = f"{api.COOKIE}={api.token('u-mallory')}; Domain=example.com; Path=/any; Secure"
    await browser.set_cookie(planted, BLOG)
    page = await browser.open(APP)
    code = "(url) => fetch(url, {credentials: 'include'}).then((answer) => answer.json())"
    assert (await page.evaluate(code, f"{API}/any{spot}/two"))["code"] == "session_ambiguous"
    assert site.arrived(f"/any{spot}/two") == []
