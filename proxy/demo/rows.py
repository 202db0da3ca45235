"""The demo's sessions of the database strategy: the cookie is the key of a row in PostgreSQL."""

from __future__ import annotations

import uuid
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import UTC, datetime, timedelta
from typing import Any, Final

import asyncpg

from proxy.demo.people import PEOPLE, Person
from proxy.demo.sessions import LIFETIME, changed_in_the_middle

# As the documentation of @auth/pg-adapter has them, but for the role, which an app adds for itself.
TABLES: Final = """\
CREATE TABLE verification_token (
  identifier TEXT NOT NULL,
  expires TIMESTAMPTZ NOT NULL,
  token TEXT NOT NULL,
  PRIMARY KEY (identifier, token)
);

CREATE TABLE accounts (
  id SERIAL,
  "userId" INTEGER NOT NULL,
  type VARCHAR(255) NOT NULL,
  provider VARCHAR(255) NOT NULL,
  "providerAccountId" VARCHAR(255) NOT NULL,
  refresh_token TEXT,
  access_token TEXT,
  expires_at BIGINT,
  id_token TEXT,
  scope TEXT,
  session_state TEXT,
  token_type TEXT,
  PRIMARY KEY (id)
);

CREATE TABLE sessions (
  id SERIAL,
  "userId" INTEGER NOT NULL,
  expires TIMESTAMPTZ NOT NULL,
  "sessionToken" VARCHAR(255) NOT NULL,
  PRIMARY KEY (id)
);

CREATE TABLE users (
  id SERIAL,
  name VARCHAR(255),
  email VARCHAR(255),
  "emailVerified" TIMESTAMPTZ,
  image TEXT,
  role TEXT NOT NULL DEFAULT 'user',
  PRIMARY KEY (id)
);
"""

_ADD_USER: Final = "INSERT INTO users (id, name, email, role) VALUES ($1, $2, $3, $4)"
_ADD: Final = 'INSERT INTO sessions ("userId", expires, "sessionToken") VALUES ($1, $2, $3)'
_FIND: Final = """
SELECT sessions.expires, users.id, users.name, users.role
FROM sessions JOIN users ON users.id = sessions."userId" WHERE sessions."sessionToken" = $1
"""
_END: Final = 'DELETE FROM sessions WHERE "sessionToken" = $1'

_CONNECTIONS: Final = 4
"""One visitor needs one; a page in several tabs a few more."""


class SessionRows:
    """Sessions in a database that has TABLES."""

    flaws = ("expired", "tampered")
    """The row's end has passed; one character of its key was changed, so there is no row."""

    def __init__(self, pool: asyncpg.Pool[asyncpg.Record]) -> None:
        self._pool = pool

    async def make(self, person: Person, flaw: str) -> str:
        # As `generateSessionToken` of Auth.js, which is crypto.randomUUID().
        token = str(uuid.uuid4())
        lifetime = timedelta(seconds=-LIFETIME if flaw == "expired" else LIFETIME)
        await self._pool.execute(_ADD, person.id, datetime.now(UTC) + lifetime, token)
        return changed_in_the_middle(token) if flaw == "tampered" else token

    async def describe(self, token: str) -> dict[str, Any]:
        row = await self._pool.fetchrow(_FIND, token) if _may_be_a_key(token) else None
        if row is None:
            return {"user": None, "code": "session_invalid"}
        if row["expires"] < datetime.now(UTC):
            return {"user": None, "code": "session_expired"}
        user = {"id": str(row["id"]), "name": row["name"], "role": row["role"]}
        return {"user": user, "code": None}

    async def end(self, token: str) -> bool:
        """Delete the row, as signing out does, so that nobody finds it any more."""
        return _may_be_a_key(token) and await self._pool.execute(_END, token) == "DELETE 1"


@asynccontextmanager
async def session_rows(url: str) -> AsyncIterator[SessionRows]:
    """Make the tables and the people in the empty database at `url`; its sessions."""
    # Without ssl=False it would go by PGSSLMODE of the environment.
    async with asyncpg.create_pool(url, ssl=False, min_size=1, max_size=_CONNECTIONS) as pool:
        await pool.execute(TABLES)
        people = [(one.id, one.name, one.email, one.role) for one in PEOPLE.values()]
        await pool.executemany(_ADD_USER, people)
        yield SessionRows(pool)


def _may_be_a_key(token: str) -> bool:
    """Say whether PostgreSQL can take it for text; others than our own cookies may not be."""
    return "\0" not in token and token.isprintable()
