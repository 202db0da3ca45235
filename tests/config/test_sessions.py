"""Sessions and identity: shape and defaults."""

from __future__ import annotations

import pytest

from proxy.config.model import IdentityConfig, SessionConfig
from tests.config.helpers import SECRET, config_of, told, written


def test_a_session_has_the_defaults_of_the_contract() -> None:
    assert SessionConfig().model_dump() == {
        "kind": "authjs",
        "secret": (),
        "cookie": "auto",
        "max_age": None,
        "bearer": False,
        "principal": {
            "id": ("sub", "id"),
            "email": ("email",),
            "name": ("name",),
            "roles": ("roles", "role"),
        },
        "jwt": None,
        "database": None,
        "cache": {"ttl": 10.0, "entries": 100_000},
        "allow_weak_secret": False,
    }


def test_the_upstream_is_told_the_usual_four() -> None:
    assert IdentityConfig().model_dump() == {
        "headers": {
            "X-User-Id": "id",
            "X-User-Email": "email",
            "X-User-Name": "name",
            "X-User-Roles": "roles",
        },
        "forward_session_cookie": False,
    }


@pytest.mark.parametrize(
    "secret",
    ["'${AUTH_SECRET}'", "['${AUTH_SECRET}']", SECRET],
    ids=["text", "list", "in the file"],
)
def test_a_secret_is_one_or_a_list(secret: str) -> None:
    session = config_of(written(sessions=f"{{web: {{secret: {secret}}}}}")).sessions["web"]
    assert [each.get_secret_value() for each in session.secret] == [SECRET]


def test_secrets_stay_in_order() -> None:
    other = SECRET[::-1]
    text = written(sessions=f"{{web: {{secret: [{other}, '${{AUTH_SECRET}}']}}}}")
    secrets = config_of(text).sessions["web"].secret
    assert [each.get_secret_value() for each in secrets] == [other, SECRET]


def test_sessions_stay_in_order() -> None:
    text = written(sessions="{z: {secret: '${AUTH_SECRET}'}, a: {secret: '${AUTH_SECRET}'}}")
    assert list(config_of(text).sessions) == ["z", "a"]


def test_claim_paths_are_one_or_a_list() -> None:
    text = written(
        sessions="{web: {secret: '${AUTH_SECRET}', principal: {id: user.id, roles: [a, b.c]}}}"
    )
    principal = config_of(text).sessions["web"].principal
    assert (principal.id, principal.roles) == (("user.id",), ("a", "b.c"))


@pytest.mark.parametrize(
    ("more", "expected"),
    [
        ("secret: []", "sessions.web.secret: must not be empty"),
        ("secret: ['']", "sessions.web.secret.0: must not be empty"),
        ("max_age: 30", "sessions.web.max_age: must be a duration with its unit, such as 1500ms"),
        ("bearer: 'yes'", "sessions.web.bearer: must be true or false"),
        ("cookie: 'a b'", "sessions.web.cookie: must be a name made of letters"),
        ("cache: {entries: 0}", "sessions.web.cache.entries: must be at least 1"),
        ("principal: {id: []}", "sessions.web.principal.id: must not be empty"),
        ("jwt: {algorithms: HS256}", "sessions.web.jwt.algorithms: must be a list"),
    ],
)
def test_other_values_are_refused(more: str, expected: str) -> None:
    (message,) = told(written(sessions=f"{{web: {{{more}}}}}"))
    assert message.startswith(expected)
