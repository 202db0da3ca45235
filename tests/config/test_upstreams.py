"""Upstreams: shape and defaults."""

from __future__ import annotations

import pytest

from proxy.config.model import DnsConfig, Endpoint, EndpointConfig, UpstreamConfig
from tests.config.helpers import config_of, told, written


def test_an_upstream_has_the_defaults_of_the_contract() -> None:
    upstream = UpstreamConfig(endpoints=(EndpointConfig(url=Endpoint("http", "api", 80)),))
    assert upstream.model_dump(exclude={"endpoints"}) == {
        "dns": None,
        "balance": "round_robin",
        "health": None,
        "eject": None,
        "slow_start": None,
        "panic": "refuse",
        "retry": {"attempts": 2, "budget_percent": 20},
        "timeouts": {"connect": 2.0, "first_byte": 60.0, "stream_idle": 300.0},
        "pool_idle": 1.5,
        "connections": 512,
        "pending": 128,
        "requests": None,
        "tls": None,
        "host": "client",
        "identity": None,
    }


def test_some_timeouts_may_be_off() -> None:
    text = written(
        upstreams="{api: {endpoints: [http://x], timeouts: {first_byte: off, stream_idle: off}}}"
    )
    timeouts = config_of(text).upstreams["api"].timeouts
    assert (timeouts.connect, timeouts.first_byte, timeouts.stream_idle) == (2.0, None, None)


@pytest.mark.parametrize(
    ("more", "expected"),
    [
        ("endpoints: http://x", "upstreams.api.endpoints: must be a list"),
        ("endpoints: []", "upstreams.api.endpoints: must not be empty"),
        ("balance: round_robin", "upstreams.api: needs endpoints, a list of URLs, or dns"),
        (
            "endpoints: [http://x], timeouts: {connect: off}",
            "upstreams.api.timeouts.connect: must be a duration",
        ),
        (
            "endpoints: [http://x], retry: {attempts: 0}",
            "upstreams.api.retry.attempts: must be at least 1",
        ),
        (
            "endpoints: [http://x], identity: {}",
            "upstreams.api.identity: the key 'headers' is missing here",
        ),
        (
            "endpoints: [http://x], identity: {headers: {X-A: id}, forward_session_cookie: true}",
            "upstreams.api.identity.forward_session_cookie: unknown key 'forward_session_cookie'; "
            "it belongs under identity",
        ),
    ],
)
def test_other_values_are_refused(more: str, expected: str) -> None:
    (message,) = told(written(upstreams=f"{{api: {{{more}}}}}"))
    assert message.startswith(expected)


def test_short_forms_and_long_ones_are_the_same() -> None:
    short = written(upstreams="{api: {endpoints: [http://x], health: {path: /, status: 204}}}")
    long = written(
        upstreams="{api: {endpoints: [{url: http://x, weight: 1}],"
        " health: {path: /, status: [204]}}}"
    )
    assert config_of(short).upstreams == config_of(long).upstreams
    named = config_of(written(upstreams="{api: {dns: 'api:80'}}")).upstreams["api"]
    assert named.dns == DnsConfig(name=Endpoint("http", "api", 80), interval=10.0)
    assert named.endpoints == ()


@pytest.mark.parametrize("key", ["health", "eject", "slow_start"])
def test_what_is_off_is_none(key: str) -> None:
    text = written(upstreams=f"{{api: {{endpoints: [http://x], {key}: off}}}}")
    assert getattr(config_of(text).upstreams["api"], key) is None


@pytest.mark.parametrize(
    ("key", "value", "expected"),
    [
        ("health", "{}", "health: the key 'path' is missing here"),
        ("health", "{path: /, status: []}", "health.status: must not be empty"),
        ("health", "{path: /, status: 600}", "health.status: must be at most 599"),
        ("health", "{path: /, rise: 0}", "health.rise: must be at least 1"),
        ("health", "true", "health: must be a mapping of keys, or off"),
        ("eject", "{max_percent: 0}", "eject.max_percent: must be at least 1"),
        ("eject", "{failures: 101}", "eject.failures: must be at most 100"),
        ("slow_start", "0s", "slow_start: must be longer than zero, or off"),
        ("panic", "panic", "panic: must be refuse or forward"),
        ("retry", "{budget_percent: 101}", "retry.budget_percent: must be at most 100"),
        ("requests", "0", "requests: must be a whole number from 1 to 10000000, or off"),
        ("pending", "-1", "pending: must be at least 0"),
        ("pending", "off", "pending: must be a whole number"),
    ],
)
def test_other_rules_are_refused(key: str, value: str, expected: str) -> None:
    text = written(upstreams=f"{{api: {{endpoints: [http://x], {key}: {value}}}}}")
    assert told(text) == [f"upstreams.api.{expected}"]


@pytest.mark.parametrize(
    ("endpoint", "expected"),
    [
        ("{url: http://x, weight: 0}", "weight: must be at least 1"),
        ("{weight: 2}", "the key 'url' is missing here"),
        ("7", "must be a mapping of keys"),
    ],
)
def test_other_endpoints_are_refused(endpoint: str, expected: str) -> None:
    (message,) = told(written(upstreams=f"{{api: {{endpoints: [{endpoint}]}}}}"))
    assert message.startswith("upstreams.api.endpoints.0")
    assert expected in message
