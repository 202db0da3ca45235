"""The demo's sessions are good or have the one flaw that was asked for."""

from __future__ import annotations

import pytest

from proxy.demo.people import PEOPLE
from proxy.demo.sessions import COOKIE, FLAWS, LIFETIME, DemoSessions
from tests.support import mint

NOW = 1_800_000_000.0
SECRET = "correct-horse-battery-staple-0001"
ADA = {"id": "u-1001", "name": "Ada Lovelace", "roles": ["admin", "user"]}


@pytest.fixture
def sessions() -> DemoSessions:
    return DemoSessions(SECRET, lambda: NOW)


def test_a_good_session_names_its_user(sessions: DemoSessions) -> None:
    token = sessions.token(PEOPLE["ada"])
    assert sessions.describe(token) == {"user": ADA, "code": None}


@pytest.mark.parametrize(
    ("flaw", "code"),
    [
        ("expired", "session_expired"),
        ("tampered", "session_invalid"),
        ("foreign", "session_invalid"),
    ],
)
def test_a_flaw_is_the_one_that_was_asked_for(sessions: DemoSessions, flaw: str, code: str) -> None:
    assert flaw in FLAWS
    token = sessions.token(PEOPLE["ada"], flaw)
    assert sessions.describe(token) == {"user": None, "code": code}


def test_without_a_token_nobody_is_signed_in(sessions: DemoSessions) -> None:
    assert sessions.describe(None) == {"user": None, "code": None}


def test_a_session_ends(sessions: DemoSessions) -> None:
    token = sessions.token(PEOPLE["ben"])
    later = DemoSessions(SECRET, lambda: NOW + LIFETIME + 60)
    assert later.describe(token)["code"] == "session_expired"


def test_a_token_has_the_header_that_auth_js_gives_it(sessions: DemoSessions) -> None:
    """The same key, so the same `kid` as in a token that was made without our code."""
    claims = {"sub": "u-1001"}
    ours = sessions.token(PEOPLE["ada"]).split(".")[0]
    assert ours == mint.v5(claims, SECRET, cookie=COOKIE).split(".")[0]


def test_two_sessions_of_one_person_differ(sessions: DemoSessions) -> None:
    assert sessions.token(PEOPLE["ada"]) != sessions.token(PEOPLE["ada"])


def test_the_secret_is_not_in_the_repr(sessions: DemoSessions) -> None:
    assert SECRET not in repr(sessions)
