"""One PostgreSQL for the tests of the demo, and an empty database for each."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import count

import asyncpg
import pytest

from proxy.demo import postgres
from proxy.demo.postgres import Postgres

_NUMBERS = count()


@pytest.fixture(scope="session")
def server() -> Iterator[Postgres]:
    with postgres.running() as made:
        yield made


@pytest.fixture
async def database_url(server: Postgres) -> str:
    name = f"demo{next(_NUMBERS)}"
    connection = await asyncpg.connect(server.url())
    await connection.execute(f"CREATE DATABASE {name}")
    await connection.close()
    return server.url(name)
