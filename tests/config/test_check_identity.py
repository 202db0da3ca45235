"""Identity headers."""

from __future__ import annotations

import pytest

from tests.config.helpers import told, written


def told_of(headers: str) -> list[str]:
    return told(written(identity=f"{{headers: {{{headers}}}}}"))


@pytest.mark.parametrize(
    "headers",
    ["", "X-User-Id: id", "X-Org: claims.org.id", "Remote-User: email", "X-A: id, X-B: roles"],
)
def test_names_of_our_own_pass(headers: str) -> None:
    assert told_of(headers) == []


@pytest.mark.parametrize(
    "name",
    [
        "Host",
        "host",
        "Cookie",
        "Authorization",
        "Connection",
        "Transfer-Encoding",
        "Content-Length",
        "Content-Type",
        "X-Forwarded-For",
        "X-Forwarded-User",
        "Forwarded",
        "X-Real-IP",
        "TE",
        "Upgrade",
        "Proxy",
        "Proxy-Authorization",
        "Sec-Fetch-Site",
        "Origin",
        "traceparent",
        "X-Request-Id",
        "Accept",
        "If-None-Match",
    ],
)
def test_names_that_mean_something_are_refused(name: str) -> None:
    assert told_of(f"{name}: id") == [
        f"identity.headers.{name}: '{name}' has a meaning of its own in HTTP; choose an X- name"
    ]


@pytest.mark.parametrize("name", ["X_User", "X.User", "1X", "-X", "X!"])
def test_names_that_servers_respell_are_refused(name: str) -> None:
    (found,) = told_of(f"{name}: id")
    assert "letters, digits and hyphens" in found


def test_names_that_backends_confuse_are_refused() -> None:
    assert told_of("X-User-Id: id, XUser-ID: email") == [
        "identity.headers.XUser-ID: backends may read this name and the one on line 4 as the same"
    ]


@pytest.mark.parametrize(
    ("source", "hint"),
    [
        ("uid", ", did you mean 'id'?"),
        ("mail", ", did you mean 'email'?"),
        ("claims", ""),
        ("claims.", ""),
        ("claims.a..b", ""),
        ("org.id", ""),
    ],
)
def test_other_sources_are_refused(source: str, hint: str) -> None:
    assert told_of(f"X-A: {source}") == [
        "identity.headers.X-A: must be id, email, name, roles, or claims. and a path, "
        f"as in claims.org.id{hint}"
    ]


def test_upstreams_are_held_to_the_same() -> None:
    text = written(upstreams="{api: {endpoints: [http://x], identity: {headers: {Host: id}}}}")
    assert [message.partition(":")[0] for message in told(text)] == [
        "upstreams.api.identity.headers.Host"
    ]
