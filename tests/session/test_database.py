"""Sessions in a real PostgreSQL: every adapter's tables, every kind of trouble."""

from __future__ import annotations

import time

import pytest

from proxy.config.model import DatabaseConfig, Tables
from proxy.core.stored import StoredSessions
from proxy.errors import SessionExpired, SessionInvalid, SessionStoreDown
from proxy.session.database import PostgresStore
from tests.support.adapters import ADAPTERS, STRANGERS, Adapter
from tests.support.postgres import Database

HOUR = 3600.0
TOKEN = "f1d2c3b4-0000-4000-8000-00000000abcd"


def quiet(*_: str) -> None:
    """Tell nobody."""


def store_of(database: Database, **more: object) -> PostgresStore:
    given = {"url": database.url, **more}
    return PostgresStore("web", DatabaseConfig.model_validate(given), quiet)


@pytest.mark.parametrize("prepared", ["auto", "never"])
@pytest.mark.parametrize("adapter", ADAPTERS.values(), ids=ADAPTERS)
async def test_the_tables_of_every_adapter_are_found(
    adapter: Adapter, prepared: str, database: Database
) -> None:
    now = time.time()
    await database.set_up(adapter)
    await database.run(
        adapter.insert_session(TOKEN, now + HOUR), adapter.insert_session("expired", now - 1)
    )
    store = store_of(database, prepared=prepared)
    await store.start()
    try:
        rows, expired = await store.fetch(TOKEN), await store.fetch("expired")
        nothing = await store.fetch("unknown")
    finally:
        await store.stop()
    judge = StoredSessions((), alone=True)
    verified = judge.judge(rows, TOKEN, now)
    assert verified.claims == {
        "sub": adapter.user_id,
        "id": adapter.user_id,
        "name": "Ada",
        "email": "ada@example.com",
        "image": "https://example.com/ada.png",
    }
    # MikroORM's column has whole seconds.
    assert verified.expires == pytest.approx(now + HOUR, abs=0.6)
    with pytest.raises(SessionExpired):
        judge.judge(expired, "expired", now)
    assert nothing == []
