"""The one statement by which a session is looked up, from where the tables are.

Law of the file: every name is quoted, and the token is a parameter. Nothing that a client sends is
ever part of the text.
"""

from __future__ import annotations

from typing import Final

from proxy.core.catalog import Clock, Layout

_ENDS: Final[dict[Clock, str]] = {
    # The same instant whatever the server's time zone is.
    "instant": "extract(epoch from {0})::float8",
    "utc": "extract(epoch from {0} at time zone 'UTC')::float8",
    # Text may hold anything; what cannot be read is one bad session, not a failed look-up.
    "milliseconds": "{0}::text",
}
_CASTS: Final = frozenset(
    {"text", "character varying", "character", "uuid", "smallint", "integer", "bigint", "numeric"}
)


def select_session(layout: Layout) -> str:
    """Return the statement; its columns are for `proxy.core.stored.read_row`, its $1 is the token.

    Further columns come as JSON, so that every type (arrays, enums, jsonb) is read in one way and
    the driver need not ask the server about it. Two rows are asked for: pg's and Neon's tables do
    not keep a token from being there twice.
    """
    end = _ENDS[layout.clock].format(f"s.{quote(layout.expires)}")
    known = [_text(layout.id), _text(layout.name), _text(layout.email), _text(layout.image)]
    more = [f"to_json(u.{quote(name)})::text" for name in layout.columns]
    chosen = [f"s.{quote(layout.token)}::text", end, *known, *more]
    columns = ", ".join(f"{each} as c{position}" for position, each in enumerate(chosen))
    # Every part is a name in quotes or a constant of this file.
    return (
        f"select {columns} from {_table(layout.sessions)} s "  # noqa: S608
        f"left join {_table(layout.users)} u on u.{quote(layout.id)} = {_user(layout)} "
        f"where s.{quote(layout.token)} = $1 limit 2"
    )


def quote(name: str) -> str:
    """Return an identifier in quotes (PostgreSQL, section 4.1.1). Raises ValueError for a NUL."""
    if "\0" in name:
        raise ValueError("a name holds no NUL")
    return '"' + name.replace('"', '""') + '"'


def index_hint(layout: Layout) -> str:
    """Return the statement that makes look-ups fast where the adapter made no index."""
    return f"create unique index concurrently on {_table(layout.sessions)} ({quote(layout.token)})"


def grants(layout: Layout) -> str:
    """Return what the role needs, as the statements that an owner of the tables can run."""
    read = ", ".join(map(quote, (layout.token, layout.user, layout.expires)))
    known = (layout.id, layout.name, layout.email, layout.image, *layout.columns)
    shown = ", ".join(quote(name) for name in dict.fromkeys(known) if name is not None)
    return (
        f"grant select ({read}) on {_table(layout.sessions)} to ROLE; "
        f"grant select ({shown}) on {_table(layout.users)} to ROLE"
    )


def _table(name: tuple[str, str]) -> str:
    return ".".join(map(quote, name))


def _text(column: str | None) -> str:
    return "null::text" if column is None else f"u.{quote(column)}::text"


def _user(layout: Layout) -> str:
    user = f"s.{quote(layout.user)}"
    if layout.user_cast is None:
        return user
    # The cast is on the side of the one session, so that the users' index is used.
    kind = layout.user_cast if layout.user_cast in _CASTS else "text"
    return f"{user}::{kind}"
