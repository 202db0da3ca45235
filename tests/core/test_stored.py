"""What a row of the database is worth, and which tokens are worth a question."""

from __future__ import annotations

import math
from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from proxy.core.stored import TOKEN_CHARS_MAX, Row, StoredSessions, read_row
from proxy.errors import SessionExpired, SessionInvalid

NOW = 1_800_000_000.0
TOKEN = "f1d2c3b4-0000-4000-8000-00000000abcd"
ROW = Row(TOKEN, NOW + 60, "u-1", "Ada", "ada@example.com", None, ('"admin"', '["a", "b"]'))
JUDGE = StoredSessions(("role", "teams"), alone=True)


def refusal(*rows: Row, token: str = TOKEN) -> str:
    with pytest.raises(SessionInvalid) as caught:
        JUDGE.judge(rows, token, NOW)
    return caught.value.reason


def test_a_row_becomes_claims() -> None:
    verified = JUDGE.judge([ROW], TOKEN, NOW)
    assert verified.kind == "database"
    assert verified.expires == NOW + 60
    assert verified.claims == {
        "sub": "u-1",
        "id": "u-1",
        "name": "Ada",
        "email": "ada@example.com",
        "role": "admin",
        "teams": ["a", "b"],
    }


def test_it_is_expired_when_expires_has_passed_and_not_before() -> None:
    # `session.expires.valueOf() < Date.now()`: without a tolerance, and not at the very moment.
    at_the_end = replace(ROW, expires=NOW)
    assert JUDGE.judge([at_the_end], TOKEN, NOW).expires == NOW
    with pytest.raises(SessionExpired):
        JUDGE.judge([at_the_end], TOKEN, NOW + 0.001)


def test_a_session_for_ever_has_no_end() -> None:
    assert JUDGE.judge([replace(ROW, expires=math.inf)], TOKEN, NOW).expires is None
    with pytest.raises(SessionExpired):
        JUDGE.judge([replace(ROW, expires=-math.inf)], TOKEN, NOW)


def test_what_is_no_session() -> None:
    assert refusal() == "the database has no session of this token"
    assert refusal(ROW, ROW) == "the database has several sessions of this token"
    assert refusal(replace(ROW, id=None)) == "the session has no user, or one that is gone"
    assert refusal(replace(ROW, expires=None)) == "the session's expires is null, or no time"
    assert refusal(ROW, token=TOKEN.upper()) == "the database has no session of this very token"


@pytest.mark.parametrize(
    ("json", "value"),
    [
        ('"admin"', "admin"),
        ("7", 7),
        ("9007199254740993", 9007199254740993),
        ("true", True),
        ("[]", []),
        ('{"org": {"id": "o-1"}}', {"org": {"id": "o-1"}}),
    ],
)
def test_further_columns_keep_their_type(json: str, value: Any) -> None:
    judge = StoredSessions(("x",), alone=True)
    assert judge.judge([replace(ROW, more=(json,))], TOKEN, NOW).claims["x"] == value


@pytest.mark.parametrize("json", [None, "null", "{", "[" * 100_000, "9" * 5000])
def test_a_column_that_cannot_be_read_is_no_claim(json: str | None) -> None:
    judge = StoredSessions(("x",), alone=True)
    assert "x" not in judge.judge([replace(ROW, more=(json,))], TOKEN, NOW).claims


@pytest.mark.parametrize(
    ("text", "expires"),
    [
        ("1800000000123", 1_800_000_000.123),
        ("1800000000123.5", 1_800_000_000.1235),
        ("-1", -0.001),
        (None, None),
        ("", None),
        ("soon", None),
        ("1e400", None),
        ("NaN", None),
        ("infinity", None),
        ("1800000000123 ", None),
        ("9" * 400, None),
        ("١٨٠٠٠٠٠٠٠٠١٢٣", None),
        ("2027-01-15T08:00:00Z", None),
    ],
)
def test_milliseconds_are_read_strictly(text: str | None, expires: float | None) -> None:
    row = read_row((TOKEN, text, "u-1", None, None, None), "milliseconds")
    assert row == Row(TOKEN, expires, "u-1", None, None, None)


def test_other_clocks_come_as_seconds() -> None:
    row = read_row((TOKEN, NOW, "u-1", "Ada", "a@x", "i", '"r"'), "utc")
    assert row == Row(TOKEN, NOW, "u-1", "Ada", "a@x", "i", ('"r"',))


@pytest.mark.parametrize(
    "token",
    [TOKEN, "a" * 64, "A" * TOKEN_CHARS_MAX, "sess:abc_def.1~2", "YWJj+/==", "v1:a.b", "-"],
)
def test_what_frameworks_make_is_worth_a_question(token: str) -> None:
    JUDGE.check(token)


@pytest.mark.parametrize(
    "token",
    [
        *(
            "",
            "a\0b",
            "a\ud800",
            "a b",
            " a",
            "a\n",
            "ä",
            "%",
            "a%00",
            "'",
            '"',
            "\\",
            "a;b",
            "日本",
        ),
        *("{a}", "<a>", "a,b", "a*", "\x7f", "\u212a"),
    ],
)
def test_other_characters_are_not(token: str) -> None:
    with pytest.raises(SessionInvalid, match="characters that no session token has"):
        JUDGE.check(token)


def test_neither_is_what_is_too_long() -> None:
    with pytest.raises(SessionInvalid, match=r"longer than the key of a stored session can be$"):
        JUDGE.check("a" * (TOKEN_CHARS_MAX + 1))
    with pytest.raises(SessionInvalid, match="it looks like a JWT, and the session has no secret"):
        JUDGE.check(f"{'a' * 300}.b.c")


@given(st.text())
def test_what_passes_can_be_sent_to_any_database(token: str) -> None:
    try:
        JUDGE.check(token)
    except SessionInvalid:
        return
    assert token.isascii()
    assert token.isprintable()


def test_tokens_are_told_apart_by_their_parts() -> None:
    beside = StoredSessions((), alone=False)
    assert [beside.owns(token) for token in ("a", "a.b", "a.b.c", "a.b.c.d", "a.b.c.d.e")] == [
        *(True, True, False, True, False)
    ]
    assert JUDGE.owns("a.b.c")
    assert JUDGE.owns("a.b.c.d.e")


def test_nothing_of_a_row_is_shown() -> None:
    assert repr(ROW) == "Row()"
    assert repr(JUDGE) == "<StoredSessions alone=True>"
