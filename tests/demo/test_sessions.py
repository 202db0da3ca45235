"""The demo's JWTs are good or have the one flaw that was asked for."""

from __future__ import annotations

import pytest

from proxy.demo.people import PEOPLE
from proxy.demo.sessions import COOKIE, LIFETIME, JwtSessions, changed_in_the_middle
from tests.support import mint

NOW = 1_800_000_000.0
SECRET = "correct-horse-battery-staple-0001"
ADA = {"id": "1001", "name": "Ada Lovelace", "role": "admin"}


@pytest.fixture
def sessions() -> JwtSessions:
    return JwtSessions(SECRET, lambda: NOW)


async def test_a_good_session_names_its_user(sessions: JwtSessions) -> None:
    token = await sessions.make(PEOPLE["ada"], "none")
    assert await sessions.describe(token) == {"user": ADA, "code": None}


@pytest.mark.parametrize(
    ("flaw", "code"),
    [
        ("expired", "session_expired"),
        ("tampered", "session_invalid"),
        ("foreign", "session_invalid"),
    ],
)
async def test_a_flaw_is_the_one_that_was_asked_for(
    sessions: JwtSessions, flaw: str, code: str
) -> None:
    assert flaw in sessions.flaws
    token = await sessions.make(PEOPLE["ada"], flaw)
    assert await sessions.describe(token) == {"user": None, "code": code}


async def test_it_cannot_be_ended(sessions: JwtSessions) -> None:
    token = await sessions.make(PEOPLE["ada"], "none")
    assert not await sessions.end(token)
    assert await sessions.describe(token) == {"user": ADA, "code": None}


async def test_a_session_ends(sessions: JwtSessions) -> None:
    token = await sessions.make(PEOPLE["ben"], "none")
    later = JwtSessions(SECRET, lambda: NOW + LIFETIME + 60)
    assert (await later.describe(token))["code"] == "session_expired"


async def test_a_token_has_the_header_that_auth_js_gives_it(sessions: JwtSessions) -> None:
    """The same key, so the same `kid` as in a token that was made without our code."""
    claims = {"sub": "1001"}
    ours = (await sessions.make(PEOPLE["ada"], "none")).split(".")[0]
    assert ours == mint.v5(claims, SECRET, cookie=COOKIE).split(".")[0]


async def test_two_sessions_of_one_person_differ(sessions: JwtSessions) -> None:
    first = await sessions.make(PEOPLE["ada"], "none")
    assert first != await sessions.make(PEOPLE["ada"], "none")


def test_the_secret_is_not_in_the_repr(sessions: JwtSessions) -> None:
    assert SECRET not in repr(sessions)


@pytest.mark.parametrize("text", ["a", "abc", "aaaa", "-"])
def test_a_change_in_the_middle_changes_one_character(text: str) -> None:
    changed = changed_in_the_middle(text)
    assert len(changed) == len(text)
    assert sum(one != other for one, other in zip(text, changed, strict=True)) == 1
