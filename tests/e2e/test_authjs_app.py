"""Users sign in to a real Auth.js app with a real browser; their session opens the API, or not."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Final

import pytest

from tests.e2e.authjs_site import SCHEMA, SECRET, Settings, opened
from tests.support.postgres import Database

pytestmark = pytest.mark.usefixtures("authjs_packages")

ROUTES: Final = """
    {path: /**, upstream: api},
    {path: /admin/**, upstream: api, require: {roles: [admin]}}
"""

# What the API hears of a user with an encrypted session.
HEARD: Final = {
    "ada": {
        "X-User-Id": "ada",
        "X-User-Email": "ada@example.com",
        "X-User-Name": "Ada %C5%81ovelace",
        "X-User-Roles": "editor,admin",
    },
    "grace": {
        "X-User-Id": "grace",
        "X-User-Email": "grace@example.com",
        "X-User-Name": "Grace Hopper",
        "X-User-Roles": "admin",
    },
}


@pytest.mark.parametrize(
    ("framework", "https", "login", "cookies"),
    [
        ("auth", False, "ada", ["authjs.session-token"]),
        ("auth", True, "grace", [f"__Secure-authjs.session-token.{n}" for n in range(3)]),
        ("next-auth", True, "grace", [f"__Secure-next-auth.session-token.{n}" for n in range(3)]),
    ],
    ids=["auth-http", "auth-https-chunks", "next-auth-https-chunks"],
)
async def test_an_encrypted_session_opens_the_api_from_sign_in_to_sign_out(
    tmp_path: Path, framework: str, https: bool, login: str, cookies: list[str]
) -> None:
    async with opened(tmp_path, Settings(framework, "jwt", https)) as site:
        assert await site.call() == (401, "session_missing")

        await site.sign_in(login)
        first = await site.session()
        assert sorted(first) == cookies
        assert await site.call() == (200, HEARD[login])
        assert "session-token" not in (site.upstream.requests[-1].get("Cookie") or "")

        await site.app.open(site.page)  # where the app renews it
        second = await site.session()
        assert second.keys() == first.keys()
        assert second != first
        assert await site.call() == (200, HEARD[login])

        await site.sign_out()
        assert await site.session() == {}
        assert await site.call() == (401, "session_missing")
        # Nothing takes an encrypted session back: a copy is good until it expires.
        assert await site.replay(second) == (200, None)


async def make_tables(database: Database) -> str:
    """Make the app's tables; return the database's address for the gateway, which may read them."""
    reader = f"{database.name}_gateway"
    await database.run(
        SCHEMA.read_text(encoding="utf-8"),
        f"CREATE ROLE {reader} LOGIN PASSWORD '{reader}'",
        f'GRANT SELECT ("sessionToken", "userId", expires) ON sessions TO {reader}',
        f"GRANT SELECT (id, name, email, image, role) ON users TO {reader}",
    )
    return database.server.url(database.name, reader, reader)


def stored(name: str, url: str, ttl: str) -> str:
    """Return the configuration of a session in the database that is believed for `ttl`."""
    patience = "{connect: 60s, acquire: 60s, query: 60s}"
    return (
        f"{name}: {{kind: authjs, secret: {SECRET}, cache: {{ttl: {ttl}}}, "
        f'database: {{url: "{url}", columns: [role], timeouts: {patience}}}}}'
    )


@pytest.mark.parametrize(
    ("framework", "https", "cookie"),
    [
        ("auth", True, "__Secure-authjs.session-token"),
        ("next-auth", False, "next-auth.session-token"),
    ],
    ids=["auth-https", "next-auth-http"],
)
async def test_a_session_in_the_database_opens_the_api_while_its_row_says_so(
    tmp_path: Path, database: Database, framework: str, https: bool, cookie: str
) -> None:
    session = stored("web", await make_tables(database), "0s")
    settings = Settings(framework, "database", https, session, ROUTES, database.url)
    async with opened(tmp_path, settings) as site:
        assert await site.call() == (401, "session_missing")

        await site.sign_in("ada")
        assert list(await site.session()) == [cookie]
        assert await site.call() == (
            200,
            {**HEARD["ada"], "X-User-Id": "1", "X-User-Roles": "member"},
        )
        assert "session-token" not in (site.upstream.requests[-1].get("Cookie") or "")

        # What the row says counts from the next request on.
        assert await site.call("/admin/") == (403, "forbidden")
        await database.run("UPDATE users SET role = 'admin'")
        assert (await site.call("/admin/"))[0] == 200
        await database.run("UPDATE sessions SET expires = now() - interval '1 second'")
        assert await site.call() == (401, "session_expired")
        await database.run("UPDATE sessions SET expires = now() + interval '1 hour'")
        assert (await site.call())[0] == 200

        await site.app.open(site.page)  # where the app renews it
        assert await database.value("SELECT expires > now() + interval '1 day' FROM sessions")
        assert (await site.call())[0] == 200

        copy = await site.session()
        await site.sign_out()
        assert await site.session() == {}
        assert await site.call() == (401, "session_missing")
        assert await site.replay(copy) == (401, "session_invalid")


async def test_a_session_ends_within_the_bound_of_the_cache_after_sign_out(
    tmp_path: Path, database: Database
) -> None:
    url = await make_tables(database)
    bounds = {"at-once": "0s", "soon": "1s", "later": "1h"}
    sessions = ", ".join(stored(name, url, ttl) for name, ttl in bounds.items())
    routes = ", ".join(f"{{path: /{n}/**, upstream: api, sessions: [{n}]}}" for n in bounds)
    settings = Settings("auth", "database", False, sessions, routes, database.url)
    async with opened(tmp_path, settings) as site:
        await site.sign_in("ada")
        for name in bounds:
            assert (await site.call(f"/{name}/"))[0] == 200
        copy = await site.session()
        await site.sign_out()

        assert await site.replay(copy, "/at-once/") == (401, "session_invalid")
        async with asyncio.timeout(60):
            while (answer := await site.replay(copy, "/soon/")) == (200, None):
                pass
        assert answer == (401, "session_invalid")
        assert await site.replay(copy, "/later/") == (200, None)
