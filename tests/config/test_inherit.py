"""What holds for a route, key by key."""

from __future__ import annotations

import pytest

from proxy.config import inherit
from proxy.config.model import Config
from tests.config.helpers import config_of, written

ORIGINS = "origins: ['https://a.example.com']"


def with_route(more: str, **sections: str) -> Config:
    return config_of(written(routes=f"[{{path: /x, upstream: api, {more}}}]", **sections))


def test_cors_keys_replace_those_of_the_top_level() -> None:
    config = with_route("cors: {max_age: 1h}", cors=f"{{{ORIGINS}, headers: [X-A]}}")
    cors = inherit.cors_for(config, config.routes[0])
    assert cors is not None
    assert (cors.origins, cors.headers, cors.max_age) == (
        ("https://a.example.com",),
        ("X-A",),
        3600.0,
    )


@pytest.mark.parametrize(
    ("route", "top", "is_on"),
    [
        ("cors: off", f"{{{ORIGINS}}}", False),
        ("auth: required", f"{{{ORIGINS}}}", True),
        ("auth: required", "off", False),
        (f"cors: {{{ORIGINS}}}", "off", True),
    ],
    ids=["off here", "as above", "off above", "on here"],
)
def test_cors_may_be_on_and_off(route: str, top: str, is_on: bool) -> None:
    config = with_route(route, cors=top)
    assert (inherit.cors_for(config, config.routes[0]) is not None) is is_on


@pytest.mark.parametrize(
    ("route", "csrf", "check", "origins"),
    [
        ("auth: required", "{}", True, ("https://a.example.com",)),
        (
            "auth: required",
            "{origins: ['https://b.example.com']}",
            True,
            ("https://b.example.com",),
        ),
        ("auth: required", "{origins: []}", True, ()),
        ("csrf: {check_origin: false}", "{origins: []}", False, ()),
        ("csrf: {origins: ['null']}", "{check_origin: false}", False, ("null",)),
        ("cors: {origins: ['null']}", "{}", True, ("null",)),
        ("cors: off", "{}", True, ()),
    ],
)
def test_csrf_origins_are_those_of_cors_unless_named(
    route: str, csrf: str, check: bool, origins: tuple[str, ...]
) -> None:
    config = with_route(route, csrf=csrf, cors=f"{{{ORIGINS}}}")
    found = inherit.csrf_for(config, config.routes[0])
    assert (found.check_origin, found.origins) == (check, origins)


@pytest.mark.parametrize(
    ("route", "top", "body", "idle"),
    [
        ("auth: required", "{body: 1KiB, body_idle: 1s}", 1024, 1.0),
        ("limits: {body: 2KiB}", "{body: 1KiB, body_idle: 1s}", 2048, 1.0),
        ("limits: {body: off}", "{body: 1KiB}", None, 30.0),
        ("limits: {body_idle: 2s}", "{body: off}", None, 2.0),
    ],
)
def test_limits_are_the_route_s_or_the_top_level_s(
    route: str, top: str, body: int | None, idle: float
) -> None:
    config = with_route(route, limits=top)
    assert inherit.body_limit_for(config, config.routes[0]) == body
    assert inherit.body_idle_for(config, config.routes[0]) == idle


def test_timeouts_and_attempts_are_the_route_s_or_the_upstream_s() -> None:
    config = with_route(
        "timeouts: {first_byte: off}, retry: {attempts: 1}",
        upstreams="{api: {endpoints: [http://x], timeouts: {connect: 1s, first_byte: 9s}}}",
    )
    route = config.routes[0]
    timeouts = inherit.timeouts_for(config, route)
    assert (timeouts.connect, timeouts.first_byte, timeouts.stream_idle) == (1.0, None, 300.0)
    assert inherit.attempts_for(config, route) == 1
    plain = with_route("auth: required")
    assert inherit.attempts_for(plain, plain.routes[0]) == 2
    assert inherit.timeouts_for(plain, plain.routes[0]) == plain.upstreams["api"].timeouts


@pytest.mark.parametrize(
    ("route", "names"),
    [
        ("auth: required", ("b", "a")),
        ("sessions: [a, b]", ("b", "a")),
        ("sessions: [a]", ("a",)),
        ("auth: public", ()),
    ],
)
def test_sessions_are_in_the_order_of_the_file(route: str, names: tuple[str, ...]) -> None:
    config = with_route(
        route, sessions="{b: {secret: '${AUTH_SECRET}'}, a: {secret: '${AUTH_SECRET}'}}"
    )
    assert inherit.sessions_for(config, config.routes[0]) == names


def test_identity_headers_are_the_upstream_s_or_the_top_level_s() -> None:
    config = with_route(
        "auth: required",
        identity="{forward_session_cookie: true}",
        upstreams="{api: {endpoints: [http://x], identity: {headers: {X-A: id}}}}",
    )
    identity = inherit.identity_for(config, config.routes[0])
    assert (identity.headers, identity.forward_session_cookie) == ({"X-A": "id"}, True)
    plain = with_route("auth: required")
    assert inherit.identity_for(plain, plain.routes[0]) == plain.identity


@pytest.mark.parametrize(
    ("route", "url"),
    [
        ("auth: required", "https://a.example.com/in"),
        ("login_url: off", None),
        ("login_url: 'https://b.example.com/'", "https://b.example.com/"),
    ],
)
def test_the_login_url_may_be_replaced_and_taken_away(route: str, url: str | None) -> None:
    config = with_route(route, login_url="https://a.example.com/in")
    assert inherit.login_url_for(config, config.routes[0]) == url


@pytest.mark.parametrize(
    ("route", "opens"),
    [
        ("auth: required", True),
        ("auth: optional", True),
        ("auth: public", False),
        ("auth: public, upgrade: websocket", True),
        ("upgrade: off", False),
    ],
)
def test_websockets_are_off_where_anybody_may_come(route: str, opens: bool) -> None:
    assert inherit.upgrades(with_route(route).routes[0]) is opens


@pytest.mark.parametrize(
    ("route", "own", "rates"),
    [
        ("auth: required", False, ["5/m"]),
        ("rate_limit: {by: ip, rate: 1/s}", True, ["1/s"]),
        ("rate_limit: off", True, []),
    ],
)
def test_a_route_s_rate_limit_stands_in_the_place_of_the_top_level_s(
    route: str, own: bool, rates: list[str]
) -> None:
    config = with_route(route, rate_limit="{by: user, rate: 5/m}")
    is_own, limits = inherit.rate_limits_for(config, config.routes[0])
    assert (is_own, [str(limit.rate) for limit in limits]) == (own, rates)


@pytest.mark.parametrize(
    ("redis", "shared", "expected"),
    [
        ("", "", False),
        ("{url: redis://a}", "", True),
        ("{url: redis://a}", ", shared: false", False),
        ("{url: redis://a}", ", shared: true", True),
    ],
)
def test_where_there_is_a_server_limits_are_shared(redis: str, shared: str, expected: bool) -> None:
    config = config_of(written(rate_limit=f"{{by: ip, rate: 1/s{shared}}}", redis=redis))
    assert inherit.is_shared(config, config.rate_limit[0]) is expected
