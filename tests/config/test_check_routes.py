"""Each route by itself."""

from __future__ import annotations

import pytest

from tests.config.helpers import told, written


def told_of_route(more: str, path: str = "/x/**") -> list[str]:
    return told(written(routes=f"[{{path: '{path}', upstream: api, {more}}}]"))


@pytest.mark.parametrize(
    "more",
    [
        "auth: public",
        "auth: public, upgrade: websocket",
        "auth: optional, require: {roles: [a]}",
        "require: {roles: [a], claims: {a.b: c}, email_domains: [example.com]}",
        "sessions: [web]",
        "methods: [GET, PROPFIND, OPTIONS]",
        "host: '*.example.com'",
        "strip_prefix: /x",
        "rewrite: /y/**",
        "rewrite: /**",
    ],
)
def test_what_makes_sense_passes(more: str) -> None:
    assert told_of_route(more) == []


@pytest.mark.parametrize(
    ("more", "expected"),
    [
        ("host: a.example.com:80", "routes.0.host: a host is a name without a port"),
        (
            "methods: [get]",
            "routes.0.methods.0: 'get' is not a method that is forwarded, did you mean 'GET'?",
        ),
        (
            "methods: [CONNECT]",
            "routes.0.methods.0: 'CONNECT' is not a method that is forwarded; "
            "CONNECT and TRACE are never forwarded",
        ),
        (
            "sessions: [web, wbe]",
            "routes.0.sessions.1: there is no session 'wbe', did you mean 'web'?",
        ),
        (
            "auth: public, require: {roles: [a]}",
            "routes.0.require: a public route looks at no session, "
            "so it can require nothing of the user",
        ),
        (
            "auth: public, sessions: [web]",
            "routes.0.sessions: a public route looks at no session, "
            "so it cannot name the ones that count",
        ),
        (
            "require: {claims: {a..b: c}}",
            "routes.0.require.claims.a..b: a claim path is names with dots between them, "
            "as in org.plan",
        ),
        (
            "require: {email_domains: ['@example.com']}",
            "routes.0.require.email_domains.0: must be a domain alone, as in example.com, "
            "without @ and wildcards",
        ),
        (
            "require: {email_domains: ['*.example.com']}",
            "routes.0.require.email_domains.0: must be a domain alone, as in example.com, "
            "without @ and wildcards",
        ),
        (
            "strip_prefix: /x, rewrite: /y/**",
            "routes.0.rewrite: rewrite says the whole path, "
            "so it does not go together with strip_prefix",
        ),
        ("strip_prefix: x", "routes.0.strip_prefix: a path begins with /"),
        ("rewrite: y", "routes.0.rewrite: a path begins with /"),
    ],
)
def test_what_makes_none_is_told(more: str, expected: str) -> None:
    assert told_of_route(more) == [expected]


def test_an_upstream_must_exist() -> None:
    assert told(written(routes="[{path: /x, upstream: apii}]")) == [
        "routes.0.upstream: there is no upstream 'apii', did you mean 'api'?"
    ]
    assert told(written(routes="[{path: /x, upstream: zebra}]")) == [
        "routes.0.upstream: there is no upstream 'zebra'"
    ]


@pytest.mark.parametrize(
    ("path", "prefix", "message"),
    [
        ("/svc/**", "/svc", None),
        ("/svc/v1/**", "/svc", None),
        ("/svc/v1", "/svc/v1", None),
        ("/svc/**", "/sv", "does not begin with this prefix"),
        ("/svc/**", "/svc/v1", "does not begin with this prefix"),
        ("/*/v1", "/svc", "does not begin with this prefix"),
        ("/svc/**", "/Svc", "does not begin with this prefix"),
        ("/svc/**", "/svc/", "whole literal segments"),
        ("/svc/**", "/", "whole literal segments"),
        ("/svc/**", "/svc/**", "whole literal segments"),
        ("/*/v1", "/*", "whole literal segments"),
    ],
)
def test_a_prefix_is_whole_segments_of_the_path(
    path: str, prefix: str, message: str | None
) -> None:
    found = told_of_route(f"strip_prefix: '{prefix}'", path)
    assert (found == []) if message is None else (message in found[0])


@pytest.mark.parametrize(
    ("path", "rewrite", "wanted"),
    [
        ("/a/*/b/**", "/*/c/**", None),
        ("/a", "/b", None),
        ("/a/*", "/b", "*"),
        ("/a/**", "/b/*", "**"),
        ("/a", "/b/**", "no wildcards"),
        ("/a/*/*", "/b/*", "* *"),
    ],
)
def test_a_rewrite_has_the_wildcards_of_the_path(
    path: str, rewrite: str, wanted: str | None
) -> None:
    message = f"routes.0.rewrite: must have the wildcards of the path, in their order: {wanted}"
    found = told_of_route(f"rewrite: '{rewrite}'", path)
    assert found == ([] if wanted is None else [message])


def test_without_sessions_every_route_is_public() -> None:
    routes = "[{path: /x, upstream: api, auth: public}, {path: /y, upstream: api}]"
    assert told(written(sessions="", routes=routes)) == [
        "routes.1: this route needs a session, and none is configured: "
        "add one under sessions, or write auth: public"
    ]
    optional = "[{path: /x, upstream: api, auth: optional}]"
    assert len(told(written(sessions="", routes=optional))) == 1
    public = "[{path: /x, upstream: api, auth: public}]"
    assert told(written(sessions="", routes=public)) == []
