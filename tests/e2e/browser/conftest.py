"""A real Chromium, the real gateway and an API that records, for as long as the tests run.

A browser takes its names for hosts at its start and seconds to start, so all of it is made once;
each test gets a visitor without cookies, and an API that has seen nothing.
"""

from __future__ import annotations

import itertools
import socket
import ssl
from collections.abc import AsyncIterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final
from urllib.parse import urlencode

import pytest
import pytest_asyncio
from playwright.async_api import BrowserContext

from tests.e2e.browser import api
from tests.e2e.browser.chromium import Visitor, running_chromium
from tests.e2e.browser.hosts import APP, PagePorts, key_digest, serving_pages
from tests.support.certificates import Authority
from tests.support.client import exchange
from tests.support.gateway import GatewayProcess
from tests.support.upstream import StubUpstream

_NUMBERS: Final = itertools.count()


@dataclass(frozen=True)
class Tls:
    """The one certificate that all hosts show, and its key; `client` trusts it for localhost."""

    certificate: Path
    key: Path
    client: ssl.SSLContext

    def server(self) -> ssl.SSLContext:
        """Return the context of a server that shows the certificate."""
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(self.certificate, self.key)
        return context


@pytest.fixture(scope="session")
def tls(tmp_path_factory: pytest.TempPathFactory) -> Tls:
    authority = Authority(tmp_path_factory.mktemp("certificates"))
    return Tls(*authority.issue("localhost"), authority.client())


@dataclass
class Site:
    """The gateway and the API behind it."""

    gateway: GatewayProcess
    upstream: StubUpstream
    tls: Tls

    async def journal(self, path: str) -> list[dict[str, Any]]:
        """Return the access lines so far of requests for `path` and what is below it."""
        # A line is written after those of all exchanges that ended before.
        mark = f"/public/mark-{next(_NUMBERS)}"
        request = f"GET {mark} HTTP/1.1\r\nHost: api.example.com\r\nConnection: close\r\n\r\n"
        await exchange(self.gateway.port, request.encode(), tls=self.tls.client)
        await self.gateway.wait_for_log(lambda line: line.get("path") == mark)
        return [
            line
            for line in self.gateway.log_lines()
            if line.get("path") == path or str(line.get("path")).startswith(f"{path}/")
        ]

    async def wait_for_journal(self, path: str) -> list[dict[str, Any]]:
        """Return what `journal` does, once there is something: some senders wait for no answer."""
        await self.gateway.wait_for_log(lambda line: line.get("path") == path)
        return await self.journal(path)

    def arrived(self, path: str) -> list[str]:
        """Return the methods with which `path`, or what is below it, was asked for at the API."""
        return [
            request.method
            for request in self.upstream.requests
            if request.path == path or request.path.startswith(f"{path}/")
        ]


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
    return f"/spot-{next(_NUMBERS)}"


class Browser(Visitor):
    """A visitor who can sign in at the web app."""

    async def set_cookie(self, cookie: str, origin: str = APP) -> None:
        """Have `origin` set a cookie: NAME=VALUE and attributes, as in Set-Cookie."""
        before = await self.context.cookies()
        page = await self.open(f"{origin}/?{urlencode({'set-cookie': cookie})}")
        await page.close()
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
