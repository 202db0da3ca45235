from __future__ import annotations

import math
from types import MappingProxyType
from typing import Any

import pytest

from proxy.core.claims import ClaimPath, check_times
from proxy.errors import SessionExpired, SessionInvalid

NOW = 1_800_000_000.0


@pytest.mark.parametrize(
    ("exp", "expired"),
    [(1000, False), (0, False), (-14.9, False), (-15, True), (-16, True), (-1e9, True)],
)
def test_a_token_expires_15_seconds_after_exp(exp: float, expired: bool) -> None:
    claims = {"exp": NOW + exp}
    if expired:
        with pytest.raises(SessionExpired):
            check_times(claims, NOW)
    else:
        assert check_times(claims, NOW) == NOW + exp


@pytest.mark.parametrize(("exp", "expired"), [(1, False), (0.5, False), (0, True), (-1, True)])
def test_without_tolerance_a_token_expires_at_exp(exp: float, expired: bool) -> None:
    claims = {"exp": NOW + exp}
    if expired:
        with pytest.raises(SessionExpired):
            check_times(claims, NOW, tolerance=0)
    else:
        assert check_times(claims, NOW, tolerance=0) == NOW + exp


@pytest.mark.parametrize(("nbf", "good"), [(-5, True), (15, True), (15.1, False), (3600, False)])
def test_a_token_counts_from_15_seconds_before_nbf(nbf: float, good: bool) -> None:
    claims = {"exp": NOW + 7200, "nbf": NOW + nbf}
    if good:
        assert check_times(claims, NOW) == NOW + 7200
    else:
        with pytest.raises(SessionInvalid, match="nbf"):
            check_times(claims, NOW)


BAD = [
    True,
    False,
    None,
    "1800000100",
    [1],
    {"a": 1},
    math.nan,
    math.inf,
    -math.inf,
    10**400,
    1e300,
]


@pytest.mark.parametrize("name", ["exp", "iat", "nbf"])
@pytest.mark.parametrize("value", BAD, ids=lambda value: str(value)[:10])
def test_a_time_that_is_no_time_is_invalid(name: str, value: Any) -> None:
    claims = {"exp": NOW + 100, name: value}
    with pytest.raises(SessionInvalid, match=f"{name} is not a"):
        check_times(claims, NOW)


@pytest.mark.parametrize("claims", [{}, {"sub": "u-1"}, {"iat": NOW, "nbf": NOW}])
def test_a_token_without_exp_is_invalid(claims: dict[str, Any]) -> None:
    with pytest.raises(SessionInvalid, match="no exp"):
        check_times(claims, NOW)


def test_without_max_age_the_time_of_issue_does_not_matter() -> None:
    assert check_times({"exp": NOW + 1, "iat": NOW + 3600}, NOW) == NOW + 1


@pytest.mark.parametrize(
    ("iat", "expires"),
    [
        pytest.param(-50, 50, id="fresh: max_age ends before exp"),
        pytest.param(0, 100, id="just issued"),
        pytest.param(15, 115, id="from a clock that runs ahead"),
        pytest.param(-115, -15, id="as old as the tolerance allows"),
    ],
)
def test_max_age_counts_from_iat(iat: float, expires: float) -> None:
    claims = {"exp": NOW + 1000, "iat": NOW + iat}
    assert check_times(claims, NOW, max_age=100) == NOW + expires


def test_exp_may_end_a_session_before_max_age() -> None:
    assert check_times({"exp": NOW + 10, "iat": NOW}, NOW, max_age=100) == NOW + 10


def test_a_token_older_than_max_age_is_expired() -> None:
    with pytest.raises(SessionExpired, match="max_age"):
        check_times({"exp": NOW + 1000, "iat": NOW - 115.1}, NOW, max_age=100)


@pytest.mark.parametrize(
    "claims", [{"exp": NOW + 10}, {"exp": NOW + 10, "iat": NOW + 15.1}], ids=["none", "future"]
)
def test_with_max_age_iat_must_be_there_and_past(claims: dict[str, Any]) -> None:
    with pytest.raises(SessionInvalid, match="iat"):
        check_times(claims, NOW, max_age=100)


CLAIMS: dict[str, Any] = {
    "sub": "u-1",
    "nothing": None,
    "user": {"role": "admin", "org": {"id": 7}},
    "permissions": {"a.b": True},
    "a.b": "literal",
    "a": {"b": "nested"},
    "https://example.com/roles": ["x"],
    "zero": 0,
    "list": [{"id": 1}],
    "": "empty",
}


@pytest.mark.parametrize(
    ("path", "value"),
    [
        ("sub", "u-1"),
        ("user.role", "admin"),
        ("user.org.id", 7),
        ("user.org", {"id": 7}),
        ("permissions.a.b", True),
        ("a.b", "literal"),
        ("https://example.com/roles", ["x"]),
        ("zero", 0),
        ("nothing", None),
        ("nothing.more", None),
        ("missing", None),
        ("user.missing", None),
        ("user.role.more", None),
        ("sub.0", None),
        ("list.0", None),
        ("list.id", None),
        ("user.", None),
        (".user", None),
        ("", "empty"),
        ("..", None),
    ],
)
def test_a_path_finds_its_claim(path: str, value: Any) -> None:
    assert ClaimPath(path).read(CLAIMS) == value
    assert ClaimPath(path).read(MappingProxyType(CLAIMS)) == value


def test_a_path_shows_itself() -> None:
    assert repr(ClaimPath("user.role")) == "ClaimPath('user.role')"
