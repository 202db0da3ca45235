"""The page of `gatelodge demo` in a real Chromium: its buttons do what they say."""

from __future__ import annotations

import re
import subprocess
import sys
from collections.abc import AsyncIterator, Iterator

import pytest
import pytest_asyncio
from playwright.async_api import ConsoleMessage, Page, expect

from tests.e2e.browser.conftest import Browser
from tests.support.gateway import ROOT

pytestmark = pytest.mark.asyncio(loop_scope="session")

ROW, JWT = "a row in PostgreSQL", "an encrypted JWT in the cookie"


def demo(*options: str) -> Iterator[str]:
    """Run the command; yields the address that it prints first."""
    command = [sys.executable, "-m", "proxy", "demo", "--port", "0", *options]
    with subprocess.Popen(
        command, cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True
    ) as process:
        try:
            assert process.stdout is not None
            found = re.search(r"http://localhost:\d+", process.stdout.readline())
            assert found is not None
            yield found[0]
        finally:
            process.terminate()


@pytest.fixture(scope="module")
def address() -> Iterator[str]:
    yield from demo()


@pytest.fixture(scope="module")
def address_without_database() -> Iterator[str]:
    yield from demo("--no-database")


@pytest_asyncio.fixture(loop_scope="session")
async def page(browser: Browser, address: str) -> AsyncIterator[Page]:
    """The page; whatever the browser complains about, refused requests apart, is a failure."""
    complaints: list[str] = []

    def note(message: ConsoleMessage) -> None:
        if message.type in ("error", "warning") and "Failed to load resource" not in message.text:
            complaints.append(message.text)

    opened = await browser.open(address)
    opened.on("console", note)
    opened.on("pageerror", lambda error: complaints.append(str(error)))
    yield opened
    assert complaints == []


async def press(page: Page, name: str) -> None:
    await page.get_by_role("button", name=name, exact=True).click()


async def sign_in(page: Page, kind: str, person: str = "Ada Lovelace (admin)") -> None:
    await page.get_by_label(kind).check()
    await press(page, person)
    await expect(page.locator("#who-text")).to_contain_text("Signed in as")


@pytest.mark.parametrize("kind", [JWT, ROW])
async def test_signed_in_the_api_names_the_user(page: Page, kind: str) -> None:
    await sign_in(page, kind, "Zoë Ångström (user)")
    await press(page, "GET /api/me")
    await expect(page.locator("#outcome .status")).to_have_text("200 OK")
    await expect(page.locator("#outcome")).to_contain_text('"name": "Zoë Ångström"')
    await expect(page.locator("#outcome tr.ours")).to_have_count(4)


async def test_the_page_tells_which_kind_the_cookie_is_also_when_opened_again(page: Page) -> None:
    await sign_in(page, ROW)
    await expect(page.locator("#who-cookie")).to_contain_text("holds the key of a row")
    await page.reload()
    await expect(page.get_by_label(ROW)).to_be_checked()
    await sign_in(page, JWT)
    await expect(page.locator("#who-cookie")).to_contain_text("holds the session itself")
    await expect(page.get_by_role("button", name="end this session")).to_be_hidden()
    await expect(page.locator("#end-text")).to_contain_text("good until it expires")


async def test_a_session_is_ended_and_refused_within_what_the_page_says(page: Page) -> None:
    await sign_in(page, ROW)
    await press(page, "end this session: delete its row")
    await expect(page.locator("#outcome .status")).to_have_text("401 Unauthorized", timeout=30_000)
    await expect(page.locator("#outcome")).to_contain_text(
        "Gatelodge goes by a row that it has read for 2 s"
    )
    lines = await page.locator("#outcome pre").nth(1).inner_text()
    assert re.match(r"before +200 OK\n +the row is deleted\n", lines)
    assert "401 Unauthorized" in lines.splitlines()[-1]
    await expect(page.locator("#outcome")).to_contain_text('"code": "session_invalid"')
    await expect(page.locator("#who-text")).to_contain_text("Not signed in")
    # The button is gone with the session; the keyboard goes on where the eyes are.
    await expect(page.locator("#result")).to_be_focused()


@pytest.mark.parametrize(
    ("kind", "flaw", "code"),
    [
        (JWT, "expired JWT of Ada", "session_expired"),
        (JWT, "tampered JWT of Ada", "session_invalid"),
        (JWT, "JWT made with another secret", "session_invalid"),
        (ROW, "expired row of Ada", "session_expired"),
        (ROW, "tampered key of Ada's row", "session_invalid"),
    ],
)
async def test_a_session_with_a_flaw_is_refused(
    page: Page, kind: str, flaw: str, code: str
) -> None:
    await page.get_by_label(kind).check()
    await press(page, flaw)
    await expect(page.locator("#who-text")).to_contain_text(code)
    await press(page, "GET /api/me")
    await expect(page.locator("#outcome")).to_contain_text(f'"code": "{code}"')


@pytest.mark.parametrize(
    ("scenario", "shown"),
    [
        ("POST /api/notes, as JSON", '{"text":"hello"}'),
        ("GET /api/admin", '"code": "forbidden"'),
        ("GET /public/hello", "nobody (no X-User-Id arrived)"),
        ("GET /api/me with a forged X-User-Id", '"id": "1002"'),
        ("GET /api/me without the cookie", '"code": "session_missing"'),
        ("GET /api/events, a stream", "(end of the stream)"),
        ("WebSocket /api/ws", 'received  {"echo": "hello"}'),
        ("GET /elsewhere", '"code": "no_route"'),
    ],
)
async def test_each_scenario_shows_what_it_says(page: Page, scenario: str, shown: str) -> None:
    await sign_in(page, ROW, "Ben Okafor (user)")
    await press(page, scenario)
    answer = page.locator("#outcome > div")  # beside it is what was sent
    await expect(answer).to_contain_text(shown, timeout=30_000)


async def test_signed_out_nobody_is_signed_in(page: Page) -> None:
    await sign_in(page, ROW)
    await press(page, "sign out")
    await expect(page.locator("#who-text")).to_have_text("Not signed in.")
    await press(page, "GET /api/me")
    await expect(page.locator("#outcome")).to_contain_text('"code": "session_missing"')


async def test_the_keyboard_alone_will_do(page: Page) -> None:
    await page.locator("#kind-jwt").focus()
    await page.keyboard.press("ArrowDown")
    await expect(page.get_by_label(ROW)).to_be_checked()
    await page.keyboard.press("Tab")
    await page.keyboard.press("Enter")
    await expect(page.locator("#who-text")).to_have_text("Signed in as Ada Lovelace, role admin.")
    await expect(page.get_by_role("button", name="Ada Lovelace")).to_have_attribute(
        "aria-pressed", "true"
    )


@pytest.mark.parametrize("width", [320, 768, 1280])
async def test_it_fits_every_width(page: Page, width: int) -> None:
    await page.set_viewport_size({"width": width, "height": 800})
    await sign_in(page, ROW)
    await press(page, "GET /api/me")
    await expect(page.locator("#outcome .status")).to_have_text("200 OK")
    assert await page.evaluate("document.documentElement.scrollWidth") <= width


async def test_without_a_database_it_says_so(
    browser: Browser, address_without_database: str
) -> None:
    page = await browser.open(address_without_database)
    await expect(page.get_by_role("radio")).to_have_count(1)
    await expect(page.locator("#kinds")).to_contain_text("started without a database")
    await press(page, "Ben Okafor (user)")
    await press(page, "GET /api/me")
    await expect(page.locator("#outcome .status")).to_have_text("200 OK")
