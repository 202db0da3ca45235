"""Can the database of a session be asked as it is configured?"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from proxy.config.dsn import parse_dsn

if TYPE_CHECKING:
    from proxy.config.dsn import Dsn
    from proxy.config.model import Config, DatabaseConfig, SessionConfig, Tables
    from proxy.config.problems import Loc, Report

_OFFERED: Final = ("sub", "id", "name", "email", "image")
_UNCHECKED: Final = ("disable", "prefer")


def check_database(config: Config, report: Report) -> None:
    """Check URL, TLS, tables and columns of every session that has a database."""
    for name, session in config.sessions.items():
        if session.database is not None:
            loc: Loc = ("sessions", name, "database")
            _check_use(session, ("sessions", name), report)
            dsn = _check_url(session.database, loc, report)
            _check_tls(session.database, dsn, loc, report)
            _check_columns(session.database, loc, report)
            if session.database.tables != "auto":
                _check_tables(session.database.tables, (*loc, "tables"), report)


def _check_use(session: SessionConfig, loc: Loc, report: Report) -> None:
    if session.max_age is not None and not session.takes_jwts:
        message = "is for JWTs: how long a stored session lasts, the database says"
        report.add((*loc, "max_age"), message, key=True)


def _check_url(database: DatabaseConfig, loc: Loc, report: Report) -> Dsn | None:
    try:
        dsn = parse_dsn(database.url.get_secret_value())
    except ValueError as error:
        report.add((*loc, "url"), str(error))
        return None
    if dsn.password is not None and database.password is not None:
        message = "the URL has a password too: leave one of them out"
        report.add((*loc, "password"), message, key=True)
    return dsn


def _check_tls(database: DatabaseConfig, dsn: Dsn | None, loc: Loc, report: Report) -> None:
    for here, other in (("sslcert", "sslkey"), ("sslkey", "sslcert")):
        if getattr(database, here) is not None and getattr(database, other) is None:
            report.add((*loc, here), f"needs {other} beside it", key=True)
    if dsn is None:
        return
    mode = database.sslmode or dsn.sslmode or "prefer"
    for field in ("sslrootcert", "sslcert"):
        if getattr(database, field) is not None and mode in _UNCHECKED:
            message = f"is not looked at with sslmode {mode}; verify-full is the one to use"
            report.add((*loc, field), message, key=True)


def _check_columns(database: DatabaseConfig, loc: Loc, report: Report) -> None:
    seen: set[str] = set()
    for position, column in enumerate(database.columns):
        at = (*loc, "columns", position)
        if column in _OFFERED:
            report.add(at, f"{', '.join(_OFFERED)} are claims already")
        elif column in seen:
            report.add(at, "this column is there twice")
        elif "\0" in column:
            report.add(at, "must be the name of a column")
        seen.add(column)


def _check_tables(tables: Tables, loc: Loc, report: Report) -> None:
    for role in ("sessions", "users"):
        table = getattr(tables, role)
        if table.table.count(".") > 1 or "" in table.table.split("."):
            message = "must be TABLE or SCHEMA.TABLE, as in the catalog and without quotes"
            report.add((*loc, role, "table"), message)
