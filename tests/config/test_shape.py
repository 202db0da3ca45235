"""The model as a tree of keys."""

from __future__ import annotations

import pytest

from proxy.config.fields import Section
from proxy.config.model import (
    AsUser,
    Config,
    CorsConfig,
    JwtOptions,
    Listen,
    RateLimit,
    RouteConfig,
    SessionConfig,
    TestCase,
)
from proxy.config.problems import Loc
from proxy.config.shape import dotted, fields, keys_of, places_of, section_at, section_inside


@pytest.mark.parametrize(
    ("loc", "section"),
    [
        ((), Config),
        (("listen",), Listen),
        (("cors",), CorsConfig),
        (("sessions", "web"), SessionConfig),
        (("sessions", "web", "jwt"), JwtOptions),
        (("routes", 3), RouteConfig),
        (("routes", 3, "cors"), CorsConfig),
        (("tests", 0, "as"), AsUser),
        (("rate_limit",), RateLimit),
        (("rate_limit", 1), RateLimit),
        (("routes", 3, "rate_limit", 0), RateLimit),
        (("routes", 3, "rate_limit"), RateLimit),
        (("routes", "[]"), RouteConfig),
        (("sessions",), None),
        (("health_path",), None),
        (("nothing",), None),
    ],
)
def test_the_section_at_a_place_is_found(loc: Loc, section: type[Section] | None) -> None:
    assert section_at(loc) is section


def test_keys_are_those_of_the_file() -> None:
    assert list(keys_of(TestCase)) == ["request", "as", "headers", "cookies", "expect"]


def test_every_key_has_its_way() -> None:
    ways = [dotted(path) for path, _ in fields()]
    assert "sessions.*.jwt.signing_key" in ways
    assert "routes[].require.roles" in ways
    assert "tests[].as.roles" in ways
    assert len(ways) == len(set(ways))


def test_keys_of_one_name_are_found_everywhere() -> None:
    assert [dotted(path) for path in places_of("check_origin")] == [
        "csrf.check_origin",
        "routes[].csrf.check_origin",
    ]


def test_every_section_in_a_type_is_seen() -> None:
    assert section_inside(dict[str, SessionConfig] | None) is SessionConfig
    assert section_inside(tuple[RouteConfig, ...]) is RouteConfig
    assert section_inside(tuple[str, ...]) is None


def test_every_key_says_what_it_means() -> None:
    assert [dotted(path) for path, info in fields() if not info.description] == []
