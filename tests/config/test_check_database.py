"""What is refused before a database is ever asked; `golden/database.txt` has the exact words."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.config.helpers import config_of, told, written

URL = "postgres://app@db/shop"


def session(database: str, more: str = "") -> str:
    return written(sessions=f"{{web: {{database: {{url: {URL}{database}}}{more}}}}}")


@pytest.mark.parametrize(
    ("database", "more"),
    [
        ("", ""),
        (", password: x", ""),
        (", columns: [role, org_id]", ""),
        (", columns: ['Weird \"name\"']", ""),
        (", tables: {sessions: {table: s}, users: {table: auth.u}}", ""),
        (", sslmode: verify-full", ""),
        ("", ", secret: '${AUTH_SECRET}', max_age: 1d"),
        ("", ", bearer: true, cookie: sid"),
    ],
)
def test_what_makes_sense_is_accepted(database: str, more: str) -> None:
    assert config_of(session(database, more)).sessions["web"].database is not None


@pytest.mark.parametrize(
    ("database", "more", "message"),
    [
        ("", ", max_age: 1d", "is for JWTs: how long a stored session lasts, the database says"),
        ("", ", jwt: {algorithms: []}", "must not be empty"),
        ("", ", jwt: {encryption: false}", "has no key: give it one, or leave it out"),
        (", columns: [email]", "", "sub, id, name, email, image are claims already"),
        (", columns: [id]", "", "sub, id, name, email, image are claims already"),
        (", columns: [a, b, a]", "", "this column is there twice"),
        (
            ", tables: {sessions: {table: .s}, users: {table: u}}",
            "",
            "must be TABLE or SCHEMA.TABLE, as in the catalog and without quotes",
        ),
        (
            ", tables: {sessions: {table: s}, users: {table: a.b.u}}",
            "",
            "must be TABLE or SCHEMA.TABLE, as in the catalog and without quotes",
        ),
    ],
)
def test_what_does_not_is_refused(database: str, more: str, message: str) -> None:
    assert any(message in problem for problem in told(session(database, more)))


def test_a_client_certificate_has_two_parts(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "a.pem").write_text("-----BEGIN X-----\n", encoding="utf-8")
    monkeypatch.chdir(tmp_path)
    [problem] = told(session(", sslmode: require, sslcert: a.pem"))
    assert "needs sslkey beside it" in problem
    [problem] = told(session(", sslmode: require, sslkey: a.pem"))
    assert "needs sslcert beside it" in problem
    assert not told(session(", sslmode: require, sslkey: a.pem, sslcert: a.pem"))


def test_roots_that_nobody_looks_at_are_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "a.pem").write_text("-----BEGIN X-----\n", encoding="utf-8")
    monkeypatch.chdir(tmp_path)
    for mode in (", sslmode: prefer", ", sslmode: disable", ""):
        [problem] = told(session(f"{mode}, sslrootcert: a.pem"))
        assert "is not looked at with sslmode" in problem
    assert not told(session(", sslmode: verify-ca, sslrootcert: a.pem"))
