"""What every store does: run against the fake of the tests and against the real thing."""

from __future__ import annotations

import time
from collections.abc import AsyncIterator, Awaitable, Callable

import pytest

from proxy.config.model import DatabaseConfig
from proxy.errors import SessionStoreDown
from proxy.session.database import PostgresStore
from proxy.session.store import Store
from tests.support.adapters import ADAPTERS
from tests.support.postgres import Database
from tests.support.stores import FakeStore, row

ADAPTER = ADAPTERS["pg"]
END = float(round(time.time())) + 3600

Insert = Callable[[str], Awaitable[None]]


@pytest.fixture(params=["fake", "postgres"])
async def shop(
    request: pytest.FixtureRequest, database: Database
) -> AsyncIterator[tuple[Store, Insert]]:
    """A store, and a way to put sessions of Ada's into it."""
    if request.param == "fake":
        fake = FakeStore()

        async def remember(token: str) -> None:
            fake.rows.append(row(token, END, ADAPTER.user_id))

        yield fake, remember
        return
    await database.set_up(ADAPTER)
    await database.run("update users set image = null")
    store = PostgresStore("web", DatabaseConfig.model_validate({"url": database.url}), print)

    async def insert(token: str) -> None:
        await database.run(ADAPTER.insert_session(token, END))

    await store.start()
    yield store, insert
    await store.stop()


async def test_a_store_is_one(shop: tuple[Store, Insert]) -> None:
    assert isinstance(shop[0], Store)


async def test_a_token_has_its_row(shop: tuple[Store, Insert]) -> None:
    store, insert = shop
    await insert("one")
    await insert("two")
    assert await store.fetch("one") == [row("one", END, ADAPTER.user_id)]


async def test_an_unknown_token_has_none(shop: tuple[Store, Insert]) -> None:
    store, insert = shop
    await insert("one")
    for token in ("on", "one ", "ONE", "%", "_ne", "", "1; drop table sessions", "'"):
        assert await store.fetch(token) == []


async def test_of_more_rows_two_are_enough(shop: tuple[Store, Insert]) -> None:
    store, insert = shop
    for _ in range(3):
        await insert("one")
    assert len(await store.fetch("one")) == 2


async def test_its_state_says_that_it_is_there(shop: tuple[Store, Insert]) -> None:
    state = shop[0].state()
    assert (state.problem, state.open, state.idle, state.waiting) == ("", 1, 1, 0)
    assert state.tables


async def test_after_its_end_it_is_down(shop: tuple[Store, Insert]) -> None:
    store, insert = shop
    await insert("one")
    await store.stop()
    with pytest.raises(SessionStoreDown, match="stopped"):
        await store.fetch("one")
    assert store.state().problem == "stopped"
