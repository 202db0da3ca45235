from __future__ import annotations

import json
from typing import Any

import pytest

from proxy.cli.inspection import NO_ID, STORED, inspect
from proxy.config.model import SessionConfig
from proxy.core.session import SessionRule
from tests.cli.example import AT, OTHER_SECRET, SECRET, token
from tests.support.mint import V5_COOKIE, V5_SECURE_COOKIE


def rule(name: str = "web", **settings: Any) -> SessionRule:
    return SessionRule.compile(name, SessionConfig(**{"secret": SECRET, **settings}))


WEB = rule()
TENANT = rule("tenant", secret=OTHER_SECRET, cookie="tenant-session", bearer=True)


def report(
    cookies: str | None, bearer: str | None = None, *rules: SessionRule, now: float = AT
) -> dict[str, Any]:
    found: dict[str, Any] = inspect(rules or [WEB], cookies, bearer, now).report()
    return found


def test_a_valid_session() -> None:
    claims: dict[str, Any] = {"email": "ada@example.com", "name": "Ada", "roles": ["admin"]}
    found = report(f"a=1; {V5_SECURE_COOKIE}={token(**claims)}")
    assert found == {
        "valid": True,
        "code": None,
        "reason": None,
        "kind": "authjs-v5",
        "principal": {"id": "u-1", **claims},
        "claims": {"sub": "u-1", "iat": AT - 60, "exp": AT + 3600, **claims},
    }


def test_a_valid_token_of_nobody() -> None:
    found = report(f"{V5_SECURE_COOKIE}={token(sub={'a': 1})}")
    assert (found["valid"], found["code"], found["principal"]) == (True, None, None)
    assert found["reason"] == NO_ID
    assert found["claims"]["sub"] == {"a": 1}


@pytest.mark.parametrize(
    ("cookies", "code"),
    [
        pytest.param("", "session_missing", id="nothing"),
        pytest.param("a=1", "session_missing", id="another cookie"),
        pytest.param(f"{V5_SECURE_COOKIE}=hello", "session_invalid", id="no token"),
        pytest.param(f"{V5_SECURE_COOKIE}={token(OTHER_SECRET)}", "session_invalid", id="foreign"),
        pytest.param(f"{V5_SECURE_COOKIE}={token(exp=AT - 15)}", "session_expired", id="expired"),
        pytest.param(f"{V5_SECURE_COOKIE}=a; {V5_SECURE_COOKIE}=b", "session_ambiguous", id="two"),
        pytest.param(f"{V5_SECURE_COOKIE}.1=b", "session_invalid", id="chunk missing"),
        pytest.param(f"{V5_SECURE_COOKIE}=\udcff", "session_invalid", id="not UTF-8"),
        pytest.param(f"{V5_SECURE_COOKIE}=" + "x" * 262_144, "bad_cookie", id="endless"),
    ],
)
def test_a_session_that_is_not_valid(cookies: str, code: str) -> None:
    found = report(cookies)
    assert (found["valid"], found["code"]) == (False, code)
    assert found["reason"]
    assert (found["kind"], found["principal"], found["claims"]) == (None, None, {})


def test_the_time_can_be_chosen() -> None:
    cookies = f"{V5_SECURE_COOKIE}={token()}"
    assert report(cookies, now=AT + 3614)["valid"]
    assert report(cookies, now=AT + 3615)["code"] == "session_expired"


def test_plain_and_secure_names_count_as_https_is_not_known() -> None:
    assert report(f"{V5_COOKIE}={token(cookie=V5_COOKIE)}")["valid"]
    both = f"{V5_COOKIE}=x; {V5_SECURE_COOKIE}={token()}"
    assert report(both)["valid"]


def test_a_bearer_counts_where_it_is_on() -> None:
    bearer = token(OTHER_SECRET, cookie="tenant-session")
    assert report(None, bearer, TENANT)["valid"]
    off = report(None, bearer, WEB)
    assert (off["code"], off["reason"]) == (
        "session_missing",
        "there is no session cookie, and `bearer` is not on",
    )


def test_the_first_session_that_is_present_decides() -> None:
    other = token(OTHER_SECRET, cookie="tenant-session")
    assert report(f"tenant-session={other}", None, WEB, TENANT)["valid"]
    found = inspect([WEB, TENANT], f"tenant-session={other}; {V5_SECURE_COOKIE}=x", None, AT)
    assert found.credential is not None
    assert (found.credential.session, found.verified) == ("web", None)


def test_any_claim_can_be_reported() -> None:
    found = report(f"{V5_SECURE_COOKIE}={token(big=10**30, odd=chr(0xD800))}")
    assert json.loads(json.dumps(found))["claims"]["big"] == 10**30


def test_the_key_of_a_stored_session_is_told_as_such() -> None:
    config = SessionConfig.model_validate({"database": {"url": "postgres://a@b/c"}})
    rules = [SessionRule.compile("web", config)]
    found = inspect(rules, f"{V5_SECURE_COOKIE}=f1d2c3b4-0000", None, AT).report()
    assert (found["valid"], found["code"], found["kind"]) == (
        False,
        "session_store_down",
        "database",
    )
    assert found["reason"] == STORED
    hostile = inspect(rules, f"{V5_SECURE_COOKIE}=a%00b", None, AT).report()
    assert (hostile["code"], hostile["kind"]) == ("session_invalid", None)
