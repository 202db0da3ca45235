"""A site whose users sign in with Auth.js: the app in Chromium, an API, the gateway between them.

Law of the file: what Auth.js, next-auth and the OpenID provider do is their own; only the gateway
and the API behind it are ours.
"""

from __future__ import annotations

import json
import ssl
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

from playwright.async_api import Page

from tests.e2e.authjs_app import FOLDER, AuthjsApp
from tests.e2e.browser.chromium import running_chromium
from tests.e2e.browser.hosts import API, APP, key_digest
from tests.support.certificates import Authority
from tests.support.client import exchange
from tests.support.gateway import GatewayProcess
from tests.support.upstream import StubUpstream

SECRET: Final = "5d0e7a92c4f1b8366e2d9c7f0a4b1e8d3c6f9a2b5e8d1c4f"

SCHEMA: Final = FOLDER / "schema.sql"
"""The tables of the app's database."""

ACCOUNTS: Final = {
    "ada": {"name": "Ada Łovelace", "email": "ada@example.com", "roles": ["editor", "admin"]},
    "grace": {
        "name": "Grace Hopper",
        "email": "grace@example.com",
        "roles": ["admin"],
        # So many that an encrypted session needs several cookies.
        "groups": [f"team-{number:04}" for number in range(600)],
    },
}
"""Who can sign in at the provider."""

_PATIENCE: Final = 60_000
"""Milliseconds for a page on a machine with better things to do."""

# What a page of the app does to call the API.
_CALL: Final = """async (url) => {
  const response = await fetch(url, { credentials: "include" });
  return { status: response.status, body: await response.json() };
}"""


@dataclass(frozen=True)
class Settings:
    """What differs from site to site.

    `framework` and `strategy` are the app's (authjs-app/main.mjs). `https`: as in production, where
    app and API have a host each in one domain (docs/guides/nextauth.md); otherwise as on a
    developer's machine, where they are ports of localhost. `sessions` and `routes` are keys of the
    gateway's configuration.
    """

    framework: str
    strategy: str
    https: bool
    sessions: str = f"web: {{kind: authjs, secret: {SECRET}}}"
    routes: str = "{path: /**, upstream: api}"
    database_url: str = ""


@dataclass
class Site:
    """The running site.

    `page` shows the app, `api` is what browsers call the gateway, `seen` are all values of session
    cookies that `session` has returned.
    """

    app: AuthjsApp
    page: Page
    gateway: GatewayProcess
    upstream: StubUpstream
    api: str
    tls: ssl.SSLContext | None
    seen: set[str] = field(default_factory=set)

    async def sign_in(self, login: str) -> None:
        """Sign in at the app."""
        await self.app.sign_in(self.page, login)

    async def sign_out(self) -> None:
        """Sign out at the app."""
        await self.app.sign_out(self.page)

    async def call(self, path: str = "/") -> tuple[int, Any]:
        """Let the app's page call the API; return the status, and the user or a problem's code."""
        answer = await self.page.evaluate(_CALL, f"{self.api}{path}")
        if answer["status"] != 200:
            return answer["status"], answer["body"]["code"]
        return 200, {k: v for k, v in answer["body"]["headers"] if k.startswith("X-User-")}

    async def session(self) -> dict[str, str]:
        """Return the browser's cookies that make up the session."""
        cookies = [(c["name"], c["value"]) for c in await self.page.context.cookies()]
        session = {name: value for name, value in cookies if "session-token" in name}
        self.seen.update(session.values())
        return session

    async def replay(self, session: Mapping[str, str], path: str = "/") -> tuple[int, str | None]:
        """Call the API with a copy of these cookies; return the status and a problem's code."""
        cookie = "; ".join(f"{name}={value}" for name, value in session.items())
        request = f"GET {path} HTTP/1.1\r\nHost: {self.api.partition('//')[2]}\r\n"
        request += f"Cookie: {cookie}\r\nConnection: close\r\n\r\n"
        answer = await exchange(self.gateway.port, request.encode(), tls=self.tls)
        return answer.status, answer.json().get("code")


@asynccontextmanager
async def opened(folder: Path, settings: Settings) -> AsyncIterator[Site]:
    """Start the site and open the app's page; what all of it writes goes into `folder`."""
    authority = Authority(folder)
    pair = authority.issue("localhost")
    async with (
        StubUpstream() as upstream,
        AuthjsApp(folder, _variables(settings, *pair)) as app,
        GatewayProcess(_configuration(settings, *pair, app, upstream), folder) as gateway,
        _visiting(app, gateway, folder, key_digest(pair[0])) as page,
    ):
        api = API if settings.https else f"http://localhost:{gateway.port}"
        tls = authority.client() if settings.https else None
        yield (site := Site(app, page, gateway, upstream, api, tls))
    assert upstream.violations == []
    assert not any(cookie in gateway.log_text() for cookie in site.seen)


def _variables(settings: Settings, certificate: Path, key: Path) -> dict[str, str]:
    variables = {
        "FRAMEWORK": settings.framework,
        "STRATEGY": settings.strategy,
        "DATABASE_URL": settings.database_url,
        "SECRET": SECRET,
        "ACCOUNTS": json.dumps(ACCOUNTS),
    }
    if settings.https:
        variables |= {"ORIGIN": APP, "COOKIE_DOMAIN": "example.com"}
        variables |= {"TLS_CERT": str(certificate), "TLS_KEY": str(key)}
    return variables


def _configuration(
    settings: Settings, certificate: Path, key: Path, app: AuthjsApp, upstream: StubUpstream
) -> str:
    tls = f", tls: {{cert: {certificate}, key: {key}}}" if settings.https else ""
    return f"""
        listen: {{address: 127.0.0.1:0{tls}}}
        admin: 127.0.0.1:0
        log: {{format: json}}
        drain: {{delay: 0s}}
        sessions: {{{settings.sessions}}}
        cors: {{origins: ["{app.origin}"]}}
        upstreams:
          api: {{endpoints: ["{upstream.url}"]}}
        routes: [{settings.routes}]
    """


@asynccontextmanager
async def _visiting(
    app: AuthjsApp, gateway: GatewayProcess, folder: Path, trusted_key: str
) -> AsyncIterator[Page]:
    """Open the app's page in a new browser."""
    profile = folder / "profile"
    profile.mkdir()
    hosts = {
        "app.example.com:443": app.port,
        "api.example.com:443": gateway.port,
        f"127.0.0.1:{app.provider_port}": app.provider_port,
    }
    async with running_chromium(profile, hosts, [trusted_key]) as context:
        context.set_default_timeout(_PATIENCE)
        page = await context.new_page()
        await app.open(page)
        yield page
