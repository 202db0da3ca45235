"""Which tables hold the sessions, as the catalog of many a database has it."""

from __future__ import annotations

from typing import Any

import pytest

from proxy.config.model import SessionTable, Tables, UserTable
from proxy.core.catalog import CLOCKS, Column, Layout, LayoutError, Table, find_layout

TEXT, ZONED, NAIVE = "text", "timestamp with time zone", "timestamp without time zone"

SESSION = {"id": TEXT, "sessionToken": TEXT, "userId": TEXT, "expires": NAIVE}
USER = {"id": TEXT, "name": TEXT, "email": TEXT, "emailVerified": NAIVE, "image": TEXT}


def table(
    name: str,
    columns: dict[str, str],
    *,
    schema: str = "public",
    rank: int | None = 1,
    view: bool = False,
    references: dict[str, tuple[str, str, str]] | None = None,
) -> Table:
    found = {
        column: Column(column, kind, (references or {}).get(column))
        for column, kind in columns.items()
    }
    return Table(schema, name, rank, view, found)


PRISMA = [table("Session", SESSION), table("User", USER)]


def named(sessions: str = "s", users: str = "u", **columns: Any) -> Tables:
    of_users = {key: value for key, value in columns.items() if key in UserTable.model_fields}
    of_sessions = {key: value for key, value in columns.items() if key not in of_users}
    return Tables(
        sessions=SessionTable(table=sessions, **of_sessions),
        users=UserTable(table=users, **of_users),
    )


def fault(tables: list[Table], wanted: Tables | None = None, *columns: str) -> str:
    with pytest.raises(LayoutError) as caught:
        find_layout(tables, wanted, columns)
    return str(caught.value)


def test_prisma_s_tables_are_found() -> None:
    assert find_layout(PRISMA, None) == Layout(
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
        image="image",
        columns=(),
    )


@pytest.mark.parametrize(
    ("sessions", "users"),
    [
        ("Session", "User"),
        ("session", "user"),
        ("sessions", "users"),
        ("SESSIONS", "USERS"),
        ("acme_session", "acme_user"),
        ("acme_sessions", "acme_users"),
        ("AppSession", "AppUser"),
        ("authSessions", "authUsers"),
    ],
)
def test_users_are_found_by_the_name_that_goes_with_it(sessions: str, users: str) -> None:
    others = [table("user_profiles", USER), table("app_users_old", USER)]
    layout = find_layout([*others, table(sessions, SESSION), table(users, USER)], None)
    assert (layout.sessions[1], layout.users[1]) == (sessions, users)


def test_a_foreign_key_counts_more_than_a_name() -> None:
    references = {"userId": ("auth", "people", "id")}
    tables = [
        table("Session", SESSION, references=references),
        table("User", USER),
        table("people", USER, schema="auth", rank=None),
    ]
    assert find_layout(tables, None).users == ("auth", "people")


def test_the_end_is_read_by_its_type() -> None:
    for kind, clock in CLOCKS.items():
        tables = [table("Session", {**SESSION, "expires": kind}), PRISMA[1]]
        assert find_layout(tables, None).clock == clock
    assert set(CLOCKS.values()) == {"instant", "utc", "milliseconds"}


@pytest.mark.parametrize("kind", ["date", "integer", "time without time zone", "jsonb"])
def test_an_end_of_another_type_is_refused(kind: str) -> None:
    told = fault([table("Session", {**SESSION, "expires": kind}), PRISMA[1]])
    assert told.startswith(f"public.Session.expires is {kind}; the end of a session is one of")


def test_a_token_that_is_no_text_is_refused() -> None:
    told = fault([table("Session", {**SESSION, "sessionToken": "uuid"}), PRISMA[1]])
    assert told == "public.Session.sessionToken is uuid, and a session token is text"


@pytest.mark.parametrize(
    ("user", "identity", "cast"),
    [
        ("text", "text", None),
        ("text", "character varying", None),
        ("integer", "bigint", None),
        ("uuid", "uuid", None),
        ("text", "uuid", "uuid"),
        ("character varying", "integer", "integer"),
        ("uuid", "text", "text"),
    ],
)
def test_ids_of_different_types_are_compared_as_the_users(
    user: str, identity: str, cast: str | None
) -> None:
    tables = [
        table("Session", {**SESSION, "userId": user}),
        table("User", {**USER, "id": identity}),
    ]
    assert find_layout(tables, None).user_cast == cast


def test_users_need_not_have_everything() -> None:
    layout = find_layout([PRISMA[0], table("User", {"id": TEXT, "email": TEXT})], None)
    assert (layout.name, layout.email, layout.image) == (None, "email", None)


BETTER_AUTH = [
    table("session", {"id": TEXT, "token": TEXT, "userId": TEXT, "expiresAt": ZONED}),
    table("user", USER),
]


@pytest.mark.parametrize(
    "tables",
    [
        [],
        BETTER_AUTH,
        [table("session", {"sid": TEXT, "sess": "json", "expire": NAIVE}), table("users", USER)],
        [table("Session", {**SESSION, "expires_at": NAIVE} | {"expires": NAIVE}, view=True)],
        [table("Session", {"sessionToken": TEXT, "expires": NAIVE})],
        [table("Session", {"sessionToken": TEXT, "userId": TEXT})],
    ],
)
def test_what_is_no_auth_js_is_not_taken_for_it(tables: list[Table]) -> None:
    told = fault(tables)
    assert told.startswith("no table of the database looks like the sessions of an Auth.js adapter")
    assert "tables: {sessions: {table: ..., token: ..., user: ..., expires: ...}" in told


def test_better_auth_beside_auth_js_does_not_disturb() -> None:
    assert find_layout([*BETTER_AUTH, *PRISMA], None).sessions == ("public", "Session")


def test_of_several_none_is_guessed() -> None:
    tables = [*PRISMA, table("sessions", SESSION), table("users", USER)]
    assert fault(tables) == (
        "several tables look like the sessions of an Auth.js adapter: public.Session, "
        "public.sessions. Write which it is, such as tables: {sessions: {table: public.Session}, "
        "users: {table: public.User}}"
    )


def test_what_is_advised_is_accepted() -> None:
    tables = [*PRISMA, table("sessions", SESSION), table("users", USER)]
    layout = find_layout(tables, named("public.Session", "public.User"))
    assert (layout.sessions, layout.users) == (("public", "Session"), ("public", "User"))


def test_the_search_path_comes_before_other_schemas() -> None:
    outside = [
        table("sessions", SESSION, schema="next_auth", rank=None),
        table("users", USER, schema="next_auth", rank=None),
    ]
    assert find_layout([*outside, *PRISMA], None).sessions == ("public", "Session")
    assert find_layout(outside, None).sessions == ("next_auth", "sessions")
    other = table("sessions", SESSION, schema="archive", rank=None)
    assert "archive.sessions, next_auth.sessions" in fault([*outside, other])


def test_of_equal_names_the_first_in_the_search_path_counts() -> None:
    tenant = [
        table("Session", SESSION, schema="tenant", rank=1),
        table("User", USER, schema="tenant", rank=1),
    ]
    public = [table("Session", SESSION, rank=2), table("User", USER, rank=2)]
    assert find_layout([*public, *tenant], None).sessions == ("tenant", "Session")
    assert find_layout([*public, *tenant], None).users == ("tenant", "User")
    assert find_layout([*public, *tenant], named("Session", "User")).users == ("tenant", "User")


def test_sessions_without_users_are_refused() -> None:
    assert fault([PRISMA[0]]) == (
        "the sessions are in public.Session, and no table of users goes with it. Write "
        "tables: {sessions: {table: public.Session}, users: {table: ...}}"
    )
    assert "no table of users goes with it" in fault([table("logins", SESSION), PRISMA[1]])


ODD = [
    table("s", {"tok": TEXT, "uid": "bigint", "until": "bigint"}),
    table("u", {"pk": "bigint", "mail": TEXT, "full name": TEXT, "name": TEXT, "role": TEXT}),
]


def test_named_tables_and_columns_are_taken() -> None:
    wanted = named(
        token="tok", user="uid", expires="until", id="pk", email="mail", name="full name"
    )
    layout = find_layout(ODD, wanted, ["role"])
    assert (layout.token, layout.user, layout.expires, layout.clock) == (
        "tok",
        "uid",
        "until",
        "milliseconds",
    )
    assert (layout.id, layout.name, layout.email, layout.image) == ("pk", "full name", "mail", None)
    assert layout.columns == ("role",)
    assert str(layout) == "public.s (tok, uid, until), public.u (pk, full name, mail, role)"


def test_a_view_may_be_named() -> None:
    tables = [table("s", SESSION, view=True), table("u", USER, view=True)]
    assert find_layout(tables, named()).sessions == ("public", "s")


@pytest.mark.parametrize(
    ("wanted", "told"),
    [
        (named("session"), "there is no table 'session', did you mean 'public.Session'? (names"),
        (named("xyz"), "there is no table 'xyz' (names are as in the catalog, unfolded)"),
        (named("other.Session"), "there is no table 'other.Session', did you mean 'public.Sess"),
        (named("Session", "Users"), "there is no table 'Users', did you mean 'public.User'?"),
        (
            named("Session", "User", token="sessiontoken"),
            "public.Session has no column 'sessiontoken', did you mean 'sessionToken'?",
        ),
        (named("Session", "User", email="qqq"), "public.User has no column 'qqq'"),
        (named("User", "User"), "public.User has no column sessionToken or session_token: write"),
    ],
)
def test_a_name_that_is_not_there_is_told(wanted: Tables, told: str) -> None:
    assert fault(PRISMA, wanted).startswith(told)


def test_a_further_column_that_is_not_there_is_told() -> None:
    told = fault(PRISMA, None, "emailverified")
    assert told == "public.User has no column 'emailverified', did you mean 'emailVerified'?"
    assert fault(PRISMA, None, "role") == "public.User has no column 'role'"


def test_a_table_outside_of_the_search_path_needs_its_schema() -> None:
    tables = [
        table("s", SESSION, schema="auth", rank=None),
        table("u", USER, schema="auth", rank=None),
    ]
    assert "did you mean 'auth.s'?" in fault(tables, named())
    assert find_layout(tables, named("auth.s", "auth.u")).users == ("auth", "u")
