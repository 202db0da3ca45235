"""Sessions in PostgreSQL: finding the tables, and one query for one token.

Law of the file: no exception of asyncpg leaves it, and no message of one is passed on.
"""

from __future__ import annotations

import asyncio
import hashlib
import logging
import random
import ssl
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import asyncpg

from proxy.config.dsn import Dsn, parse_dsn
from proxy.core.catalog import TOKENS, Column, Layout, LayoutError, Table, find_layout
from proxy.core.statement import select_session
from proxy.core.stored import Row, read_row
from proxy.errors import SessionStoreDown
from proxy.session.connections import Connections
from proxy.session.faults import UNUSABLE, reason_of
from proxy.session.store import StoreState

if TYPE_CHECKING:
    from proxy.config.model import DatabaseConfig

_log = logging.getLogger("gatelodge.session")

_ATTEMPTS: Final = 2
"""Of a look-up: a server that restarts ends connections that nobody knew were dead."""
_ENDED: Final = frozenset({"57P01", "57P02", "57P03", "57P05"})
"""SQLSTATEs with which the server ends a connection, a moment before it does."""
_NAME: Final = "gatelodge_session"
"""Of the prepared look-up; a session of PostgreSQL has its names for itself."""
_STALE: Final = frozenset({"42", "0A"})
"""Classes of SQLSTATE that say that the tables are not as they were."""

_CATALOG: Final = """
with relation as (
  select c.oid, n.nspname, c.relname, c.relkind in ('v', 'm') as is_view,
         array_position(coalesce($1::text[], current_schemas(false)::text[]), n.nspname::text)
           as rank
  from pg_catalog.pg_class c join pg_catalog.pg_namespace n on n.oid = c.relnamespace
  where c.relkind in ('r', 'p', 'f', 'v', 'm') and not c.relispartition
    and n.nspname !~ '^pg_' and n.nspname <> 'information_schema'
), wanted as (
  select r.* from relation r
  where r.relname ~* 'users?$' or r.relname = any($2::text[])
     or exists (select from pg_catalog.pg_attribute a
                where a.attrelid = r.oid and a.attname = any($3::text[]))
     or exists (select from pg_catalog.pg_constraint k join pg_catalog.pg_attribute a
                  on a.attrelid = k.conrelid and a.attname = any($3::text[])
                where k.contype = 'f' and k.confrelid = r.oid)
)
select w.nspname::text, w.relname::text, w.rank, w.is_view, a.attname::text,
       pg_catalog.format_type(coalesce(nullif(t.typbasetype, 0), t.oid), null),
       fn.nspname::text, fc.relname::text, fa.attname::text
from wanted w
join pg_catalog.pg_attribute a on a.attrelid = w.oid and a.attnum > 0 and not a.attisdropped
join pg_catalog.pg_type t on t.oid = a.atttypid
left join pg_catalog.pg_constraint k
  on k.contype = 'f' and k.conrelid = w.oid and k.conkey = array[a.attnum]
left join pg_catalog.pg_class fc on fc.oid = k.confrelid
left join pg_catalog.pg_namespace fn on fn.oid = fc.relnamespace
left join pg_catalog.pg_attribute fa on fa.attrelid = k.confrelid and fa.attnum = k.confkey[1]
order by 1, 2, a.attnum
"""

_INDEX: Final = """
select exists (
  select from pg_catalog.pg_index i
  join pg_catalog.pg_class c on c.oid = i.indrelid
  join pg_catalog.pg_namespace n on n.oid = c.relnamespace
  join pg_catalog.pg_attribute a on a.attrelid = i.indrelid and a.attnum = i.indkey[0]
  where n.nspname = $1 and c.relname = $2 and a.attname = $3 and i.indisvalid
    and i.indpred is null
)
"""


class Connection:
    """One connection with the look-up prepared on it."""

    def __init__(
        self,
        raw: asyncpg.Connection[asyncpg.Record],
        statement: asyncpg.prepared_stmt.PreparedStatement[asyncpg.Record],
        layout: Layout,
        patience: float,
    ) -> None:
        self._raw = raw
        self._statement = statement
        self._layout = layout
        self._patience = patience

    def __repr__(self) -> str:
        return f"<Connection closed={self.is_closed()}>"

    def is_closed(self) -> bool:
        """Say whether it has ended."""
        return self._raw.is_closed()

    def terminate(self) -> None:
        """End it now."""
        self._raw.terminate()

    async def ping(self) -> None:
        """Return if it lives. Raises SessionStoreDown."""
        try:
            async with asyncio.timeout(self._patience):
                await self._raw.execute("select 1")
        except Exception as error:  # noqa: BLE001 - whatever it is, this connection is of no use
            raise SessionStoreDown(reason_of(error)) from None

    async def fetch(self, token: str) -> list[Row]:
        """Return the rows of a token. Raises what asyncpg raises, and TimeoutError."""
        async with asyncio.timeout(self._patience):
            records = await self._statement.fetch(token)
        return [read_row(tuple(record), self._layout.clock) for record in records]

    async def has_index(self) -> bool:
        """Say whether there is an index that begins with the token. Raises as `fetch` does."""
        schema, table = self._layout.sessions
        async with asyncio.timeout(self._patience), self._raw.transaction():
            return bool(await self._raw.fetchval(_INDEX, schema, table, self._layout.token))


class PostgresStore:
    """The sessions of one configured session, `name`.

    `tell` is told of every change: the reason why the database cannot be asked, or "" and where the
    sessions are. Raises OSError (ssl.SSLError among them) when a file of it cannot be used.
    """

    def __init__(
        self, name: str, config: DatabaseConfig, tell: Callable[[str, str, str], None]
    ) -> None:
        self._name = name
        self._config = config
        dsn = parse_dsn(config.url.get_secret_value())
        self._schemas = None if dsn.schemas is None else list(dsn.schemas)
        self._keeps_statements = config.prepared == "always" or (
            config.prepared == "auto" and not dsn.pooled
        )
        self._arguments = _arguments(config, dsn)
        self._files = _contents(config)
        self._layout: Layout | None = None
        self._misfit = ""
        self._connections = Connections(
            self._connect,
            config.connections,
            config.timeouts.acquire,
            chance=random.random,
            changed=lambda problem: tell(name, problem, self.state().tables),
        )

    def __repr__(self) -> str:
        return f"<PostgresStore {self._name} {self._connections!r}>"

    @property
    def layout(self) -> Layout | None:
        """Where the sessions are, once that is known."""
        return self._layout

    def serves(self, config: DatabaseConfig) -> bool:
        """Whether a store made for `config` now would be like this one. Raises OSError."""
        return config == self._config and _contents(config) == self._files

    async def start(self) -> None:
        """Connect. Raises ValueError when the database is there and its tables do not fit."""
        await self._connections.start()
        if self._misfit:
            await self.stop()
            raise ValueError(f"sessions.{self._name}.database: {self._misfit}")

    async def stop(self) -> None:
        """End, with all that is in flight."""
        await self._connections.stop()

    def state(self) -> StoreState:
        """Return how it is."""
        links = self._connections
        tables = "" if self._layout is None else str(self._layout)
        return StoreState(links.problem, tables, links.open, links.idle, links.waiting)

    async def fetch(self, token: str) -> Sequence[Row]:
        """Return the rows of a token, at most two. Raises SessionStoreDown."""
        for _ in range(_ATTEMPTS - 1):
            try:
                return await self._ask(token)
            except _Lost:
                continue
        return await self._ask(token)

    async def lacks_index(self) -> bool:
        """Say whether every look-up reads the whole table. Raises SessionStoreDown."""
        if self._layout is None:
            return False
        link = await self._connections.acquire()
        try:
            return not await link.has_index()
        except Exception as error:  # noqa: BLE001 - whatever it is, the store has not answered
            raise SessionStoreDown(reason_of(error)) from None
        finally:
            self._connections.release(link)

    async def _ask(self, token: str) -> list[Row]:
        link = await self._connections.acquire()
        try:
            rows = await link.fetch(token)
        except asyncio.CancelledError:
            self._connections.discard(link)
            raise
        except Exception as error:  # noqa: BLE001 - whatever it is, the store has not answered
            raise self._lost(link, error) from None
        self._connections.release(link)
        return rows

    def _lost(self, link: Connection, error: Exception) -> SessionStoreDown:
        """Give up a link on which a look-up failed; return what that means."""
        state = getattr(error, "sqlstate", None) or ""
        lost = link.is_closed() or state in _ENDED or isinstance(error, UNUSABLE)
        self._connections.discard(link)
        if state[:2] in _STALE:
            lost, self._layout = True, None
            self._connections.discard_idle()
        return (_Lost if lost else SessionStoreDown)(reason_of(error))

    async def _connect(self) -> Connection:
        """Open a connection that is ready to look up. Raises SessionStoreDown."""
        try:
            async with asyncio.timeout(self._config.timeouts.connect):
                return await self._dial()
        except LayoutError as error:
            self._misfit = str(error)
            raise SessionStoreDown(self._misfit) from None
        except Exception as error:  # noqa: BLE001 - the one who connects must never die
            if (getattr(error, "sqlstate", None) or "")[:2] in _STALE:
                self._layout = None
            raise SessionStoreDown(reason_of(error)) from None

    async def _dial(self) -> Connection:
        raw = await asyncpg.connect(**self._arguments)
        try:
            layout = self._layout or await self._find_layout(raw)
            # A statement without a name goes along with each look-up, in the same round trip, so
            # it may find another server behind a pooler each time.
            name = _NAME if self._keeps_statements else ""
            statement = await raw.prepare(select_session(layout), name=name)
            link = Connection(raw, statement, layout, self._config.timeouts.query)
            # Preparing shows neither whether the role may read the tables, nor does it end: asyncpg
            # sends no Sync after it, so the server keeps a lock that a migration would wait for.
            await link.fetch("")
        except BaseException:
            raw.terminate()
            raise
        self._layout, self._misfit = layout, ""
        raw.add_termination_listener(lambda _: self._connections.forget(link))
        return link

    async def _find_layout(self, raw: asyncpg.Connection[asyncpg.Record]) -> Layout:
        """Read the catalog. Raises LayoutError."""
        wanted = None if self._config.tables == "auto" else self._config.tables
        names = [] if wanted is None else [wanted.sessions.table, wanted.users.table]
        tails = [name.rpartition(".")[2] for name in names]
        async with raw.transaction():
            records = await raw.fetch(_CATALOG, self._schemas, tails, list(TOKENS))
        return find_layout(_tables(records), wanted, self._config.columns)


def log_change(session: str, problem: str, tables: str) -> None:
    """Tell operators that a store cannot be asked any more, or can be again."""
    if problem:
        _log.error("session store is down", extra={"session": session, "reason": problem})
    else:
        _log.info("session store is up", extra={"session": session, "tables": tables})


class _Lost(SessionStoreDown):
    """The connection was of no use; another may be."""


def _arguments(config: DatabaseConfig, dsn: Dsn) -> dict[str, Any]:
    """Return what asyncpg is told: everything, so that it looks for nothing in the environment."""
    password = dsn.password if config.password is None else config.password.get_secret_value()
    return {
        "host": [host for host, _ in dsn.hosts],
        "port": [port for _, port in dsn.hosts],
        "user": dsn.user,
        "password": password or "",
        "database": dsn.database,
        "ssl": _tls(config, dsn),
        "target_session_attrs": dsn.target or "any",
        "timeout": config.timeouts.connect,
        "statement_cache_size": 0,
        "server_settings": {"application_name": "gatelodge"},
    }


def _contents(config: DatabaseConfig) -> tuple[bytes, ...]:
    """Return a digest of each file that a connection is made with. Raises OSError."""
    root = config.sslrootcert or parse_dsn(config.url.get_secret_value()).sslrootcert
    files = (root, config.sslcert, config.sslkey)
    return tuple(
        hashlib.sha256(Path(file).read_bytes()).digest() for file in files if file is not None
    )


def _tls(config: DatabaseConfig, dsn: Dsn) -> ssl.SSLContext | str | bool:
    """Return TLS as libpq's sslmode means it. Raises OSError."""
    mode = config.sslmode or dsn.sslmode or "prefer"
    if mode == "disable":
        return False
    if mode == "prefer":
        return "prefer"
    root = config.sslrootcert or dsn.sslrootcert
    context = ssl.create_default_context(cafile=None if root is None else str(root))
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    context.check_hostname = mode == "verify-full"
    if mode == "require" and root is None:
        context.verify_mode = ssl.CERT_NONE
    if config.sslcert is not None:
        # Without a password OpenSSL would ask for an encrypted key's on the terminal, and wait.
        context.load_cert_chain(config.sslcert, config.sslkey, password=lambda: "")
    return context


def _tables(records: Sequence[Any]) -> list[Table]:
    """Return the tables that the catalog's rows speak of."""
    columns: dict[tuple[str, str, int | None, bool], dict[str, Column]] = {}
    for schema, name, rank, is_view, column, kind, *references in records:
        target = (references[0], references[1], references[2]) if references[0] else None
        of_table = columns.setdefault((schema, name, rank, is_view), {})
        of_table[column] = Column(column, kind, target)
    return [Table(*table, of_table) for table, of_table in columns.items()]
