"""Finds and starts the real Chromium, with the test's own names for hosts.

Each start has a fresh profile in which third-party cookies work: newer browsers block them unless
told otherwise, and what a gateway is worth shows when the browser does not help it.
"""

from __future__ import annotations

import json
import subprocess
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Final

from playwright.async_api import BrowserContext, Page, async_playwright

from tests.support.gateway import ROOT

_FLAGS: Final = (
    # Only pages that a test has made are opened, and where tests run as root, or where users have
    # no namespaces of their own, the sandbox does not start.
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
)
# The user's setting "allow third-party cookies" (Chromium, CookieControlsMode::kOff).
_PREFERENCES: Final = {"profile": {"cookie_controls_mode": 0}}


def find_chromium() -> str:
    """Return the path of the browser that `make e2e` has found or installed."""
    script = ROOT / "scripts" / "install-chromium.sh"
    found = subprocess.run([script, "--find"], capture_output=True, text=True, check=False)
    assert found.returncode == 0, found.stderr
    return found.stdout.strip()


@asynccontextmanager
async def running_chromium(
    profile: Path, hosts: Mapping[str, int], trusted_keys: Sequence[str] = ()
) -> AsyncIterator[BrowserContext]:
    """Run Chromium with the empty folder `profile`, for as long as the context lasts.

    `hosts` are patterns of `host:port`, tried in order, and the port of 127.0.0.1 that each stands
    for. localhost is itself; every other host does not exist. `trusted_keys` are SHA-256 digests,
    base64, of the public keys whose certificates count whoever has signed them.
    """
    settings = profile / "Default" / "Preferences"
    settings.parent.mkdir()
    settings.write_text(json.dumps(_PREFERENCES), encoding="utf-8")
    rules = [f"MAP {pattern} 127.0.0.1:{port}" for pattern, port in hosts.items()]
    flags = [
        *_FLAGS,
        "--host-resolver-rules=" + ", ".join(["EXCLUDE localhost", *rules, "MAP * ~NOTFOUND"]),
        "--ignore-certificate-errors-spki-list=" + ",".join(trusted_keys),
    ]
    async with async_playwright() as playwright:
        context = await playwright.chromium.launch_persistent_context(
            profile, executable_path=find_chromium(), args=flags
        )
        try:
            yield context
        finally:
            await context.close()


class Visitor:
    """Whoever sits at the browser: each test gets one without cookies and without open pages."""

    def __init__(self, context: BrowserContext) -> None:
        self.context = context

    @property
    def first_page(self) -> Page:
        """The page that came with the browser and stays: without any it stores no cookies."""
        return self.context.pages[0]

    async def open(self, url: str) -> Page:
        """Return a new page that shows `url`."""
        page = await self.context.new_page()
        await page.goto(url)
        return page

    async def leave(self) -> None:
        """Close the pages and forget the cookies."""
        for page in self.context.pages[1:]:
            await page.close()
        await self.context.clear_cookies()
