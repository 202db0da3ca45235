"""Routes: shape and defaults."""

from __future__ import annotations

import pytest

from proxy.config.model import RouteConfig
from tests.config.helpers import config_of, told, written


def test_a_route_has_the_defaults_of_the_contract() -> None:
    route = RouteConfig(path="/**", upstream="api")
    assert route.model_dump(exclude={"path", "upstream"}) == {
        "host": None,
        "methods": None,
        "auth": "required",
        "require": {"roles": (), "claims": {}, "email_domains": ()},
        "sessions": None,
        "cors": None,
        "csrf": None,
        "limits": {"body": None, "body_idle": None, "body_rate": None},
        "rate_limit": None,
        "timeouts": None,
        "retry": None,
        "login_url": None,
        "upgrade": None,
        "strip_prefix": None,
        "rewrite": None,
        "encoded_slashes": "refuse",
        "case_sensitive": False,
        "strict_slash": False,
    }


@pytest.mark.parametrize(
    ("written_claims", "claims"),
    [
        ("{plan: pro}", {"plan": ("pro",)}),
        ("{plan: [pro, team]}", {"plan": ("pro", "team")}),
        ("{level: 1, ok: true, rate: 1.5}", {"level": (1,), "ok": (True,), "rate": (1.5,)}),
        ("{level: '1'}", {"level": ("1",)}),
    ],
)
def test_claims_keep_their_types(written_claims: str, claims: dict[str, object]) -> None:
    text = written(routes=f"[{{path: /x, upstream: api, require: {{claims: {written_claims}}}}}]")
    found = config_of(text).routes[0].require.claims
    assert found == claims
    assert {path: type(values[0]) for path, values in found.items()} == {
        path: type(values[0])  # type: ignore[index]  # the table holds tuples
        for path, values in claims.items()
    }


@pytest.mark.parametrize("value", ["off", "{origins: ['null']}"])
def test_cors_of_a_route_is_off_or_keys(value: str) -> None:
    route = config_of(written(routes=f"[{{path: /x, upstream: api, cors: {value}}}]")).routes[0]
    assert (route.cors == "off") is (value == "off")


@pytest.mark.parametrize(
    ("more", "expected"),
    [
        ("methods: GET", "routes.0.methods: must be a list, such as [a, b]"),
        ("methods: []", "routes.0.methods: must not be empty"),
        ("methods: ['a b']", "routes.0.methods.0: must be a name made of letters"),
        ("auth: none", "routes.0.auth: must be required, optional or public"),
        ("require: {roles: admin}", "routes.0.require.roles: must be a list"),
        ("require: {claims: {a: .inf}}", "routes.0.require.claims.a: must be text, a number"),
        ("upgrade: true", "routes.0.upgrade: must be websocket or off"),
        ("encoded_slashes: true", "routes.0.encoded_slashes: must be refuse or allow"),
        ("limits: {head: 1KiB}", "routes.0.limits.head: unknown key 'head'; it belongs under"),
        ("limits: {body_idle: off}", "routes.0.limits.body_idle: must be a duration"),
    ],
)
def test_other_values_are_refused(more: str, expected: str) -> None:
    (message,) = told(written(routes=f"[{{path: /x, upstream: api, {more}}}]"))
    assert message.startswith(expected)
