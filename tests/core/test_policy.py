from __future__ import annotations

from typing import Any

import pytest

from proxy.core.identity import Principal
from proxy.core.policy import Policy
from proxy.errors import Forbidden, SessionMissing


def user(**changes: Any) -> Principal:
    return Principal(**({"id": "u-1", "email": "u1@example.test", "roles": ("user",)} | changes))


def test_a_required_session_must_be_there() -> None:
    with pytest.raises(SessionMissing):
        Policy("required").admit(None)
    Policy("required").admit(user())


def test_an_optional_session_may_be_missing() -> None:
    Policy("optional").admit(None)
    Policy("optional").admit(user())


def test_nobody_does_not_meet_the_demands_of_an_optional_route() -> None:
    with pytest.raises(SessionMissing):
        Policy("optional", roles={"admin"}).admit(None)
    with pytest.raises(Forbidden):
        Policy("optional", roles={"admin"}).admit(user())


def test_a_public_route_asks_nothing() -> None:
    Policy("public").admit(None)
    Policy("public").admit(user())


def refusal(policy: Policy, principal: Principal) -> str | None:
    """The reason, or None if the principal is admitted."""
    try:
        policy.admit(principal)
    except Forbidden as refused:
        return refused.reason
    return None


def test_one_of_the_roles_is_enough() -> None:
    policy = Policy("required", roles={"admin", "owner"})
    assert refusal(policy, user(roles=("user", "owner"))) is None
    for roles in ((), ("user",), ("Admin",), ("admin ",), ("admin,owner",)):
        assert refusal(policy, user(roles=roles)) == (
            "the user has none of the roles that the route requires"
        )


CLAIMS: dict[str, tuple[dict[str, Any], dict[str, Any], bool]] = {
    "text": ({"plan": "pro"}, {"plan": "pro"}, True),
    "other text": ({"plan": "pro"}, {"plan": "Pro"}, False),
    "one of a list": ({"plan": ("pro", "team")}, {"plan": "team"}, True),
    "none of a list": ({"plan": ["pro", "team"]}, {"plan": "free"}, False),
    "claim is a list with it": ({"groups": "a"}, {"groups": ["b", "a"]}, True),
    "claim is a list without it": ({"groups": "a"}, {"groups": ["b", ["a"], {"a": 1}]}, False),
    "claim is an empty list": ({"groups": "a"}, {"groups": []}, False),
    "claim is an object": ({"groups": "a"}, {"groups": {"a": "a"}}, False),
    "nested": ({"org.plan": "pro"}, {"org": {"plan": "pro"}}, True),
    "name with dots": ({"https://x.test/plan": "pro"}, {"https://x.test/plan": "pro"}, True),
    "missing": ({"plan": "pro"}, {}, False),
    "null": ({"plan": "pro"}, {"plan": None}, False),
    "number": ({"level": 1}, {"level": 1}, True),
    "the same number written otherwise": ({"level": 1}, {"level": 1.0}, True),
    "number is not true": ({"level": 1}, {"level": True}, False),
    "true is not a number": ({"ok": True}, {"ok": 1}, False),
    "true": ({"ok": True}, {"ok": True}, True),
    "false is not nothing": ({"ok": False}, {}, False),
    "false is not 0": ({"ok": False}, {"ok": 0}, False),
    "number is not text": ({"level": 1}, {"level": "1"}, False),
    "text is not a number": ({"level": "1"}, {"level": 1}, False),
    "text is not true": ({"ok": "true"}, {"ok": True}, False),
    "both hold": ({"a": 1, "b": 2}, {"a": 1, "b": 2}, True),
    "one of two holds": ({"a": 1, "b": 2}, {"a": 1, "b": 3}, False),
}


@pytest.mark.parametrize(("wanted", "claims", "admitted"), CLAIMS.values(), ids=CLAIMS)
def test_all_claims_must_hold(
    wanted: dict[str, Any], claims: dict[str, Any], admitted: bool
) -> None:
    assert (refusal(Policy("required", claims=wanted), user(claims=claims)) is None) == admitted


def test_the_reason_names_the_claim_and_not_its_value() -> None:
    reason = refusal(Policy("required", claims={"org.plan": "pro"}), user(claims={"org": "s3cret"}))
    assert reason == "the claim org.plan is not as the route requires"


def test_a_claim_that_may_have_no_value_is_held_by_nobody() -> None:
    assert refusal(Policy("required", claims={"a": []}), user(claims={"a": []})) is not None


@pytest.mark.parametrize("value", [None, {"a": 1}, ["a", None], ["a", ["b"]]])
def test_a_claim_that_is_compared_with_no_plain_value_is_refused(value: Any) -> None:
    with pytest.raises(ValueError, match="a claim is compared"):
        Policy("required", claims={"a": value})


EMAILS = {
    "u@example.test": True,
    "U@EXAMPLE.Test": True,
    "a.b+c@example.test": True,
    "u@sub.example.test": False,
    "u@other.test": False,
    "u@notexample.test": False,
    "u@example.test.evil.com": False,
    "u@example.test ": False,
    "attacker@evil.com@example.test": False,  # ID-34
    "attacker@evil.com\N{FULLWIDTH COMMERCIAL AT}example.test": False,  # ID-35
    "\N{LATIN SMALL LETTER E WITH ACUTE}@example.test": False,
    "u@\N{LATIN SMALL LETTER E WITH ACUTE}xample.test": False,
    "u@e\N{COMBINING ACUTE ACCENT}xample.test": False,
    "example.test": False,
    "@example.test": False,
    "u@": False,
    "": False,
}


@pytest.mark.parametrize("email", EMAILS)
def test_the_email_must_be_in_a_listed_domain(email: str) -> None:
    policy = Policy("required", email_domains={"Example.test", ""})
    assert (refusal(policy, user(email=email)) is None) == EMAILS[email]


def test_a_user_without_email_is_in_no_domain() -> None:
    reason = refusal(Policy("required", email_domains={"example.test"}), user(email=None))
    assert reason == "the user's e-mail address is in none of the required domains"


def test_each_kind_of_requirement_must_hold() -> None:
    policy = Policy("required", roles={"user"}, claims={"a": 1}, email_domains={"example.test"})
    assert refusal(policy, user(claims={"a": 1})) is None
    assert refusal(policy, user(claims={"a": 1}, roles=())) is not None
    assert refusal(policy, user(claims={"a": 2})) is not None
    assert refusal(policy, user(claims={"a": 1}, email="u@other.test")) is not None


def test_policies_are_equal_when_they_ask_the_same() -> None:
    def policy(**changes: Any) -> Policy:
        asked: dict[str, Any] = {
            "roles": ["a"],
            "claims": {"x": (1, 2)},
            "email_domains": ["E.test"],
        }
        return Policy(**({"auth": "required"} | asked | changes))

    assert policy() == policy(claims={"x": [2, 1]}, email_domains=["e.TEST"])
    assert hash(policy()) == hash(policy())
    for other in (
        policy(auth="optional"),
        policy(roles=["b"]),
        policy(claims={"x": (True, 2)}),
        policy(claims={"x": ("1", 2)}),
        policy(claims={"y": (1, 2)}),
        policy(email_domains=[]),
        object(),
    ):
        assert policy() != other


def test_what_is_shown_of_a_policy_is_no_value() -> None:
    policy = Policy("required", roles={"s3cret"}, claims={"s3cret": "s3cret"})
    assert repr(policy) == "<Policy required roles claims>"
