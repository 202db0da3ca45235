"""The address of a Redis server: what is read, and what is said about the rest."""

from __future__ import annotations

from contextlib import suppress

import pytest
from hypothesis import given
from hypothesis import strategies as st

from proxy.config.redis_url import RedisAddress, parse_redis_url


@pytest.mark.parametrize(
    ("text", "address"),
    [
        ("redis://10.0.0.1", RedisAddress("10.0.0.1", 6379)),
        ("redis://cache:6380/3", RedisAddress("cache", 6380, database=3)),
        ("redis://cache/", RedisAddress("cache", 6379)),
        ("rediss://cache", RedisAddress("cache", 6379, tls=True)),
        ("redis://[::1]:7000", RedisAddress("::1", 7000)),
        ("redis://[::1]", RedisAddress("::1", 6379)),
        ("redis://:p%40ss%3A@cache", RedisAddress("cache", 6379, password="p@ss:")),
        ("redis://ada:pw@cache", RedisAddress("cache", 6379, user="ada", password="pw")),
        ("redis://ada@cache", RedisAddress("cache", 6379, user="ada")),
        ("unix:///run/redis.sock", RedisAddress(path="/run/redis.sock")),
    ],
)
def test_addresses(text: str, address: RedisAddress) -> None:
    assert parse_redis_url(text) == address


@pytest.mark.parametrize(
    "text",
    [
        "",
        "cache:6379",
        "http://cache",
        "redis:cache",
        "redis://",
        "redis://:6379",
        "redis://cache:0",
        "redis://cache:65536",
        "redis://cache:x",
        "redis://cache/x",
        "redis://cache/0/1",
        "redis://cache?ssl_cert_reqs=none",
        "redis://cache#x",
        "redis://a:b/c@cache",
        "redis://a:b@c@cache",
        "redis://ca che",
        "redis://cäche",
        "redis://cache%",
        "redis://[::1",
        "redis://[::1]x",
        "redis://a\nb",
        "unix://run/redis.sock",
        "unix:///run/redis.sock?db=1",
    ],
)
def test_what_is_no_address_is_refused_without_a_word_of_it(text: str) -> None:
    with pytest.raises(ValueError, match=r"^(must be|the port|a unix socket)") as caught:
        parse_redis_url(text)
    assert "cache" not in str(caught.value)


@given(st.text(max_size=30))
def test_nothing_but_value_error(text: str) -> None:
    for url in (text, f"redis://{text}", f"redis://{text}@cache", f"unix://{text}"):
        with suppress(ValueError):
            assert parse_redis_url(url).database >= 0


def test_nothing_of_it_is_shown() -> None:
    shown = repr(parse_redis_url("redis://ada:hunter2@cache:6380/1"))
    assert not any(word in shown for word in ("ada", "hunter2", "cache"))
