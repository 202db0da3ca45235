"""A configuration from flags and variables."""

from __future__ import annotations

import pytest

from proxy.config.flags import Flags, flags_source, from_flags, given
from proxy.config.problems import ConfigError
from tests.config.helpers import ENV, SECRET, config_of

UPSTREAM = "http://127.0.0.1:8000"
ORIGIN = "https://app.example.com"


def complaints(flags: Flags, env: dict[str, str]) -> list[str]:
    with pytest.raises(ConfigError) as caught:
        from_flags(flags, env)
    assert SECRET not in str(caught.value)
    return [str(problem) for problem in caught.value.problems]


def test_flags_give_what_a_file_would() -> None:
    text = """
sessions: {web: {kind: authjs, secret: ["${AUTH_SECRET}"]}}
upstreams: {api: {endpoints: [http://127.0.0.1:8000]}}
routes: [{path: /**, upstream: api}]
cors: {origins: [https://app.example.com]}
listen: 127.0.0.1:8080
admin: 127.0.0.1:9091
"""
    flags = Flags(UPSTREAM, (ORIGIN,), "127.0.0.1:8080", "127.0.0.1:9091")
    assert from_flags(flags, ENV) == config_of(text)


def test_every_flag_is_a_variable_too() -> None:
    env = ENV | {
        "GATELODGE_UPSTREAM": UPSTREAM,
        "GATELODGE_ORIGIN": f"{ORIGIN}, https://b.example.com",
        "GATELODGE_LISTEN": "127.0.0.1:8080",
        "GATELODGE_ADMIN": "127.0.0.1:9091",
    }
    flags = Flags(UPSTREAM, (ORIGIN, "https://b.example.com"), "127.0.0.1:8080", "127.0.0.1:9091")
    assert from_flags(Flags(), env) == from_flags(flags, ENV)


def test_a_flag_wins_over_its_variable() -> None:
    config = from_flags(Flags(UPSTREAM), ENV | {"GATELODGE_UPSTREAM": "http://other"})
    assert str(config.upstreams["api"].endpoints[0].url) == UPSTREAM


def test_defaults_are_those_of_a_file() -> None:
    config = from_flags(Flags(UPSTREAM), ENV)
    assert config.cors is None
    assert str(config.listen.address) == "0.0.0.0:8080"
    assert str(config.admin) == "127.0.0.1:9090"


@pytest.mark.parametrize(
    ("env", "secrets"),
    [
        ({"AUTH_SECRET": SECRET}, [SECRET]),
        ({"NEXTAUTH_SECRET": SECRET}, [SECRET]),
        ({"NEXTAUTH_SECRET": SECRET[::-1], "AUTH_SECRET": SECRET}, [SECRET, SECRET[::-1]]),
        ({"NEXTAUTH_SECRET": SECRET, "AUTH_SECRET": SECRET}, [SECRET]),
        ({"NEXTAUTH_SECRET": SECRET, "AUTH_SECRET": ""}, [SECRET]),
    ],
    ids=["v5", "v4", "both", "twice the same", "one is empty"],
)
def test_the_secret_has_the_names_of_the_app(env: dict[str, str], secrets: list[str]) -> None:
    session = from_flags(Flags(UPSTREAM), env).sessions["web"]
    assert [secret.get_secret_value() for secret in session.secret] == secrets


def test_what_is_missing_is_told_together() -> None:
    assert complaints(Flags(), {}) == [
        "--upstream: is missing: where requests go, as in http://127.0.0.1:8000 "
        "(or give a file with -c)",
        "AUTH_SECRET: is not set: the secret of the app that signs users in (or NEXTAUTH_SECRET)",
    ]


@pytest.mark.parametrize(
    ("flags", "env", "expected"),
    [
        (Flags("127.0.0.1:8000"), ENV, ["--upstream: must be http://HOST:PORT"]),
        (Flags(""), ENV, ["--upstream: must be http://HOST:PORT"]),
        (Flags(), ENV | {"GATELODGE_UPSTREAM": "x"}, ["GATELODGE_UPSTREAM: must be http://HOST"]),
        (Flags(UPSTREAM, ("*",)), ENV, ["--origin: * is refused"]),
        (Flags(UPSTREAM, (ORIGIN, f"{ORIGIN}/")), ENV, ["--origin: an origin ends after"]),
        (Flags(UPSTREAM), ENV | {"GATELODGE_ORIGIN": "x"}, ["GATELODGE_ORIGIN: must be scheme"]),
        (Flags(UPSTREAM, listen="8080"), ENV, ["--listen: must be HOST:PORT"]),
        (Flags(UPSTREAM, admin="8080"), ENV, ["--admin: must be HOST:PORT"]),
        (Flags(UPSTREAM, admin="0.0.0.0:8080"), ENV, ["--admin: listen and admin must not share"]),
        (Flags(UPSTREAM, listen="127.0.0.1:9090"), ENV, ["--listen: listen and admin must not"]),
        (Flags(UPSTREAM), {"AUTH_SECRET": "short"}, ["AUTH_SECRET: this secret is weak"]),
        (
            Flags(UPSTREAM),
            ENV | {"NEXTAUTH_SECRET": "short"},
            ["NEXTAUTH_SECRET: this secret is weak"],
        ),
        (Flags("x", listen="y"), ENV, ["--listen: must be HOST:PORT", "--upstream: must be http"]),
        (Flags(f"http://{SECRET}@x"), ENV, ["--upstream: must not carry a user name"]),
    ],
)
def test_a_bad_value_names_its_flag_or_variable(
    flags: Flags, env: dict[str, str], expected: list[str]
) -> None:
    found = complaints(flags, env)
    assert len(found) == len(expected)
    for message, start in zip(found, expected, strict=True):
        assert message.startswith(start)


def test_a_value_of_a_flag_is_never_repeated() -> None:
    source = flags_source(Flags(UPSTREAM, (ORIGIN,)), ENV)
    assert source.shown(("upstreams", "api", "endpoints", 0)) == "this"
    assert source.shown_key(("upstreams", "api")) == "'api'"
    assert source.line(("cors", "origins", 0)) == "of --origin"
    assert source.line(("routes", 0)) == "of flags"


def test_what_is_given_is_named_for_the_refusal_beside_a_file() -> None:
    env = {"GATELODGE_ORIGIN": "x,y", "GATELODGE_LISTEN": "", "GATELODGE_CONFIG": "x"} | ENV
    assert given(Flags(admin="x"), env) == ["--admin", "GATELODGE_ORIGIN"]
    assert given(Flags(), ENV) == []
