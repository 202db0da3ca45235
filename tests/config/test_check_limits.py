"""Limits that have their shape and cannot be kept; the server that counts them."""

from __future__ import annotations

import pytest

from tests.config.helpers import told, written

REDIS = "{url: redis://10.0.0.1}"


def test_what_is_shared_needs_a_server() -> None:
    limit = "{by: ip, rate: 5/m, shared: true}"
    message = "rate_limit.shared: is counted in Redis: say where it is, in redis.url"
    assert told(written(rate_limit=limit)) == [message]
    assert told(written(rate_limit=limit, redis=REDIS)) == []
    assert told(written(rate_limit="{by: ip, rate: 5/m, shared: false}")) == []


def test_two_limits_of_one_place_differ_in_what_they_are_called() -> None:
    twice = "[{by: ip, rate: 5/m}, {by: user, rate: 5/m}, {by: ip, rate: 5/m, burst: 9}]"
    assert told(written(rate_limit=twice)) == [
        "rate_limit.2.rate: there is a limit of this rate by ip already"
    ]
    route = f"[{{path: /**, upstream: api, rate_limit: {twice}}}]"
    assert told(written(routes=route)) == [
        "routes.0.rate_limit.2.rate: there is a limit of this rate by ip already"
    ]
    assert told(written(rate_limit="[{by: ip, rate: 60/m}, {by: ip, rate: 1/s}]")) == []


@pytest.mark.parametrize(
    ("rate", "burst", "fits"), [("1/d", 3650, True), ("1/d", 3651, False), ("1/s", 10**7, True)]
)
def test_a_burst_is_free_again_in_ten_years(rate: str, burst: int, fits: bool) -> None:
    found = told(written(rate_limit=f"{{by: ip, rate: {rate}, burst: {burst}}}"))
    message = "must be smaller: at this rate it would take more than ten years to be free"
    assert found == ([] if fits else [f"rate_limit.burst: {message}"])


def test_a_password_stands_in_one_place() -> None:
    both = "{url: 'redis://:one@10.0.0.1', password: two}"
    assert told(written(redis=both)) == [
        "redis.password: the URL has a password too: leave one of them out"
    ]


def test_roots_are_for_tls(tmp_path: object) -> None:
    found = told(written(redis=f"{{url: redis://10.0.0.1, ca: {tmp_path}/ca.pem}}"))
    assert "redis.ca: is for TLS: the URL must begin with rediss://" in found
    assert "redis.ca: this file cannot be read: No such file or directory" in found


def test_a_url_that_is_none_is_told() -> None:
    [problem] = told(written(redis="{url: '10.0.0.1:6379'}"))
    assert problem.startswith("redis.url: must be redis://HOST:PORT/DATABASE")
