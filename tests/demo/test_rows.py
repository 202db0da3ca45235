"""The demo's sessions in a real PostgreSQL."""

from __future__ import annotations

from collections.abc import AsyncIterator
from datetime import UTC, datetime
from typing import TypeAlias
from uuid import UUID

import asyncpg
import pytest

from proxy.demo.people import PEOPLE
from proxy.demo.rows import SessionRows, session_rows
from proxy.demo.sessions import LIFETIME

Connection: TypeAlias = "asyncpg.Connection[asyncpg.Record]"

ADA = {"id": "1001", "name": "Ada Lovelace", "role": "admin"}


@pytest.fixture
async def rows(database_url: str) -> AsyncIterator[SessionRows]:
    async with session_rows(database_url) as made:
        yield made


@pytest.fixture
async def database(rows: SessionRows, database_url: str) -> AsyncIterator[Connection]:
    """A look from outside at what is there."""
    del rows
    connection = await asyncpg.connect(database_url)
    yield connection
    await connection.close()


async def test_a_session_names_its_user(rows: SessionRows) -> None:
    token = await rows.make(PEOPLE["ada"], "none")
    assert await rows.describe(token) == {"user": ADA, "code": None}


async def test_a_session_is_a_row_as_auth_js_makes_it(
    rows: SessionRows, database: Connection
) -> None:
    token = await rows.make(PEOPLE["ben"], "none")
    [row] = await database.fetch("SELECT * FROM sessions")
    assert set(row.keys()) == {"id", "userId", "expires", "sessionToken"}
    assert (row["userId"], row["sessionToken"]) == (1002, token)
    assert UUID(token).version == 4
    left = (row["expires"] - datetime.now(UTC)).total_seconds()
    assert LIFETIME - 60 < left <= LIFETIME


async def test_the_tables_are_those_of_the_adapter(
    database: Connection,
) -> None:
    found = await database.fetch(
        "SELECT table_name, column_name, data_type FROM information_schema.columns "
        "WHERE table_schema = 'public' AND table_name IN ('sessions', 'users')"
    )
    assert {tuple(row) for row in found} == {
        ("sessions", "id", "integer"),
        ("sessions", "userId", "integer"),
        ("sessions", "expires", "timestamp with time zone"),
        ("sessions", "sessionToken", "character varying"),
        ("users", "id", "integer"),
        ("users", "name", "character varying"),
        ("users", "email", "character varying"),
        ("users", "emailVerified", "timestamp with time zone"),
        ("users", "image", "text"),
        ("users", "role", "text"),
    }


@pytest.mark.parametrize(
    ("flaw", "code"), [("expired", "session_expired"), ("tampered", "session_invalid")]
)
async def test_a_flaw_is_the_one_that_was_asked_for(
    rows: SessionRows, flaw: str, code: str
) -> None:
    assert flaw in rows.flaws
    token = await rows.make(PEOPLE["ada"], flaw)
    assert await rows.describe(token) == {"user": None, "code": code}


async def test_ended_it_is_gone_and_no_other(rows: SessionRows, database: Connection) -> None:
    token, other = [await rows.make(PEOPLE["ada"], "none") for _ in range(2)]
    assert await rows.end(token)
    assert not await rows.end(token)
    assert await rows.describe(token) == {"user": None, "code": "session_invalid"}
    assert await database.fetchval('SELECT "sessionToken" FROM sessions') == other


@pytest.mark.parametrize("token", ["", "x", "a\0b", "\udcff", "x" * 5000, "' OR true --"])
async def test_what_is_no_key_is_no_fault(rows: SessionRows, token: str) -> None:
    await rows.make(PEOPLE["ada"], "none")
    assert await rows.describe(token) == {"user": None, "code": "session_invalid"}
    assert not await rows.end(token)
