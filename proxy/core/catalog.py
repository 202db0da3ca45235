"""Which tables and columns hold the sessions: from what PostgreSQL's catalog says.

Facts: every adapter of Auth.js for PostgreSQL has a table with the token, the user's id and the end
of each session, in one of two spellings, under a name that ends in "session" or "sessions". Better
Auth calls its columns `token` and `expiresAt`, and what it stores is another thing: its cookie is
signed. The column of the end has one of four kinds of type, and only the type tells which.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from difflib import get_close_matches
from typing import Final, Literal

from proxy.config.model import SessionTable, Tables, UserTable

TOKENS: Final = ("sessionToken", "session_token")
USERS: Final = ("userId", "user_id")
EXPIRES: Final = ("expires",)

Clock = Literal["instant", "utc", "milliseconds"]
CLOCKS: Final[Mapping[str, Clock]] = {
    "timestamp with time zone": "instant",
    "timestamp without time zone": "utc",
    "character varying": "milliseconds",
    "text": "milliseconds",
    "bigint": "milliseconds",
    "numeric": "milliseconds",
}
"""Type of the column that holds the end -> what its values mean.

Prisma and Drizzle write UTC into columns without a time zone, TypeORM writes milliseconds since
1970 into text.
"""

_TEXTS: Final = frozenset({"text", "character varying", "character", "citext"})
_NUMBERS: Final = frozenset({"smallint", "integer", "bigint"})
_SESSION: Final = re.compile(r"(s)ession(s?)\Z", re.IGNORECASE)


class LayoutError(ValueError):
    """The tables cannot be found, or not be told apart; the message says what to write."""


@dataclass(frozen=True, slots=True)
class Column:
    """A column: its name, its type without length, and the column that it references, if one."""

    name: str
    type: str
    references: tuple[str, str, str] | None = None


@dataclass(frozen=True, slots=True)
class Table:
    """A table or view. `rank` is the place of its schema in the search path, None if it is not in
    it.
    """

    schema: str
    name: str
    rank: int | None
    is_view: bool
    columns: Mapping[str, Column]

    def __str__(self) -> str:
        return f"{self.schema}.{self.name}"

    def first(self, names: Iterable[str]) -> str | None:
        """Return the first of the names that is a column here."""
        return next((name for name in names if name in self.columns), None)


@dataclass(frozen=True, slots=True)
class Layout:
    """Where sessions and users are. `user_cast` is the type that a session's user id needs to be
    compared with the users' ids, None if they are alike; what the users do not have is None.
    """

    sessions: tuple[str, str]
    token: str
    user: str
    expires: str
    clock: Clock
    users: tuple[str, str]
    id: str
    user_cast: str | None
    name: str | None
    email: str | None
    image: str | None
    columns: tuple[str, ...]

    def __str__(self) -> str:
        read = [self.token, self.user, self.expires]
        known = [self.id, self.name, self.email, self.image, *self.columns]
        shown = [name for name in known if name is not None]
        return (
            f"{'.'.join(self.sessions)} ({', '.join(read)}), "
            f"{'.'.join(self.users)} ({', '.join(shown)})"
        )


def find_layout(
    tables: Sequence[Table], wanted: Tables | None, columns: Sequence[str] = ()
) -> Layout:
    """Return the layout: of the `wanted` tables, or of those that an adapter has made.

    `columns` are further columns of the users. Raises LayoutError.
    """
    if wanted is None:
        sessions = _only(_candidates(tables), tables)
        named, users = SessionTable(table=str(sessions)), _users_of(sessions, tables)
        named_users = UserTable(table=str(users))
    else:
        named, named_users = wanted.sessions, wanted.users
        sessions, users = _named(named.table, tables), _named(named_users.table, tables)
    token = _column(sessions, "token", named.token, TOKENS)
    user = _column(sessions, "user", named.user, USERS)
    expires = _column(sessions, "expires", named.expires, EXPIRES)
    identity = _column(users, "id", named_users.id, ("id",))
    _check_token(sessions, token)
    return Layout(
        sessions=(sessions.schema, sessions.name),
        token=token,
        user=user,
        expires=expires,
        clock=_clock(sessions, expires),
        users=(users.schema, users.name),
        id=identity,
        user_cast=_cast(sessions.columns[user].type, users.columns[identity].type),
        name=_optional(users, named_users.name, "name"),
        email=_optional(users, named_users.email, "email"),
        image=_optional(users, named_users.image, "image"),
        columns=tuple(_present(users, name) for name in columns),
    )


def _candidates(tables: Iterable[Table]) -> list[Table]:
    """Return the tables that an adapter may have made.

    As for a name without schema, the search path counts, and in it the first of equal names; a
    schema outside of it, such as Supabase's next_auth, only when there is none in it.
    """
    fitting = [
        table
        for table in tables
        if not table.is_view and table.first(TOKENS) and table.first(USERS) and table.first(EXPIRES)
    ]
    visible: dict[str, Table] = {}
    ranked = [table for table in fitting if table.rank is not None]
    for table in sorted(ranked, key=lambda each: each.rank or 0):
        visible.setdefault(table.name, table)
    return list(visible.values()) or fitting


def _only(candidates: Sequence[Table], tables: Sequence[Table]) -> Table:
    if len(candidates) == 1:
        return candidates[0]
    if not candidates:
        raise LayoutError(
            "no table of the database looks like the sessions of an Auth.js adapter (columns "
            "sessionToken, userId, expires, or session_token, user_id, expires): has the app "
            "created its tables in this database? If they have other names, write them as "
            "tables: {sessions: {table: ..., token: ..., user: ..., expires: ...}, "
            "users: {table: ...}}"
        )
    first = candidates[0]
    users = _find_users(first, tables)
    raise LayoutError(
        f"several tables look like the sessions of an Auth.js adapter: "
        f"{', '.join(sorted(map(str, candidates)))}. Write which it is, such as "
        f"tables: {{sessions: {{table: {first}}}, users: {{table: {users or '...'}}}}}"
    )


def _users_of(sessions: Table, tables: Sequence[Table]) -> Table:
    users = _find_users(sessions, tables)
    if users is None:
        raise LayoutError(
            f"the sessions are in {sessions}, and no table of users goes with it. Write "
            f"tables: {{sessions: {{table: {sessions}}}, users: {{table: ...}}}}"
        )
    return users


def _find_users(sessions: Table, tables: Iterable[Table]) -> Table | None:
    """Return the table that the user's id references, else the one of the matching name."""
    column = sessions.columns[sessions.first(USERS) or ""]
    if column.references is not None:
        wanted = column.references[:2]
    else:
        wanted = (sessions.schema, _SESSION.sub(_as_user, sessions.name))
    if wanted == (sessions.schema, sessions.name):
        return None
    return next((each for each in tables if (each.schema, each.name) == wanted), None)


def _as_user(match: re.Match[str]) -> str:
    user = {"s": "user", "S": "User"}[match[1]]
    return f"{user.upper() if match[0].isupper() else user}{match[2]}"


def _named(name: str, tables: Sequence[Table]) -> Table:
    """Return the table of this name, without schema the first in the search path."""
    schema, dot, table = name.rpartition(".")
    found = [
        each
        for each in tables
        if each.name == table and (each.schema == schema if dot else each.rank is not None)
    ]
    if found:
        return min(found, key=lambda each: each.rank or 0)
    known = {str(each).lower(): str(each) for each in tables}
    known |= {each.name.lower(): str(each) for each in tables}
    close = get_close_matches(name.lower(), known, 1, 0.6)
    guess = f", did you mean '{known[close[0]]}'?" if close else ""
    raise LayoutError(f"there is no table '{name}'{guess} (names are as in the catalog, unfolded)")


def _column(table: Table, role: str, named: str | None, usual: Sequence[str]) -> str:
    if named is not None:
        return _present(table, named)
    found = table.first(usual)
    if found is None:
        raise LayoutError(
            f"{table} has no column {' or '.join(usual)}: write which it is, as {role}: ..."
        )
    return found


def _optional(table: Table, named: str | None, usual: str) -> str | None:
    return table.first((usual,)) if named is None else _present(table, named)


def _present(table: Table, column: str) -> str:
    if column in table.columns:
        return column
    close = get_close_matches(column.lower(), {name.lower(): name for name in table.columns}, 1)
    folded = {name.lower(): name for name in table.columns}
    guess = f", did you mean '{folded[close[0]]}'?" if close else ""
    raise LayoutError(f"{table} has no column '{column}'{guess}")


def _check_token(sessions: Table, column: str) -> None:
    kind = sessions.columns[column].type
    if kind not in _TEXTS:
        raise LayoutError(f"{sessions}.{column} is {kind}, and a session token is text")


def _clock(sessions: Table, column: str) -> Clock:
    kind = sessions.columns[column].type
    if kind not in CLOCKS:
        raise LayoutError(
            f"{sessions}.{column} is {kind}; the end of a session is one of {', '.join(CLOCKS)}"
        )
    return CLOCKS[kind]


def _cast(user: str, identity: str) -> str | None:
    alike = user == identity or any({user, identity} <= kinds for kinds in (_TEXTS, _NUMBERS))
    return None if alike else identity
