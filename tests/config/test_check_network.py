"""Addresses, trusted proxies, `health_path`, limits."""

from __future__ import annotations

import pytest

from proxy.core.client import TrustedProxies
from tests.config.helpers import config_of, told, written


@pytest.mark.parametrize(
    ("listen", "admin", "clash"),
    [
        ("0.0.0.0:8080", "127.0.0.1:9090", False),
        ("127.0.0.1:8080", "127.0.0.1:8080", True),
        ("0.0.0.0:8080", "127.0.0.1:8080", True),
        ("127.0.0.1:8080", "0.0.0.0:8080", True),
        ("127.0.0.1:8080", "127.0.0.2:8080", False),
        ("127.0.0.1:0", "127.0.0.1:0", False),
        ("unix:/run/a", "unix:/run/a", True),
        ("unix:/run/a", "unix:/run/b", False),
        ("unix:/run/a", "127.0.0.1:8080", False),
    ],
)
def test_the_listeners_are_apart(listen: str, admin: str, clash: bool) -> None:
    found = told(written(listen=listen, admin=admin))
    message = "admin: listen and admin must not share an address and port"
    assert found == ([message] if clash else [])


def test_a_clash_with_a_default_is_told_where_something_is_written() -> None:
    assert told(written(listen="127.0.0.1:9090")) == [
        "listen: listen and admin must not share an address and port"
    ]


@pytest.mark.parametrize(
    ("token", "reason"),
    [
        ("x", "it is shorter than 32 bytes"),
        ("hunter2", "it is shorter than 32 bytes"),
        ("a" * 40, "it has few different characters"),
        ("change-me-to-something-with-32-bytes", "it reads like the placeholder of an example"),
    ],
)
def test_an_admin_token_that_could_be_guessed_is_refused(token: str, reason: str) -> None:
    advice = "make a new one, for example with: openssl rand -base64 32"
    found = told(written(admin_token=token))
    assert found == [f"admin_token: this token is weak: {reason}; {advice}"]


def test_an_admin_token_from_a_generator_is_taken() -> None:
    assert told(written(admin_token="'${AUTH_SECRET}'")) == []
    assert told(written(admin_token="'${NONE:-}'")) == []


@pytest.mark.parametrize(
    "text",
    ["10.0.0.0/8", "10.1.2.3", "10.1.2.3/32", "'::1'", "'fd00::/8'", "unix", "172.16.0.0/12"],
)
def test_somebody_in_particular_may_be_trusted(text: str) -> None:
    config = config_of(written(trusted_proxies=f"[{text}]"))
    TrustedProxies(config.trusted_proxies, config.trusted_headers)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("0.0.0.0/0", "this is everybody"),
        ("'::/0'", "this is everybody"),
        ("'::ffff:0:0/96'", "this is everybody"),
        ("10.1.2.3/8", "a network ends in zeros"),
        ("10.0.0.0/33", "must be an address"),
        ("10.0.0", "must be an address"),
        ("proxy.internal", "must be an address"),
        ("'*'", "must be an address"),
        ("unix:/run/x", "must be an address"),
        ("'fe80::1%eth0'", "without a zone"),
        ("'fe80::%eth0/64'", "without a zone"),
    ],
)
def test_others_may_not(text: str, message: str) -> None:
    (found,) = told(written(trusted_proxies=f"[{text}]"))
    assert message in found


@pytest.mark.parametrize("name", ["X-Forwarded-For", "x-forwarded-host", "Forwarded"])
def test_forwarding_headers_may_be_trusted(name: str) -> None:
    assert told(written(trusted_headers=f"[{name}]")) == []


@pytest.mark.parametrize("name", ["X-Real-IP", "X-Forwarded-User", "Host"])
def test_other_headers_may_not(name: str) -> None:
    (found,) = told(written(trusted_headers=f"[{name}]"))
    assert found.startswith("trusted_headers.0: must be one of X-Forwarded-For")


@pytest.mark.parametrize(
    ("path", "message"),
    [
        ("/healthz", None),
        ("/health/live", None),
        ("healthz", "a path begins with /"),
        ("/health/*", "must be one path, without wildcards"),
        ("/**", "must be one path, without wildcards"),
    ],
)
def test_the_health_path_is_one_path(path: str, message: str | None) -> None:
    routes = "[{path: /api/**, upstream: api}]"
    found = told(written(health_path=path, routes=routes))
    assert found == ([] if message is None else [f"health_path: {message}"])


def test_the_health_path_is_no_route_s() -> None:
    text = written(health_path="/x", routes="[{path: /x, upstream: api}]")
    assert told(text) == [
        "health_path: the route on line 3 has the same path, and would never be reached"
    ]


@pytest.mark.parametrize(
    ("limits", "expected"),
    [
        ("{head: 1KiB, target: 1KiB}", []),
        ("{head: 512B, target: 256B}", ["limits.head"]),
        ("{target: 255B}", ["limits.target"]),
        ("{target: 128KiB}", ["limits.target"]),
        ("{head: 4KiB}", ["limits.head"]),
    ],
)
def test_limits_leave_room_for_a_request(limits: str, expected: list[str]) -> None:
    found = told(written(limits=limits))
    assert [message.partition(":")[0] for message in found] == expected


@pytest.mark.parametrize(
    ("listen", "trusted", "missing"),
    [
        ("127.0.0.1:0", "[]", "the addresses of your load balancer"),
        ("127.0.0.1:0", "[unix]", "the addresses of your load balancer"),
        ("unix:/run/a", "[10.0.0.0/8]", "unix"),
        ("127.0.0.1:0", "[unix, 10.0.0.7]", None),
        ("unix:/run/a", "[unix]", None),
    ],
)
def test_the_proxy_protocol_needs_somebody_who_may_speak_it(
    listen: str, trusted: str, missing: str | None
) -> None:
    found = told(
        written(listen=f"{{address: '{listen}', proxy_protocol: true}}", trusted_proxies=trusted)
    )
    message = f"only trusted proxies may connect then: list {missing} in trusted_proxies"
    assert found == ([f"listen.proxy_protocol: {message}"] if missing else [])
