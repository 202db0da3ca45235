"""Addresses of databases as apps have them, and what is wrong with those that cannot be used."""

from __future__ import annotations

import re
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from proxy.config.dsn import Dsn, parse_dsn

APP = {"hosts": (("db", 5432),), "user": "app", "password": None, "database": "shop"}


def dsn(**given: Any) -> Dsn:
    return Dsn(**{**APP, **given})


@pytest.mark.parametrize(
    ("url", "expected"),
    [
        ("postgres://app@db/shop", dsn()),
        ("postgresql://app@db/shop", dsn()),
        ("postgres://app@db", dsn(database="app")),
        ("postgres://app@db/", dsn(database="app")),
        ("postgres://app:s3cret@db:6543/shop", dsn(password="s3cret", hosts=(("db", 6543),))),
        ("postgres://app:@db/shop", dsn(password="")),
        ("postgres://app:a:b@db/shop", dsn(password="a:b")),
        ("postgres://app:p@ss@db/shop", dsn(password="p@ss")),
        ("postgres://app:p%40%2Fs%25@db/shop", dsn(password="p@/s%")),
        ("postgres://app.ref:x@db/shop", dsn(user="app.ref", password="x")),
        ("postgres://%C3%A4pp@db/sh%20op", dsn(user="äpp", database="sh op")),
        ("postgres://app@[::1]/shop", dsn(hosts=(("::1", 5432),))),
        ("postgres://app@[2001:db8::7]:99/shop", dsn(hosts=(("2001:db8::7", 99),))),
        ("postgres://app@a,b:7/shop", dsn(hosts=(("a", 5432), ("b", 7)))),
        ("postgres://app@/shop?host=/run/pg", dsn(hosts=(("/run/pg", 5432),))),
        ("postgres:///shop?host=/run/pg&user=app&port=7", dsn(hosts=(("/run/pg", 7),))),
        ("postgres://app@%2Frun%2Fpg/shop", dsn(hosts=(("/run/pg", 5432),))),
        ("postgres://app@/shop?host=a,b&port=1,2", dsn(hosts=(("a", 1), ("b", 2)))),
        ("postgres://app@/?host=db&dbname=shop&password=x", dsn(password="x")),
        ("postgres://app@db/shop?sslmode=verify-full", dsn(sslmode="verify-full")),
        ("postgres://app@db/shop?sslrootcert=/ca.pem", dsn(sslrootcert="/ca.pem")),
        ("postgres://app@db/shop?sslrootcert=system", dsn()),
        ("postgres://app@db/shop?target_session_attrs=read-write", dsn(target="read-write")),
        # As Prisma's users have it.
        (
            "postgres://app@db/shop?schema=auth&connection_limit=1&pgbouncer=true&pool_timeout=9",
            dsn(schemas=("auth",), pooled=True),
        ),
        ("postgres://app@db/shop?pgbouncer=false&channel_binding=prefer", dsn()),
        ("postgres://app@db/shop?", dsn()),
    ],
)
def test_what_apps_have_is_understood(url: str, expected: Dsn) -> None:
    assert parse_dsn(url) == expected


@pytest.mark.parametrize(
    ("url", "told"),
    [
        ("", "must be postgres://"),
        ("db.example.com", "must be postgres://"),
        ("mysql://app@db/shop", "must be postgres://"),
        ("postgresql+asyncpg://app@db/shop", "must be postgres://"),
        ("POSTGRES://app@db/shop", "must be postgres://"),
        ("postgres://db/shop", "it names no user"),
        ("postgres://:x@db/shop", "it names no user"),
        ("postgres://app@/shop", "it names no host"),
        ("postgres://app@/shop?host=a,b&port=1,2,3", "not a port for each"),
        ("postgres://app:a/b@db/shop", "%2F"),
        ("postgres://app@d b/shop", "a space as %20"),
        ("postgres://app:a#b@db/shop", "write # as %23"),
        ("postgres://app:x@db/shop\n", "no newline"),
        ("postgres://app:a%b@db/shop", "%25"),
        ("postgres://app:%FF@db/shop", "UTF-8"),
        ("postgres://app:%00@db/shop", "%00"),
        ("postgres://app@db:port/shop", "%3A"),
        ("postgres://app@db:0/shop", "from 1 to 65535"),
        ("postgres://app@db:65536/shop", "from 1 to 65535"),
        ("postgres://app@db,/shop", "%3A"),
        ("postgres://app@db/shop?sslmode=on", "sslmode must be one of disable, prefer"),
        ("postgres://app@db/shop?sslmod=require", "not known; known are host, port"),
        ("postgres://app@db/shop?sslrootcert=ca.pem", "absolute"),
        ("postgres://app@db/shop?channel_binding=require", "sslmode=verify-full"),
        ("postgres://app@db/shop?target_session_attrs=x", "must be one of any, primary"),
    ],
)
def test_what_cannot_be_used_is_explained(url: str, told: str) -> None:
    with pytest.raises(ValueError, match=re.escape(told)):
        parse_dsn(url)


@given(st.text(alphabet="hunter2:/@%?#&=[],", min_size=7))
def test_no_message_repeats_what_was_written(text: str) -> None:
    secret = f"hunter2{text}"
    told = ""
    try:
        parse_dsn(f"postgres://app:{secret}@db/shop")
    except ValueError as error:
        told = str(error)
    assert "hunter2" not in told


def test_nothing_of_it_is_shown() -> None:
    shown = repr(parse_dsn("postgres://app:s3cret@db.internal/shop?sslmode=require"))
    assert shown.startswith("Dsn(sslmode='require'")
    for word in ("app", "s3cret", "internal", "shop"):
        assert word not in shown
