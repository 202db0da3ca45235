"""Rate limits and Redis: shape and defaults."""

from __future__ import annotations

import pytest

from proxy.config.load import loads
from proxy.config.model import RateLimit, RedisConfig
from proxy.config.redact import redacted
from proxy.config.units import Rate
from tests.config.helpers import config_of, problems_of, told, written

ROUTE = "[{path: /**, upstream: api, rate_limit: %s}]"


def test_one_limit_is_a_list_of_one() -> None:
    one = config_of(written(rate_limit="{by: ip, rate: 100/m}")).rate_limit
    assert one == config_of(written(rate_limit="[{by: ip, rate: 100/m}]")).rate_limit
    assert one == (RateLimit(by="ip", rate=Rate(100, 60)),)
    assert (one[0].burst, one[0].shared) == (None, None)


def test_there_is_no_limit_by_default_and_off_says_so() -> None:
    assert config_of(written()).rate_limit == ()
    assert config_of(written()).routes[0].rate_limit is None
    off = config_of(written(rate_limit="off", routes=ROUTE % "off"))
    assert (off.rate_limit, off.routes[0].rate_limit) == ((), ())


def test_a_server_has_the_defaults_that_are_documented() -> None:
    redis = config_of(written(redis="{url: redis://10.0.0.1}")).redis
    assert redis is not None
    assert redis.model_dump(exclude={"url"}) == {
        "password": None,
        "ca": None,
        "prefix": "gatelodge",
        "timeout": 0.1,
        "on_failure": "local",
    }
    assert config_of(written()).redis is None


def test_it_is_shown_in_the_words_of_the_file_and_without_what_is_secret() -> None:
    text = written(
        rate_limit="[{by: ip, rate: 100/m}, {by: user, rate: 5/s, burst: 9, shared: false}]",
        redis="{url: 'redis://ada:hunter2@10.0.0.1', prefix: shop}",
        routes=ROUTE % "off",
    )
    shown = redacted(config_of(text))
    assert shown["rate_limit"] == [
        {"by": "ip", "rate": "100/m", "burst": None, "shared": None},
        {"by": "user", "rate": "5/s", "burst": 9, "shared": False},
    ]
    assert shown["routes"][0]["rate_limit"] == "off"
    assert shown["redis"]["url"] == "***"
    assert "hunter2" not in repr(shown) + repr(config_of(text))
    assert redacted(config_of(written()))["rate_limit"] == "off"


def test_a_secret_is_read_from_a_file_or_a_variable() -> None:
    text = written(redis="{url: '${REDIS_URL}', password: '${REDIS_PASSWORD}'}")
    env = {"AUTH_SECRET": "b1fa9f7a5c0e4d2f8e6b3a1d7c9f5e2a4b6d8c0e1f3a5b7d9c1e3f5a7b9d1c3e"}
    env |= {"REDIS_URL": "redis://10.0.0.1", "REDIS_PASSWORD": "12345"}
    redis = loads(text, "test.yaml", env).config.redis
    assert redis is not None
    assert redis.password is not None
    assert redis.password.get_secret_value() == "12345"


@pytest.mark.parametrize(
    ("limit", "message"),
    [
        ("100/m", "rate_limit: must be {by: ip, rate: 100/m}, a list of such limits, or off"),
        ("[]", "rate_limit: must not be empty; off is for no limit"),
        ("{rate: 1/s}", "rate_limit: the key 'by' is missing here"),
        ("[{by: ip}]", "rate_limit.0: the key 'rate' is missing here"),
        ("{by: ip, rate: 1/s, bust: 1}", "unknown key 'bust', did you mean 'burst'?"),
        ("[{by: ip, rate: 1/s, bust: 1}]", "unknown key 'bust', did you mean 'burst'?"),
        ("{by: ip, rate: 1/s, burst: 0}", "must be at least 1"),
        ("{by: ip, rate: 1/s, shared: 1}", "must be true or false"),
        ("{by: ip, rate: 1.5/s}", "must be a number and a unit of time"),
        ("{by: ip, rate: 10}", "must be a rate, such as 10/s"),
    ],
)
def test_a_mistake_is_told_once_wherever_it_is(limit: str, message: str) -> None:
    for text in (written(rate_limit=limit), written(routes=ROUTE % limit)):
        [problem] = told(text)
        assert message in problem
        assert problems_of(text)[0].snippet


def test_a_slip_in_the_server_s_keys_shows_no_password() -> None:
    for keys in ("pasword: hunter2", "secret: hunter2", "urls: 'redis://:hunter2@a'"):
        [problem, *_] = problems_of(written(redis=f"{{url: redis://a, {keys}}}"))
        assert "unknown key" in str(problem)
        assert "hunter2" not in str(problem)


def test_the_model_takes_what_the_file_says() -> None:
    assert RedisConfig.model_fields.keys() == {
        "url",
        "password",
        "ca",
        "prefix",
        "timeout",
        "on_failure",
    }
