"""`gatelodge demo` as a visitor uses it: every button of its page, pressed in a real browser."""

from __future__ import annotations

import asyncio
import re
import signal
import sys
from collections.abc import AsyncIterator, Mapping, Sequence
from typing import Final

import pytest
import pytest_asyncio
from playwright.async_api import Locator, Page, expect

from tests.e2e.browser.chromium import Visitor
from tests.e2e.browser.conftest import Browser
from tests.support.gateway import ROOT

pytestmark = pytest.mark.asyncio(loop_scope="session")

PATIENCE: Final = 30.0
"""Seconds for a process to start or end, and for a page to show what it was asked for."""

JWT, ROW = "an encrypted JWT", "a row in PostgreSQL"
ADA, BEN, ZOE = "Ada Lovelace", "Ben Okafor", "Zoë Ångström"


@pytest_asyncio.fixture(scope="module", loop_scope="session")
async def address(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[str]:
    """Run the command for the tests of this module; it prints the address of its page."""
    log = tmp_path_factory.mktemp("demo") / "stderr"
    with log.open("wb") as errors:
        demo = await asyncio.create_subprocess_exec(
            *(sys.executable, "-m", "proxy", "demo", "--port", "0"),
            cwd=ROOT,
            stdin=asyncio.subprocess.DEVNULL,
            stdout=asyncio.subprocess.PIPE,
            stderr=errors,
        )
    assert demo.stdout is not None
    try:
        async with asyncio.timeout(PATIENCE):
            lines = [line.decode() async for line in _greeting(demo.stdout)]
        found = re.match(
            r"Open (http://localhost:[0-9]+) in a browser\.", lines[0] if lines else ""
        )
        assert found, f"the demo did not start:\n{''.join(lines)}{log.read_text()}"
        yield found[1]
        demo.send_signal(signal.SIGINT)
        async with asyncio.timeout(PATIENCE):
            assert await demo.wait() == 0, log.read_text()
    finally:
        if demo.returncode is None:
            demo.kill()
            await demo.wait()


async def _greeting(stdout: asyncio.StreamReader) -> AsyncIterator[bytes]:
    async for line in stdout:
        yield line
        if b"Ctrl-C" in line:
            return


class DemoPage:
    """The page by what a person sees of it: names of buttons, and what happened."""

    def __init__(self, page: Page) -> None:
        self.page = page
        self.broken: list[str] = []
        page.on("pageerror", lambda error: self.broken.append(str(error)))
        page.on("console", lambda message: self._note(message.text))

    def _note(self, text: str) -> None:
        if "Content Security Policy" in text:
            self.broken.append(text)

    @classmethod
    async def open(cls, visitor: Visitor, address: str) -> DemoPage:
        demo = cls(await visitor.context.new_page())
        demo.page.set_default_timeout(PATIENCE * 1000)
        await demo.page.goto(address)
        await expect(demo.calls.last).to_be_visible()
        return demo

    @property
    def calls(self) -> Locator:
        """The buttons that call the API."""
        return self.page.get_by_role("region", name="Call the API").get_by_role("button")

    @property
    def signing(self) -> Locator:
        """Where one signs in, and what it says about who is signed in."""
        return self.page.get_by_role("region", name="Sign in")

    @property
    def outcome(self) -> Locator:
        """What the last call brought."""
        return self.page.get_by_role("region", name="What happened")

    async def sign_in(self, name: str, kind: str = JWT) -> None:
        """Press a button of the section that signs in, for a session of this kind."""
        await self.signing.get_by_role("radio", name=kind).check()
        button = self.signing.get_by_role("button", name=name)
        await button.click()
        await expect(button).to_have_attribute("aria-pressed", "true")

    async def call(self, label: str, *shown: str | re.Pattern[str]) -> None:
        """Press a button that calls the API; wait until all of `shown` is to be seen."""
        await self.calls.filter(has_text=re.compile(f"^{re.escape(label)}$")).click()
        await self.shows(*shown)

    async def shows(self, *shown: str | re.Pattern[str]) -> None:
        """Wait until all of `shown` is to be seen in the outcome."""
        for text in shown:
            await expect(self.outcome).to_contain_text(text, timeout=PATIENCE * 1000)

    async def header(self, name: str) -> list[str]:
        """Return the values of a header that the API received, as the page lists them."""
        # Those that the gateway has set say so behind their name.
        named = re.compile(rf"^{name}( .*)?$", re.IGNORECASE)
        header = self.page.get_by_role("rowheader", name=named)
        rows = self.outcome.get_by_role("row").filter(has=header)
        return await rows.get_by_role("cell").all_inner_texts()


@pytest_asyncio.fixture(loop_scope="session")
async def demo(browser: Browser, address: str) -> AsyncIterator[DemoPage]:
    page = await DemoPage.open(browser, address)
    yield page
    assert page.broken == []


STREAM: Final = "GET /api/events, a stream"

# Label of each button -> what Ada sees when she is signed in, and what nobody sees.
CALLS: Final[Mapping[str, tuple[Sequence[str], Sequence[str]]]] = {
    "GET /api/me": (["200 OK", '"name": "Ada Lovelace"'], ["401", "session_missing"]),
    "POST /api/notes, as JSON": (
        ["200 OK", "POST /api/notes", '{"text":"hello"}', '"name": "Ada Lovelace"'],
        ["401", "session_missing"],
    ),
    "GET /api/admin": (["200 OK", "GET /api/admin"], ["401", "session_missing"]),
    "GET /public/hello": (["200 OK", "nobody"], ["200 OK", "nobody"]),
    "GET /api/me with a forged X-User-Id": (
        ["200 OK", '"name": "Ada Lovelace"'],
        ["401", "session_missing"],
    ),
    "GET /api/me without the cookie": (["401", "session_missing"], ["401", "session_missing"]),
    STREAM: (
        ["200 OK", '"event":1', '"event":5', "Ada Lovelace", "(end of the stream)"],
        ["401", "session_missing"],
    ),
    "WebSocket /api/ws": (
        ["101 Switching Protocols", "Ada Lovelace", '{"echo": "hello"}', "closed    code 1000"],
        ["closed    code 1006"],
    ),
    "GET /elsewhere": (["404", "no_route"], ["404", "no_route"]),
}


async def test_every_button_has_its_test(demo: DemoPage) -> None:
    assert await demo.calls.all_inner_texts() == list(CALLS)


@pytest.mark.parametrize("kind", [JWT, ROW])
async def test_each_call_of_somebody_who_is_signed_in(demo: DemoPage, kind: str) -> None:
    await demo.sign_in(ADA, kind)
    await expect(demo.signing.get_by_role("status")).to_contain_text("Signed in as Ada Lovelace")
    for label, (shown, _) in CALLS.items():
        await demo.call(label, *shown)
        if label == STREAM:
            # The API pauses a second between two of its five events.
            times = re.findall(r"after ([0-9.]+) s  data", await demo.outcome.inner_text())
            assert float(times[-1]) - float(times[0]) > 1


async def test_each_call_of_nobody(demo: DemoPage) -> None:
    await expect(demo.signing.get_by_role("status")).to_contain_text("Not signed in")
    for label, (_, shown) in CALLS.items():
        await demo.call(label, *shown)


@pytest.mark.parametrize("kind", [JWT, ROW])
async def test_the_api_gets_the_user_and_no_session(demo: DemoPage, kind: str) -> None:
    await demo.sign_in(ZOE, kind)
    await demo.call("GET /api/me", "200 OK", ZOE)
    assert await demo.header("X-User-Name") == ["Zo%C3%AB %C3%85ngstr%C3%B6m"]
    assert await demo.header("X-User-Roles") == ["user"]
    assert await demo.header("Cookie") == []
    [known] = await demo.header("X-User-Id")
    await demo.call("GET /api/me with a forged X-User-Id", "200 OK", ZOE)
    assert await demo.header("X-User-Id") == [known]
    assert await demo.header("X-User-Roles") == ["user"]


@pytest.mark.parametrize("kind", [JWT, ROW])
async def test_a_403_is_shown_to_who_is_no_admin(demo: DemoPage, kind: str) -> None:
    await demo.sign_in(BEN, kind)
    await demo.call("GET /api/admin", "403", "forbidden")


@pytest.mark.parametrize(
    ("kind", "flaw", "code"),
    [
        (JWT, "expired", "session_expired"),
        (JWT, "tampered", "session_invalid"),
        (JWT, "another secret", "session_invalid"),
        (ROW, "expired", "session_expired"),
        (ROW, "tampered", "session_invalid"),
    ],
)
async def test_a_session_that_is_not_good(demo: DemoPage, kind: str, flaw: str, code: str) -> None:
    await demo.sign_in(flaw, kind)
    await expect(demo.signing.get_by_role("status")).to_contain_text(code)
    await demo.call("GET /api/me", "401", code)


async def test_signing_out(demo: DemoPage) -> None:
    await demo.sign_in(ADA)
    await demo.call("GET /api/me", "200 OK")
    await demo.sign_in("sign out")
    await demo.call("GET /api/me", "401", "session_missing")


async def test_a_session_ends_when_its_row_is_deleted(demo: DemoPage) -> None:
    end = demo.signing.get_by_role("button", name="delete its row")
    await demo.sign_in(ADA, JWT)
    await expect(end).to_be_hidden()  # a JWT has none
    await demo.sign_in(BEN, ROW)
    await end.click()
    await demo.shows("200 OK", "the row is deleted", "401", "session_invalid")
    await demo.call("GET /api/me", "401", "session_invalid")
