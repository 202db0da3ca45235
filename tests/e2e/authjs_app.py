"""The web app of authjs-app/: Auth.js from npm, signing users in at an OpenID provider from npm."""

from __future__ import annotations

import asyncio
import json
import os
import subprocess
from collections.abc import Mapping
from pathlib import Path
from types import TracebackType
from typing import Final, Self

from playwright.async_api import Page

FOLDER: Final = Path(__file__).parent / "authjs-app"

_DEADLINE: Final = 60.0
"""Seconds for Node and what it loads on a machine with better things to do."""


class AuthjsApp:
    """The app and the provider. `async with AuthjsApp(folder, settings) as app:`.

    `settings` are the variables that authjs-app/main.mjs reads. What both complain about goes into
    a file in `folder`.
    """

    def __init__(self, folder: Path, settings: Mapping[str, str]) -> None:
        self._settings = settings
        self._log = folder / "authjs-app.log"
        self._process: subprocess.Popen[bytes] | None = None
        self.port = 0
        self.provider_port = 0

    async def __aenter__(self) -> Self:
        self._process = self._spawn()
        assert self._process.stdout is not None
        try:
            async with asyncio.timeout(_DEADLINE):
                line = await asyncio.to_thread(self._process.stdout.readline)
            assert line, f"the app did not start:\n{self.log_text()}"
        except BaseException:
            self._kill()
            raise
        ports = json.loads(line)
        self.port, self.provider_port = ports["app"], ports["provider"]
        return self

    def _spawn(self) -> subprocess.Popen[bytes]:
        # Without what else the frameworks would read: AUTH_URL, AUTH_SECRET_1 and the like.
        env = {"PATH": os.environ["PATH"], **self._settings}
        with self._log.open("wb") as log:
            return subprocess.Popen(
                ["node", "main.mjs"],
                cwd=FOLDER,
                env=env,
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=log,
            )

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        process = self._process
        assert process is not None
        if error is not None:
            print(self.log_text())
        try:
            await asyncio.to_thread(process.communicate, timeout=_DEADLINE)
        except subprocess.TimeoutExpired:
            self._kill()
            raise
        assert process.returncode == 0, f"the app has failed:\n{self.log_text()}"

    def _kill(self) -> None:
        assert self._process is not None
        self._process.kill()
        self._process.communicate()

    @property
    def origin(self) -> str:
        """What browsers call the app."""
        return self._settings.get("ORIGIN") or f"http://localhost:{self.port}"

    def log_text(self) -> str:
        """Return what the framework and the provider have complained about."""
        return self._log.read_text(encoding="utf-8", errors="backslashreplace")

    async def open(self, page: Page) -> None:
        """Open the app's page, upon which the framework renews the session, if there is one."""
        await page.goto(self.origin)
        await page.locator("#who:not(:empty)").wait_for()

    async def sign_in(self, page: Page, login: str) -> None:
        """Sign in as a person does: the app's page, the provider's login and consent, and back."""
        await self.open(page)
        await page.get_by_role("link", name="Sign in").click()
        await page.get_by_role("button", name="Sign in with OpenID").click()
        await page.get_by_placeholder("Enter any login").fill(login)
        await page.get_by_placeholder("and password").fill("any")
        await page.get_by_role("button", name="Sign-in").click()
        await page.get_by_role("button", name="Continue").click()
        await page.get_by_text("Hello, ").wait_for()

    async def sign_out(self, page: Page) -> None:
        """Sign out as a person does, from the app's page."""
        await self.open(page)
        await page.get_by_role("link", name="Sign out").click()
        await page.get_by_role("button", name="Sign out").click()
        await page.get_by_text("Nobody is signed in").wait_for()
