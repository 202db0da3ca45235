"""A real PostgreSQL for tests: one server for the whole run, a database of its own for each test.

The server's time zone is New York's, so that whoever takes a time without a zone for local time is
hours wrong.

    async def test_x(database: Database) -> None:
        await database.run("create table ...")
        ... database.url ...
"""

from __future__ import annotations

import itertools
from collections.abc import AsyncIterator, Iterator
from dataclasses import dataclass
from typing import Any, Final

import asyncpg
import pytest

from proxy.demo.postgres import Postgres, running
from tests.support.adapters import Adapter

ZONE: Final = "America/New_York"

_numbers = itertools.count(1)


@dataclass(frozen=True, slots=True)
class Database:
    """One database of a server; `url` is its owner's."""

    server: Postgres
    name: str

    @property
    def url(self) -> str:
        """Its address, with the password of its owner."""
        return self.server.url(self.name)

    async def run(self, *statements: str) -> None:
        """Run statements, each of which may be several."""
        connection = await asyncpg.connect(self.url)
        try:
            for statement in statements:
                await connection.execute(statement)
        finally:
            await connection.close()

    async def value(self, statement: str, *arguments: Any) -> Any:
        """Return the one value that a query yields."""
        connection = await asyncpg.connect(self.url)
        try:
            return await connection.fetchval(statement, *arguments)
        finally:
            await connection.close()

    async def set_up(self, adapter: Adapter) -> None:
        """Make an adapter's tables, with Ada in them."""
        await self.run(adapter.ddl, adapter.insert_user())


async def make_database(server: Postgres) -> Database:
    """Return a new, empty database."""
    name = f"test_{next(_numbers)}"
    await Database(server, "postgres").run(f"create database {name}")
    return Database(server, name)


@pytest.fixture(scope="session")
def postgres() -> Iterator[Postgres]:
    """The server that all tests share. A test that stops it runs one of its own."""
    with running({"timezone": ZONE}) as server:
        yield server


@pytest.fixture
async def database(postgres: Postgres) -> AsyncIterator[Database]:
    """A database for one test."""
    made = await make_database(postgres)
    yield made
    await Database(postgres, "postgres").run(f"drop database {made.name} with (force)")
