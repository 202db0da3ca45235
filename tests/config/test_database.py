"""The section of a database: its defaults, and what it takes."""

from __future__ import annotations

from pathlib import Path

import pytest

from proxy.config.load import load
from proxy.config.model import DatabaseConfig, Tables
from proxy.config.redact import redacted
from tests.config.helpers import config_of, problems_of, written

URL = "postgres://app:hunter2@db/shop"


def database_of(section: str) -> DatabaseConfig:
    config = config_of(written(sessions=f"{{web: {{database: {section}}}}}"))
    database = config.sessions["web"].database
    assert database is not None
    return database


def test_a_url_is_enough() -> None:
    database = database_of(f"{{url: {URL}}}")
    assert database.url.get_secret_value() == URL
    assert database.model_dump(exclude={"url"}) == {
        "password": None,
        "tables": "auto",
        "columns": (),
        "sslmode": None,
        "sslrootcert": None,
        "sslcert": None,
        "sslkey": None,
        "connections": 10,
        "timeouts": {"connect": 2.0, "acquire": 1.0, "query": 2.0},
        "prepared": "auto",
    }


def test_a_session_may_have_a_secret_and_a_database() -> None:
    text = written(sessions=f"{{web: {{secret: '${{AUTH_SECRET}}', database: {{url: {URL}}}}}}}")
    session = config_of(text).sessions["web"]
    assert session.takes_jwts
    assert session.database is not None


def test_with_a_database_alone_there_are_no_jwts() -> None:
    text = written(sessions=f"{{web: {{database: {{url: {URL}}}}}}}")
    assert not config_of(text).sessions["web"].takes_jwts


def test_tables_may_be_named() -> None:
    section = "{sessions: {table: auth.s, token: tok}, users: {table: auth.u, id: uid}}"
    tables = database_of(f"{{url: {URL}, tables: {section}}}").tables
    assert isinstance(tables, Tables)
    assert (tables.sessions.table, tables.sessions.token, tables.sessions.user) == (
        "auth.s",
        "tok",
        None,
    )
    assert (tables.users.table, tables.users.id, tables.users.email) == ("auth.u", "uid", None)


def test_url_and_password_may_be_in_files(tmp_path: Path) -> None:
    (tmp_path / "url").write_text("postgres://app@db/shop\n", encoding="utf-8")
    (tmp_path / "password").write_text("hunter2\n", encoding="utf-8")
    file = tmp_path / "gatelodge.yaml"
    database = "{url: {file: url}, password: {file: password}}"
    file.write_text(written(sessions=f"{{web: {{database: {database}}}}}"), encoding="utf-8")
    loaded = load(file, {}).config.sessions["web"].database
    assert loaded is not None
    assert loaded.url.get_secret_value() == "postgres://app@db/shop"
    assert loaded.password is not None
    assert loaded.password.get_secret_value() == "hunter2"


def test_nothing_secret_is_shown() -> None:
    text = written(sessions="{web: {database: {url: postgres://app@db/shop, password: hunter2}}}")
    config = config_of(text)
    assert "hunter2" not in repr(config)
    shown = redacted(config)["sessions"]["web"]["database"]
    assert (shown["url"], shown["password"]) == ("***", "***")


@pytest.mark.parametrize("value", ["yes", "{}", "[a]", "{sessions: {table: s}}"])
def test_tables_are_auto_or_both_named(value: str) -> None:
    section = f"{{url: {URL}, tables: {value}}}"
    assert problems_of(written(sessions=f"{{web: {{database: {section}}}}}")) != []
