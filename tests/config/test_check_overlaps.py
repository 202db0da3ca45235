"""Routes together: ties, paths that only a forgiving backend confuses, doors left open."""

from __future__ import annotations

import pytest

from proxy.core.rules import compile_rules
from tests.config.helpers import config_of, told, written


def told_of(*routes: str) -> list[str]:
    listed = ", ".join(f"{{upstream: api, {route}}}" for route in routes)
    return told(written(routes=f"[{listed}]"))


TIES = [
    (("path: /a", "path: /a"), "the same requests"),
    (("path: /a/**", "path: /a/**, auth: public"), "the same requests"),
    (("path: /a, methods: [GET]", "path: /a, methods: [GET, POST]"), "with GET, HEAD"),
    (("path: /a, methods: [GET]", "path: /a, methods: [HEAD]"), "with HEAD"),
    (("path: /a, host: a.example", "path: /a, host: A.example."), "the same requests"),
]
NO_TIES = [
    ("path: /a", "path: /b"),
    ("path: /a", "path: /a/**"),
    ("path: /a/*", "path: /a/b"),
    ("path: /a, methods: [GET]", "path: /a, methods: [POST]"),
    ("path: /a", "path: /a, methods: [DELETE], require: {roles: [admin]}"),
    ("path: /a, host: a.example", "path: /a, host: b.example"),
    ("path: /a, host: a.example", "path: /a"),
]


@pytest.mark.parametrize(("routes", "message"), TIES)
def test_two_routes_for_the_same_requests_are_refused(
    routes: tuple[str, str], message: str
) -> None:
    (found,) = told_of(*routes)
    assert found.startswith("routes.1.path: this route and the one on line")
    assert message in found


@pytest.mark.parametrize("routes", NO_TIES)
def test_other_pairs_are_accepted_here_and_by_the_route_table(routes: tuple[str, str]) -> None:
    assert told_of(*routes) == []
    listed = ", ".join(f"{{upstream: api, {route}}}" for route in routes)
    compile_rules(config_of(written(routes=f"[{listed}]")))


@pytest.mark.parametrize(
    ("one", "two", "is_told"),
    [
        ("path: /a", "path: /A, auth: public", True),
        ("path: /a", "path: /a/, auth: public", True),
        ("path: /a/**", "path: /A/**, require: {roles: [x]}", True),
        ("path: /a", "path: /A, csrf: {check_origin: false}", True),
        ("path: /a", "path: /A", False),
        ("path: /a", "path: /A, limits: {body: 1KiB}", False),
        ("path: /a, case_sensitive: true", "path: /A, auth: public", True),
        ("path: /a, case_sensitive: true", "path: /A, auth: public, case_sensitive: true", False),
        ("path: /a, strict_slash: true", "path: /a/, auth: public, strict_slash: true", False),
        ("path: /a/b, strict_slash: true", "path: /a/b/, auth: public, strict_slash: true", False),
        ("path: /a/B, strict_slash: true", "path: /a/b/, auth: public, strict_slash: true", True),
        ("path: /a, case_sensitive: true", "path: /a/, auth: public, case_sensitive: true", True),
        ("path: /a", "path: /A, auth: public, host: a.example", False),
    ],
)
def test_paths_that_a_forgiving_backend_confuses_are_guarded_alike(
    one: str, two: str, is_told: bool
) -> None:
    found = [message for message in told_of(one, two) if "differs" in message]
    assert bool(found) is is_told


ADMIN = "path: /admin/**, require: {roles: [admin]}"
HOST = "host: a.example"


@pytest.mark.parametrize(
    "routes",
    [
        ("path: /**", f"path: /**, {HOST}, auth: public"),
        ("path: /**", f"path: /x, {HOST}, auth: optional"),
        ("path: /**, auth: optional", f"path: /**, {HOST}, auth: public"),
        (ADMIN, f"path: /**, {HOST}"),
        (ADMIN, f"path: /**, {HOST}, require: {{roles: [user]}}"),
        (ADMIN, f"path: /**, {HOST}, require: {{roles: [admin, user]}}"),
        (ADMIN, "path: /*/users, host: '*.example'"),
        (
            "path: /a, require: {claims: {x: 1}}",
            f"path: /a, {HOST}, require: {{claims: {{x: true}}}}",
        ),
        ("path: /a, require: {claims: {x: 1}}", f"path: /a, {HOST}, require: {{claims: {{y: 1}}}}"),
        (
            "path: /a, require: {email_domains: [x.example]}",
            f"path: /a, {HOST}, require: {{email_domains: [x.example, y.example]}}",
        ),
        # A route for other hosts, or for less than the strict route is for, is no help.
        (
            ADMIN,
            f"path: /**, {HOST}",
            "path: /admin/**, host: b.example, require: {roles: [admin]}",
        ),
        (ADMIN, f"path: /**, {HOST}", f"path: /admin/x, {HOST}, require: {{roles: [admin]}}"),
        (ADMIN, f"path: /admin/**, {HOST}", f"path: /**, {HOST}, require: {{roles: [admin]}}"),
        (
            "path: /a, require: {roles: [x]}",
            f"path: /a, {HOST}",
            f"path: /a, {HOST}, methods: [GET], require: {{roles: [x]}}",
        ),
    ],
)
def test_a_host_opens_no_door_that_is_closed_elsewhere(routes: tuple[str, ...]) -> None:
    (found,) = told_of(*routes)
    assert found.startswith("routes.1.host: on this host, this route takes requests")


@pytest.mark.parametrize(
    "routes",
    [
        ("path: /**, auth: public", f"path: /**, {HOST}"),
        (ADMIN, f"path: /public/**, {HOST}, auth: public"),
        (ADMIN, f"path: /admin/**, {HOST}, require: {{roles: [admin]}}"),
        ("path: /**", f"path: /admin/**, {HOST}, require: {{roles: [admin]}}"),
        ("path: /a, require: {roles: [x, y]}", f"path: /**, {HOST}, require: {{roles: [x]}}"),
        (
            "path: /a, require: {claims: {x: [1, 2]}}",
            f"path: /**, {HOST}, require: {{claims: {{x: 1, y: 2}}}}",
        ),
        ("path: /a, methods: [POST]", f"path: /**, {HOST}, methods: [GET], auth: public"),
        (
            "path: /a, require: {claims: {x: [1, true]}}",
            f"path: /**, {HOST}, require: {{claims: {{x: [true, 1]}}}}",
        ),
        # The strict route is repeated for the host.
        (ADMIN, f"path: /**, {HOST}", f"path: /admin/**, {HOST}, require: {{roles: [admin]}}"),
        (
            "path: /a, methods: [POST], require: {roles: [x]}",
            f"path: /a, {HOST}",
            f"path: /a, {HOST}, methods: [POST], require: {{roles: [x]}}",
        ),
        # What wins on the host and does not offer the method answers 405.
        (
            ADMIN,
            f"path: /**, {HOST}",
            f"path: /admin/**, {HOST}, methods: [GET], require: {{roles: [admin]}}",
        ),
        # Only routes without a host are compared.
        ("path: /**, host: '*.example'", f"path: /**, {HOST}, auth: public"),
    ],
)
def test_what_is_as_strict_or_stricter_passes(routes: tuple[str, ...]) -> None:
    assert told_of(*routes) == []
