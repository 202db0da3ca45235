"""Upstreams: shape and defaults."""

from __future__ import annotations

import pytest

from proxy.config.model import Endpoint, UpstreamConfig
from tests.config.helpers import config_of, told, written


def test_an_upstream_has_the_defaults_of_the_contract() -> None:
    upstream = UpstreamConfig(endpoints=(Endpoint("http", "api", 80),))
    assert upstream.model_dump(exclude={"endpoints"}) == {
        "balance": "round_robin",
        "health": None,
        "eject": None,
        "retry": {"attempts": 2},
        "timeouts": {"connect": 2.0, "first_byte": 60.0, "stream_idle": 300.0},
        "pool_idle": 1.5,
        "connections": 512,
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
        ("balance: round_robin", "upstreams.api: the key 'endpoints' is missing here"),
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
