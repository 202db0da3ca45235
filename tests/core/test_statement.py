"""The text of the look-up. That it does what it should, `tests/session/test_database.py` shows."""

from __future__ import annotations

from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from proxy.core.catalog import Layout
from proxy.core.statement import grants, index_hint, quote, select_session

LAYOUT = Layout(
    sessions=("public", "Session"),
    token="sessionToken",
    user="userId",
    expires="expires",
    clock="utc",
    users=("public", "User"),
    id="id",
    user_cast=None,
    name="name",
    email="email",
    image=None,
    columns=("role",),
)


def test_the_whole_of_it() -> None:
    assert select_session(LAYOUT) == (
        'select s."sessionToken"::text as c0, '
        "extract(epoch from s.\"expires\" at time zone 'UTC')::float8 as c1, "
        'u."id"::text as c2, u."name"::text as c3, u."email"::text as c4, null::text as c5, '
        'to_json(u."role")::text as c6 '
        'from "public"."Session" s left join "public"."User" u on u."id" = s."userId" '
        'where s."sessionToken" = $1 limit 2'
    )


def test_each_clock_has_its_expression() -> None:
    instant = select_session(replace(LAYOUT, clock="instant"))
    assert 'extract(epoch from s."expires")::float8 as c1' in instant
    assert 's."expires"::text as c1' in select_session(replace(LAYOUT, clock="milliseconds"))


@pytest.mark.parametrize(
    ("kind", "cast"), [("uuid", "uuid"), ("integer", "integer"), ("x", "text")]
)
def test_the_session_s_side_is_cast(kind: str, cast: str) -> None:
    assert f's."userId"::{cast} where' in select_session(replace(LAYOUT, user_cast=kind))


HOSTILE = ['"; drop table users; --', 'a"b', "a'b", "select", "ä ö", "$1"]


@pytest.mark.parametrize("name", HOSTILE)
def test_no_name_can_end_its_quotes(name: str) -> None:
    layout = replace(LAYOUT, token=name, sessions=(name, name), columns=(name,))
    for text in (select_session(layout), index_hint(layout), grants(layout)):
        rest = text.replace(quote(name), "")
        assert rest.count('"') % 2 == 0
        assert "drop" not in rest


@given(st.text(st.characters(exclude_characters="\0", exclude_categories=["Cs"])))
def test_a_quoted_name_is_one_name(name: str) -> None:
    quoted = quote(name)
    assert quoted[0] == quoted[-1] == '"'
    assert quoted[1:-1].replace('""', "") == name.replace('"', "")
    assert quoted[1:-1].replace('""', '"') == name


def test_a_name_with_nul_is_refused() -> None:
    with pytest.raises(ValueError, match="NUL"):
        quote("a\0b")


def test_what_the_owner_of_the_tables_should_run() -> None:
    assert index_hint(LAYOUT) == (
        'create unique index concurrently on "public"."Session" ("sessionToken")'
    )
    assert grants(LAYOUT) == (
        'grant select ("sessionToken", "userId", "expires") on "public"."Session" to ROLE; '
        'grant select ("id", "name", "email", "role") on "public"."User" to ROLE'
    )
