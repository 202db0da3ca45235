"""Sessions in a real PostgreSQL: every adapter's tables, every kind of trouble."""

from __future__ import annotations

import asyncio
import logging
import ssl
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import asyncpg
import pytest

from proxy.config.model import DatabaseConfig
from proxy.core.stored import StoredSessions
from proxy.errors import SessionExpired, SessionStoreDown
from proxy.session.database import Connection, PostgresStore, log_change
from tests.support.adapters import ADAPTERS, STRANGERS, Adapter
from tests.support.certificates import Authority
from tests.support.postgres import Database

HOUR = 3600.0
TOKEN = "f1d2c3b4-0000-4000-8000-00000000abcd"


NO_TLS = "no TLS came about: the server has none, or ended the connection (sslmode)"


def quiet(*_: str) -> None:
    """Tell nobody."""


def store_of(database: Database, **more: object) -> PostgresStore:
    given = {"url": database.url, **more}
    return PostgresStore("web", DatabaseConfig.model_validate(given), quiet)


@asynccontextmanager
async def started(store: PostgresStore) -> AsyncIterator[PostgresStore]:
    await store.start()
    try:
        yield store
    finally:
        await store.stop()


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
    async with started(store_of(database, prepared=prepared)) as store:
        rows, expired = await store.fetch(TOKEN), await store.fetch("expired")
        nothing = await store.fetch("unknown")
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


async def misfit(database: Database, **more: object) -> str:
    """Return why a gateway does not start with this database."""
    store = store_of(database, **more)
    with pytest.raises(ValueError, match=r"^sessions\.web\.database: ") as caught:
        await store.start()
    assert store.state().open == 0
    return str(caught.value).partition(": ")[2]


@pytest.mark.parametrize("ddl", STRANGERS.values(), ids=STRANGERS)
async def test_tables_of_others_are_not_taken_for_auth_js_s(ddl: str, database: Database) -> None:
    await database.run(ddl)
    assert (await misfit(database)).startswith("no table of the database looks like")


@pytest.mark.parametrize("ddl", STRANGERS.values(), ids=STRANGERS)
async def test_tables_of_others_do_not_disturb(ddl: str, database: Database) -> None:
    adapter = ADAPTERS["prisma"]
    await database.run(ddl)
    await database.set_up(adapter)
    await database.run(adapter.insert_session(TOKEN, time.time() + HOUR))
    async with started(store_of(database)) as store:
        assert len(await store.fetch(TOKEN)) == 1


async def test_an_empty_database_is_told_of(database: Database) -> None:
    assert "has the app created its tables in this database?" in await misfit(database)


async def test_two_adapters_in_one_database_are_told_of_and_can_be_named(
    database: Database,
) -> None:
    old, new = ADAPTERS["typeorm-legacy"], ADAPTERS["prisma"]
    await database.set_up(old)
    await database.run(new.ddl.replace('"Account"', '"Account2"'), new.insert_user())
    await database.run(new.insert_session(TOKEN, time.time() + HOUR))
    told = await misfit(database)
    assert "public.Session, public.sessions" in told
    tables = {"sessions": {"table": "public.Session"}, "users": {"table": "public.User"}}
    async with started(store_of(database, tables=tables)) as store:
        [row] = await store.fetch(TOKEN)
    assert row.id == new.user_id


async def test_the_search_path_is_respected(database: Database) -> None:
    adapter = ADAPTERS["prisma"]
    await database.set_up(adapter)
    await database.run(
        "create schema tenant; set search_path to tenant;" + adapter.ddl,
        f"alter database {database.name} set search_path to tenant, public",
        "set search_path to tenant;insert into \"User\" (id, name) values ('t-1', 'Tenant')",
        "set search_path to tenant;"
        + adapter.insert_session(TOKEN, time.time() + HOUR, user="t-1"),
    )
    async with started(store_of(database)) as store:
        assert [row.id for row in await store.fetch(TOKEN)] == ["t-1"]
        assert store.state().tables.startswith("tenant.Session (")
    # Prisma's own way to say the same.
    for schema, found in (("public", 0), ("tenant", 1)):
        url = f"{database.url}?schema={schema}"
        async with started(store_of(database, url=url)) as store:
            assert len(await store.fetch(TOKEN)) == found


ODD = """
create schema "my app";
create type level as enum ('low', 'high');
create domain user_id as bigint;
create table "my app"."Üser" ("P K" user_id primary key, "e""mail" text, level level,
  tags text[], settings jsonb, plain json, active boolean, born date, score numeric,
  big bigint, ref uuid);
create table "my app"."sess;ions" ("to ken" text, "select" text, until bigint);
insert into "my app"."Üser" values (7, 'a@x', 'high', '{a,"b c"}', '{"org": {"id": 9}}',
  '{"n": "\\u0000"}', true, '2000-01-02', 1.50, 9007199254740993,
  '7f2f2a0e-5d1c-4b9e-9a51-0d8f0c6f7e11');
"""


async def test_odd_names_and_types_are_read(database: Database) -> None:
    end = round(time.time()) + 60
    await database.run(
        ODD, f"""insert into "my app"."sess;ions" values ('{TOKEN}', '7', {end}500)"""
    )
    tables = {
        "sessions": {
            "table": "my app.sess;ions",
            "token": "to ken",
            "user": "select",
            "expires": "until",
        },
        "users": {"table": "my app.Üser", "id": "P K", "email": 'e"mail'},
    }
    columns = ["level", "tags", "settings", "plain", "active", "born", "score", "big", "ref"]
    async with started(store_of(database, tables=tables, columns=columns)) as store:
        rows = await store.fetch(TOKEN)
    verified = StoredSessions(columns, alone=True).judge(rows, TOKEN, end)
    assert verified.expires == end + 0.5
    assert verified.claims == {
        "sub": "7",
        "id": "7",
        "email": "a@x",
        "level": "high",
        "tags": ["a", "b c"],
        "settings": {"org": {"id": 9}},
        "plain": {"n": "\0"},
        "active": True,
        "born": "2000-01-02",
        "score": 1.5,
        "big": 9007199254740993,
        "ref": "7f2f2a0e-5d1c-4b9e-9a51-0d8f0c6f7e11",
    }


async def test_a_further_column_that_is_missing_is_told_of(database: Database) -> None:
    await database.set_up(ADAPTERS["prisma"])
    assert await misfit(database, columns=["role"]) == "public.User has no column 'role'"


async def test_a_session_without_a_user_has_a_row_and_no_id(database: Database) -> None:
    adapter = ADAPTERS["supabase"]
    end = adapter.end(time.time() + HOUR)
    await database.set_up(adapter)
    await database.run(
        f"insert into next_auth.sessions (expires, \"sessionToken\") values ({end}, 'nobody')"
    )
    async with started(store_of(database)) as store:
        [row] = await store.fetch("nobody")
    assert row.id is None


async def test_epoch_milliseconds_that_are_none_spoil_one_session_only(database: Database) -> None:
    adapter = ADAPTERS["typeorm"]
    await database.set_up(adapter)
    await database.run(
        adapter.insert_session(TOKEN, time.time() + HOUR),
        adapter.insert_session("bad", 0).replace("'0'", "'soon'"),
    )
    async with started(store_of(database)) as store:
        [bad] = await store.fetch("bad")
        [good] = await store.fetch(TOKEN)
    assert bad.expires is None
    assert good.expires is not None


async def test_infinity_never_ends(database: Database) -> None:
    adapter = ADAPTERS["pg"]
    await database.set_up(adapter)
    insert = adapter.insert_session(TOKEN, 0)
    await database.run(insert.replace(adapter.end(0), "'infinity'"))
    async with started(store_of(database)) as store:
        rows = await store.fetch(TOKEN)
    assert StoredSessions((), alone=True).judge(rows, TOKEN, time.time()).expires is None


async def test_a_password_apart_from_the_url_counts(database: Database, tmp_path: Path) -> None:
    await database.set_up(ADAPTERS["pg"])
    url, _, host = database.url.rpartition("@")
    scheme, user, password = url.split(":", 2)
    bare = f"{scheme}:{user}@{host}"
    file = tmp_path / "password"
    file.write_text(password, encoding="utf-8")
    async with started(store_of(database, url=bare, password=file.read_text("utf-8"))) as store:
        assert store.state().problem == ""
    async with started(store_of(database, url=bare)) as store:
        assert "SQLSTATE 28P01" in store.state().problem


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        (("/test_", "/no_such_"), "there is no such database (SQLSTATE 3D000)"),
        (("postgres:", "nobody:"), "it refuses the password, or does not know the user"),
        (("127.0.0.1", "nowhere.invalid"), "its name cannot be resolved"),
    ],
)
async def test_a_database_that_refuses_us_is_down_with_a_reason(
    change: tuple[str, str], reason: str, database: Database
) -> None:
    url = database.url.replace(*change)
    assert url != database.url
    async with started(store_of(database, url=url)) as store:
        assert store.state().problem.startswith(reason)
        with pytest.raises(SessionStoreDown) as caught:
            await store.fetch(TOKEN)
        assert caught.value.reason.startswith(reason)


async def test_a_role_needs_no_more_than_the_named_columns(database: Database) -> None:
    adapter = ADAPTERS["prisma"]
    await database.set_up(adapter)
    await database.run(
        adapter.insert_session(TOKEN, time.time() + HOUR),
        f"create role {database.name} login password 'reader'",
    )
    url = database.server.url(database.name, database.name, "reader")
    async with started(store_of(database, url=url)) as store:
        assert store.state().problem == "the role may not read the tables (SQLSTATE 42501)"
    await database.run(
        f'grant select ("sessionToken", "userId", expires) on "Session" to {database.name}',
        f'grant select (id, name, email, image) on "User" to {database.name}',
    )
    try:
        async with started(store_of(database, url=url)) as store:
            assert len(await store.fetch(TOKEN)) == 1
    finally:
        await database.run(f"drop owned by {database.name}; drop role {database.name}")


async def test_a_slow_database_is_down_in_time_and_asked_to_stop(database: Database) -> None:
    await database.set_up(ADAPTERS["pg"])
    timeouts = {"query": 0.2}
    async with started(store_of(database, timeouts=timeouts)) as store:
        locker = await asyncpg.connect(database.url)
        await locker.execute("begin; lock table users in access exclusive mode")
        with pytest.raises(SessionStoreDown) as caught:
            await store.fetch(TOKEN)
        assert caught.value.reason == "no answer in time"
        await locker.execute("rollback")
        await locker.close()
        assert await store.fetch(TOKEN) == []
    running = "select count(*) from pg_stat_activity where application_name = 'gatelodge'"
    await until_value(database, running + f" and datname = '{database.name}'", 0)


async def until_value(database: Database, query: str, expected: object) -> None:
    async with asyncio.timeout(10):
        while await database.value(query) != expected:  # noqa: ASYNC110 - PostgreSQL tells nobody
            await asyncio.sleep(0.01)


async def test_a_connection_that_is_cut_costs_no_look_up(database: Database) -> None:
    await database.set_up(ADAPTERS["pg"])
    async with started(store_of(database)) as store:
        for _ in range(5):
            assert await database.value(cut(database)) == 1
            assert await store.fetch(TOKEN) == []
            await until_value(database, cut(database).replace("pg_terminate_backend(pid)", "*"), 1)


async def test_a_look_up_whose_connection_is_cut_is_made_again(database: Database) -> None:
    await database.set_up(ADAPTERS["pg"])
    ours = (
        "from pg_stat_activity where application_name = 'gatelodge' "
        f"and datname = '{database.name}'"
    )
    async with started(store_of(database, timeouts={"query": 30.0, "connect": 30.0})) as store:
        locker = await asyncpg.connect(database.url)
        await locker.execute("begin; lock table users in access exclusive mode")
        asking = asyncio.create_task(store.fetch(TOKEN))
        await until_value(database, f"select wait_event_type {ours}", "Lock")
        assert await database.value(f"select count(pg_terminate_backend(pid)) {ours}") == 1
        await locker.close()
        assert await asking == []


def cut(database: Database) -> str:
    """Return the query that ends our connections and counts them."""
    return (
        "select count(pg_terminate_backend(pid)) from pg_stat_activity "
        f"where application_name = 'gatelodge' and datname = '{database.name}'"
    )


async def ping_until_it_fails(link: Connection) -> None:
    """Wait for the end of a connection that the server has begun to end."""
    async with asyncio.timeout(10):
        while True:
            await link.ping()


async def test_a_connection_says_whether_it_lives(database: Database) -> None:
    await database.set_up(ADAPTERS["pg"])
    async with started(store_of(database)) as store:
        link = await store._connections.acquire()
        await link.ping()
        assert repr(link) == "<Connection closed=False>"
        assert await database.value(cut(database)) == 1
        with pytest.raises(SessionStoreDown):
            await ping_until_it_fails(link)
        store._connections.discard(link)
        assert repr(store).startswith("<PostgresStore web <Connections open=")


async def test_tables_that_change_while_we_are_away_are_found_again(database: Database) -> None:
    await database.set_up(ADAPTERS["pg"])
    async with started(store_of(database)) as store:
        link = await store._connections.acquire()
        await database.run('alter table sessions rename "sessionToken" to session_token')
        store._connections.discard(link)
        async with asyncio.timeout(10):
            while "session_token" not in store.state().tables:  # noqa: ASYNC110 - as above
                await asyncio.sleep(0.01)
        assert await store.fetch(TOKEN) == []


async def test_tables_that_change_are_found_again(database: Database) -> None:
    adapter = ADAPTERS["pg"]
    await database.set_up(adapter)
    await database.run(adapter.insert_session(TOKEN, time.time() + HOUR))
    async with started(store_of(database)) as store:
        assert len(await store.fetch(TOKEN)) == 1
        await database.run('alter table sessions rename "sessionToken" to session_token')
        assert len(await store.fetch(TOKEN)) == 1
        await database.run("alter table users alter id type bigint")
        assert len(await store.fetch(TOKEN)) == 1
        await database.run("alter table sessions rename to old; alter table users rename to u2")
        with pytest.raises(SessionStoreDown) as caught:
            await store.fetch(TOKEN)
        assert "no table of users goes with it" in caught.value.reason
        await database.run("alter table old rename to sessions; alter table u2 rename to users")
        async with asyncio.timeout(10):
            while store.state().problem:  # noqa: ASYNC110 - it is found by trying
                await asyncio.sleep(0.01)
        assert len(await store.fetch(TOKEN)) == 1


async def test_a_thousand_look_ups_share_few_connections(database: Database) -> None:
    adapter = ADAPTERS["pg"]
    await database.set_up(adapter)
    await database.run(
        'insert into sessions ("userId", expires, "sessionToken") '
        "select 42, now() + interval '1 hour', 't-' || n from generate_series(0, 999) n"
    )
    async with started(store_of(database, connections=3, timeouts={"acquire": 60.0})) as store:
        found = await asyncio.gather(*(store.fetch(f"t-{number}") for number in range(1000)))
        assert store.state().open == 3
    assert [[row.token for row in rows] for rows in found] == [[f"t-{n}"] for n in range(1000)]


@pytest.mark.parametrize("prepared", ["always", "never"])
async def test_an_idle_connection_holds_no_lock(prepared: str, database: Database) -> None:
    await database.set_up(ADAPTERS["pg"])
    lock = "begin; lock table users, sessions in access exclusive mode nowait; rollback"
    async with started(store_of(database, prepared=prepared)) as store:
        await database.run(lock)
        await store.fetch(TOKEN)
        await database.run(lock)


@pytest.mark.parametrize(
    ("query", "prepared", "names"),
    [
        ("", "auto", ["gatelodge_session"]),
        ("?pgbouncer=true", "auto", []),
        ("?pgbouncer=true", "always", ["gatelodge_session"]),
        ("", "never", []),
    ],
)
async def test_the_look_up_is_prepared_where_a_pooler_allows(
    query: str, prepared: str, names: list[str], database: Database
) -> None:
    await database.set_up(ADAPTERS["pg"])
    # What is prepared is known to its own connection only, so that has to look for itself.
    await database.run(
        "create view s as select coalesce((select string_agg(name, ',') from "
        "pg_prepared_statements), '') as token, '42' as \"user\", now() as expires"
    )
    tables = {
        "sessions": {"table": "s", "token": "token", "user": "user", "expires": "expires"},
        "users": {"table": "users"},
    }
    store = store_of(database, url=database.url + query, prepared=prepared, tables=tables)
    async with started(store):
        assert len(await store.fetch(",".join(names))) == 1


async def test_an_index_that_is_missing_is_noticed(database: Database) -> None:
    await database.set_up(ADAPTERS["pg"])
    async with started(store_of(database)) as store:
        assert await store.lacks_index()
        await database.run('create unique index on sessions ("sessionToken")')
        assert not await store.lacks_index()


async def test_changes_are_logged_without_the_address(
    database: Database, caplog: pytest.LogCaptureFixture
) -> None:
    await database.set_up(ADAPTERS["pg"])
    with caplog.at_level(logging.DEBUG):
        for url in (database.url, database.url.replace(":postgres:", ":hunter2")):
            config = DatabaseConfig.model_validate({"url": url})
            async with started(PostgresStore("web", config, log_change)):
                pass
        wrong = database.url.replace("postgres:", "hunter2:").replace("//hunter2", "//postgres", 1)
        config = DatabaseConfig.model_validate({"url": wrong})
        async with started(PostgresStore("web", config, log_change)):
            pass
    told = [(record.levelname, record.getMessage(), vars(record)) for record in caplog.records]
    assert ("INFO", "session store is up") in [each[:2] for each in told]
    for _, _, record in told:
        assert not any(part in str(record) for part in ("hunter2", "127.0.0.1", database.name))


@pytest.fixture
async def behind_tls(database: Database, tmp_path: Path) -> AsyncIterator[tuple[str, Path]]:
    """The URL of the database behind TLS for the name localhost, and the file with its root."""
    await database.set_up(ADAPTERS["pg"])
    authority = Authority(tmp_path)
    context = authority.server("localhost", address=None)
    async with TlsFront(database.server.port, context) as port:
        yield database.url.replace(f":{database.server.port}/", f":{port}/"), authority.ca


@pytest.mark.parametrize(
    ("host", "mode", "has_root", "reason"),
    [
        ("localhost", "verify-full", True, ""),
        ("127.0.0.1", "verify-full", True, "TLS: its certificate is not for this host"),
        ("localhost", "verify-full", False, "TLS: its certificate is not trusted"),
        ("127.0.0.1", "verify-ca", True, ""),
        ("127.0.0.1", "verify-ca", False, "TLS: its certificate is not trusted"),
        ("127.0.0.1", "require", False, ""),
        ("127.0.0.1", "require", True, ""),
        ("127.0.0.1", "prefer", False, ""),
        ("127.0.0.1", "disable", False, "the connection"),
    ],
)
@pytest.mark.parametrize("where", ["url", "key"])
async def test_tls_is_as_sslmode_says(
    host: str,
    mode: str,
    has_root: bool,
    reason: str,
    where: str,
    behind_tls: tuple[str, Path],
    database: Database,
) -> None:
    url, root = behind_tls[0].replace("127.0.0.1", host), behind_tls[1]
    given: dict[str, Any] = {"url": url, "timeouts": {"connect": 2.0 if not reason else 0.5}}
    if where == "key":
        given |= {"sslmode": mode} | ({"sslrootcert": str(root)} if has_root else {})
    else:
        given["url"] += f"?sslmode={mode}" + (f"&sslrootcert={root}" if has_root else "")
    async with started(store_of(database, **given)) as store:
        assert store.state().problem.startswith(reason)
        assert bool(store.state().problem) is bool(reason)


@pytest.mark.parametrize("mode", ["require", "verify-full"])
async def test_a_server_without_tls_is_refused_where_tls_is_a_must(
    mode: str, database: Database
) -> None:
    await database.set_up(ADAPTERS["pg"])
    async with started(store_of(database, sslmode=mode)) as store:
        assert store.state().problem == NO_TLS


class TlsFront:
    """Stands before a server that has no TLS, as a server that has it: answers SSLRequest with `S`
    (PostgreSQL, section 54.2.11), and passes on what comes inside.
    """

    def __init__(self, port: int, context: ssl.SSLContext) -> None:
        self._target = port
        self._context = context
        self.encrypted = 0

    async def __aenter__(self) -> int:
        self._server = await asyncio.start_server(self._serve, "127.0.0.1", 0)
        port: int = self._server.sockets[0].getsockname()[1]
        return port

    async def __aexit__(self, *_: object) -> None:
        self._server.close()

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        if await reader.readexactly(8) != b"\0\0\0\x08\x04\xd2\x16\x2f":
            writer.close()
            return
        writer.write(b"S")
        try:
            await writer.start_tls(self._context)
        except (ssl.SSLError, OSError):
            return
        self.encrypted += 1
        inner, outer = await asyncio.open_connection("127.0.0.1", self._target)
        await asyncio.gather(self._pass(reader, outer), self._pass(inner, writer))

    async def _pass(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            while data := await reader.read(65536):
                writer.write(data)
        except OSError:
            pass
        writer.close()
