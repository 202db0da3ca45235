"""A real Chromium, the real gateway and an API that records, for as long as the tests run.

A browser takes its names for hosts at its start and seconds to start, so all of it is made once;
each test gets a visitor without cookies, and an API that has seen nothing.
"""

from __future__ import annotations

import itertools
import socket
from collections.abc import AsyncIterator
from typing import Any, Final
from urllib.parse import urlencode

import pytest
import pytest_asyncio
from playwright.async_api import BrowserContext

from tests.e2e.browser import api
from tests.e2e.browser.chromium import Visitor, running_chromium
from tests.e2e.browser.hosts import APP, PagePorts, key_digest, serving_pages
from tests.e2e.browser.site import Site, Tls
from tests.support.certificates import Authority
from tests.support.gateway import GatewayProcess
from tests.support.upstream import StubUpstream

_SPOTS: Final = itertools.count()


@pytest.fixture(scope="session")
def tls(tmp_path_factory: pytest.TempPathFactory) -> Tls:
    authority = Authority(tmp_path_factory.mktemp("certificates"))
    return Tls(*authority.issue("localhost"), authority.client())


def _is_fault(line: dict[str, Any]) -> bool:
    """Whether the gateway complains about itself, whatever its clients were told."""
    return line.get("code") == "internal" or line.get("level") in ("error", "critical")


@pytest_asyncio.fixture(scope="session", loop_scope="session")
async def running_site(tls: Tls, tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Site]:
    with socket.socket() as silent:
        silent.bind(("127.0.0.1", 0))  # and never listens: whoever connects is refused
        nowhere = f"http://127.0.0.1:{silent.getsockname()[1]}"
        async with StubUpstream() as upstream:
            upstream.default = api.answer
            config = api.config(upstream.url, nowhere, tls.certificate, tls.key)
            folder = tmp_path_factory.mktemp("gateway")
            async with GatewayProcess(config, folder) as gateway:
                yield Site(gateway, upstream, tls)
                assert await gateway.terminate() == 0
                assert [line for line in gateway.log_lines() if _is_fault(line)] == []


@pytest_asyncio.fixture(scope="session", loop_scope="session")
async def pages(tls: Tls) -> AsyncIterator[PagePorts]:
    async with serving_pages(tls.server()) as ports:
        yield ports


@pytest_asyncio.fixture(scope="session", loop_scope="session")
async def chromium(
    running_site: Site,
    pages: PagePorts,
    tls: Tls,
    tmp_path_factory: pytest.TempPathFactory,
) -> AsyncIterator[BrowserContext]:
    names = {
        "api.example.com:443": running_site.gateway.port,
        "*:443": pages.https,
        "*:80": pages.http,
        "*:8443": pages.https,
    }
    async with running_chromium(
        tmp_path_factory.mktemp("profile"), names, [key_digest(tls.certificate)]
    ) as context:
        yield context


@pytest_asyncio.fixture(loop_scope="session")
async def site(running_site: Site) -> AsyncIterator[Site]:
    """The gateway and an API that has seen nothing yet; all that arrives there is well-formed."""
    running_site.upstream.forget()
    yield running_site
    assert running_site.upstream.violations == []


@pytest.fixture
def spot() -> str:
    """Return a piece of path, /..., that no other test of the run has."""
    return f"/spot-{next(_SPOTS)}"


class Browser(Visitor):
    """A visitor who can sign in at the web app."""

    async def set_cookie(self, cookie: str, origin: str = APP) -> None:
        """Have `origin` set a cookie: NAME=VALUE and attributes, as in Set-Cookie."""
        before = await self.context.cookies()
        await self.first_page.goto(f"{origin}/?{urlencode({'set-cookie': cookie})}")
        assert len(await self.context.cookies()) == len(before) + 1, (
            "the browser refused the cookie"
        )

    async def sign_in(self, same_site: str | None = "Lax", *, ttl: int = 3600) -> None:
        """Sign in at the app, whose cookie is for all of example.com and has this SameSite."""
        attributes = "; Domain=example.com; Path=/; Secure; HttpOnly"
        if same_site is not None:
            attributes += f"; SameSite={same_site}"
        await self.set_cookie(f"{api.COOKIE}={api.token(ttl=ttl)}{attributes}")


@pytest_asyncio.fixture(loop_scope="session")
async def browser(chromium: BrowserContext) -> AsyncIterator[Browser]:
    visitor = Browser(chromium)
    yield visitor
    await visitor.leave()
