"""The page of `gatelodge demo` for every visitor: by keyboard, on a telephone, opened again."""

from __future__ import annotations

import re
import subprocess
import sys
from collections.abc import AsyncIterator, Iterator
from contextlib import contextmanager

import pytest
import pytest_asyncio
from playwright.async_api import Page, expect

from tests.e2e.browser.conftest import Browser
from tests.support.gateway import ROOT

pytestmark = pytest.mark.asyncio(loop_scope="session")

JWT, ROW = "an encrypted JWT", "a row in PostgreSQL"


@contextmanager
def running_demo(*options: str) -> Iterator[str]:
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
    with running_demo() as made:
        yield made


@pytest_asyncio.fixture(loop_scope="session")
async def page(browser: Browser, address: str) -> AsyncIterator[Page]:
    """The page; whatever the browser complains about, refused requests apart, is a failure."""
    complaints: list[str] = []
    opened = await browser.open("about:blank")
    opened.on("console", lambda message: complaints.append(message.text))
    opened.on("pageerror", lambda error: complaints.append(str(error)))
    await opened.goto(address)
    yield opened
    assert [text for text in complaints if "Failed to load resource" not in text] == []


async def sign_in(page: Page, kind: str) -> None:
    await page.get_by_role("radio", name=kind).check()
    await page.get_by_role("button", name="Ada Lovelace").click()
    await expect(page.locator("#who-text")).to_have_text("Signed in as Ada Lovelace, role admin.")


async def test_the_keyboard_alone_will_do(page: Page) -> None:
    await expect(page.get_by_role("button", name="sign out")).to_be_visible()
    await page.get_by_role("radio", name=JWT).focus()
    await page.keyboard.press("ArrowDown")
    await expect(page.get_by_role("radio", name=ROW)).to_be_checked()
    await page.keyboard.press("Tab")
    await expect(page.get_by_role("button", name="Ada Lovelace")).to_be_focused()
    await page.keyboard.press("Enter")
    await expect(page.locator("#who-cookie")).to_contain_text("the key of a row")


async def test_the_focus_goes_on_to_the_outcome_when_its_button_goes(page: Page) -> None:
    await sign_in(page, ROW)
    await page.get_by_role("button", name="end this session").press("Enter")
    await expect(page.get_by_role("region", name="What happened")).to_be_focused()
    await expect(page.locator("#who-text")).to_contain_text("session_invalid")
    await expect(page.locator("#who-cookie")).to_contain_text("no row")


@pytest.mark.parametrize(("kind", "told"), [(JWT, "the session itself"), (ROW, "the key of a row")])
async def test_opened_again_it_knows_who_is_signed_in_and_how(
    page: Page, kind: str, told: str
) -> None:
    await sign_in(page, kind)
    await page.reload()
    await expect(page.locator("#who-cookie")).to_contain_text(told)
    await expect(page.get_by_role("radio", name=kind)).to_be_checked()
    ada = page.get_by_role("button", name="Ada Lovelace")
    await expect(ada).to_have_attribute("aria-pressed", "true")


@pytest.mark.parametrize("width", [320, 768, 1280])
async def test_it_fits_every_width(page: Page, width: int) -> None:
    await page.set_viewport_size({"width": width, "height": 800})
    await sign_in(page, ROW)
    await page.get_by_role("button", name="GET /api/me", exact=True).click()
    await expect(page.locator("#outcome .status")).to_have_text("200 OK")
    assert await page.evaluate("document.documentElement.scrollWidth") <= width


async def test_without_a_database_it_says_so(browser: Browser) -> None:
    with running_demo("--no-database") as address:
        page = await browser.open(address)
        await expect(page.get_by_role("radio")).to_have_count(1)
        await expect(page.locator("#kinds")).to_contain_text("started without a database")
        await sign_in(page, JWT)
        await page.get_by_role("button", name="GET /api/me", exact=True).click()
        await expect(page.locator("#outcome .status")).to_have_text("200 OK")
