"""proxy/limits/limiter.py: where a request is counted, and what happens when Redis is away."""

from __future__ import annotations

from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from typing import Any

import pytest

from proxy.config.model import Config
from proxy.config.units import Rate
from proxy.core.limits import Demand, Limit
from proxy.core.rules import compile_rules
from proxy.errors import LimitStoreDown, RateLimited
from proxy.limits.limiter import Limiter
from proxy.telemetry.metrics import Metrics
from tests.support.exchanges import config_of
from tests.support.valkey import Valkey

OWN = Limit("", "ip", Rate(3, 3600), 3)
SHARED = Limit("/x", "user", Rate(2, 3600), 2, shared=True)
NOBODY_THERE = "redis://127.0.0.1:1"


def config(redis: str = "", rate_limit: str = "off") -> Config:
    return config_of(
        f"""
        upstreams: {{api: {{endpoints: [http://127.0.0.1:8000]}}}}
        rate_limit: {rate_limit}
        routes: [{{path: /**, upstream: api, auth: public}}]
        {f"redis: {redis}" if redis else ""}
        """
    )


@asynccontextmanager
async def started(
    redis: str = "", limits: Sequence[Limit] = (OWN, SHARED), **given: Any
) -> AsyncIterator[tuple[Limiter, Metrics]]:
    metrics = Metrics()
    limiter = Limiter(config(redis), limits, metrics, **given)
    await limiter.start()
    try:
        yield limiter, metrics
    finally:
        await limiter.stop()


class Clock:
    """A clock that the test sets."""

    def __init__(self) -> None:
        self.now = 1.5

    def __call__(self) -> float:
        return self.now


async def admitted(limiter: Limiter, demands: list[Demand], times: int) -> int:
    """Return how many of so many requests are admitted."""
    count = 0
    for _ in range(times):
        try:
            await limiter.take(demands)
        except RateLimited:
            continue
        count += 1
    return count


async def test_in_this_process_a_request_counts_in_all_limits_or_none() -> None:
    wide = Limit("", "user", Rate(9, 3600), 9)
    async with started(limits=(OWN, wide)) as (limiter, metrics):
        assert await admitted(limiter, [(OWN, "a"), (wide, "a")], 5) == 3
        assert await admitted(limiter, [(wide, "a")], 9) == 6
        assert metrics.limited == {("-", "ip", "3/h"): 2, ("-", "user", "9/h"): 3}
        assert sorted(limiter.entries(), key=str) == [(OWN, 1, 0), (wide, 1, 0)]


async def test_a_refusal_tells_the_wait_in_whole_seconds() -> None:
    clock = Clock()
    async with started(clock=clock) as (limiter, _):
        await admitted(limiter, [(OWN, "a")], 3)
        with pytest.raises(RateLimited) as caught:
            await limiter.take([(OWN, "a")])
        assert caught.value.retry_after == 1200
        clock.now += 1200
        await limiter.take([(OWN, "a")])
        assert await admitted(limiter, [(OWN, "a")], 1) == 0


async def test_what_is_shared_is_counted_together(valkey: Valkey) -> None:
    redis = f"{{url: {valkey.url}, timeout: 30s}}"
    async with started(redis) as (one, metrics), started(redis) as (other, _):
        assert await admitted(one, [(SHARED, "a")], 1) == 1
        assert await admitted(other, [(SHARED, "a")], 3) == 1
        assert await admitted(one, [(SHARED, "a")], 1) == 0
        assert await admitted(one, [(SHARED, "b")], 1) == 1
        assert metrics.limited == {("/x", "user", "2/h"): 1}
        assert metrics.limit_store == {"answered": 3}


async def test_other_prefixes_and_databases_count_for_themselves(valkey: Valkey) -> None:
    for redis in (
        f"{{url: {valkey.url}, timeout: 30s}}",
        f"{{url: {valkey.url}/1, timeout: 30s}}",
        f"{{url: {valkey.url}, timeout: 30s, prefix: shop}}",
    ):
        async with started(redis) as (limiter, _):
            assert await admitted(limiter, [(SHARED, "a")], 3) == 2


async def test_what_the_process_refuses_costs_the_server_nothing(valkey: Valkey) -> None:
    async with started(f"{{url: {valkey.url}, timeout: 30s}}") as (limiter, metrics):
        assert await admitted(limiter, [(OWN, "a"), (SHARED, "a")], 10) == 2
        assert metrics.limit_store == {"answered": 3}


@pytest.mark.parametrize(("on_failure", "expected"), [("local", 2), ("allow", 9)])
async def test_while_the_server_is_away(on_failure: str, expected: int) -> None:
    redis = f"{{url: {NOBODY_THERE}, on_failure: {on_failure}}}"
    async with started(redis) as (limiter, metrics):
        assert await admitted(limiter, [(SHARED, "a")], 9) == expected
        assert metrics.limit_store == {"skipped": 9}


async def test_while_the_server_is_away_nobody_passes_who_is_to_be_counted_there() -> None:
    async with started(f"{{url: {NOBODY_THERE}, on_failure: deny}}") as (limiter, _):
        with pytest.raises(LimitStoreDown):
            await limiter.take([(SHARED, "a")])
        assert await admitted(limiter, [(OWN, "a")], 9) == 3


async def test_the_server_is_not_asked_where_nothing_is_shared() -> None:
    async with started(f"{{url: {NOBODY_THERE}}}", limits=(OWN,)) as (limiter, _):
        assert limiter.shared is None


async def test_whose_uses_are_known_here() -> None:
    async with started(f"{{url: {NOBODY_THERE}}}", clock=lambda: 0.0) as (limiter, _):
        assert limiter.uses([]) == ()
        assert limiter.uses([(OWN, "a"), (SHARED, "a")]) is None
        [(counter, key)] = limiter.uses([(OWN, "a")]) or ()
        assert key == "a"
        assert [counter.take("a", 0) for _ in range(3)] == [0, 0, 0]
        assert await admitted(limiter, [(OWN, "a")], 1) == 0


async def test_counts_go_from_one_generation_to_the_next() -> None:
    async with started() as (first, _), started(limits=(OWN,)) as (second, _):
        assert await admitted(first, [(OWN, "a")], 9) == 3
        second.take_over(first)
        assert await admitted(second, [(OWN, "a")], 9) == 0
        assert await admitted(second, [(OWN, "b")], 1) == 1


async def test_one_that_is_built_and_not_used_changes_nothing() -> None:
    async with started() as (first, _):
        assert await admitted(first, [(OWN, "a")], 2) == 2
        async with started(before=first, limits=(OWN,)) as (second, _):
            assert await admitted(second, [(OWN, "a")], 9) == 3
        assert await admitted(first, [(OWN, "a")], 9) == 1


async def test_the_connection_to_an_unchanged_server_goes_on() -> None:
    metrics = Metrics()
    settings = f"{{url: {NOBODY_THERE}}}"
    first = Limiter(config(settings), (OWN, SHARED), metrics)
    await first.start()
    second = Limiter(config(settings), (SHARED,), metrics, first)
    await second.start(first)
    await first.stop(second)
    assert second.shared is first.shared
    assert second.shared is not None
    assert second.shared._task is not None
    other = Limiter(config(f"{{url: {NOBODY_THERE}, prefix: x}}"), (SHARED,), metrics, second)
    assert other.shared is not second.shared
    await second.stop(other)
    assert second.shared._task is None


def test_all_limits_are_shared_where_there_is_a_server_and_nothing_else_is_said() -> None:
    limits = "[{by: ip, rate: 1/s}, {by: route, rate: 9/s, shared: false}]"
    rules = compile_rules(config(f"{{url: {NOBODY_THERE}}}", limits))
    assert [limit.shared for limit in rules.rate_limits] == [True, False]
    rules = compile_rules(config(rate_limit=limits))
    assert [limit.shared for limit in rules.rate_limits] == [False, False]


async def test_a_store_that_goes_and_comes_is_logged(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level("INFO", "gatelodge.limits")
    async with started(f"{{url: {NOBODY_THERE}, password: hunter2}}") as (limiter, _):
        [record] = caplog.records
        assert record.message == "limit store is down"
        assert vars(record)["reason"] == "no connection: Connection refused"
        assert "hunter2" not in repr(vars(record))
        assert repr(limiter) == "<Limiter limits=2>"


async def test_the_connection_outlives_a_configuration_with_the_same_server(
    valkey: Valkey,
) -> None:
    redis = f"{{url: {valkey.url}, timeout: 30s}}"
    async with started(redis) as (first, _):
        assert await admitted(first, [(SHARED, "a")], 1) == 1
        second = Limiter(config(redis, "{by: ip, rate: 1/s}"), (SHARED,), Metrics(), first)
        assert second.shared is first.shared
        await second.start(first)
        await first.stop(second)
        assert await admitted(second, [(SHARED, "a")], 3) == 1
        other = Limiter(
            config(f"{{url: {valkey.url}/1, timeout: 30s}}"), (SHARED,), Metrics(), second
        )
        assert other.shared is not second.shared
        await other.start(second)
        await second.stop(other)
        assert await admitted(other, [(SHARED, "a")], 3) == 2
        without = Limiter(config(redis), (OWN,), Metrics(), other)
        assert without.shared is None
        await without.start(other)
        await other.stop(without)
        assert await admitted(without, [(OWN, "a")], 9) == 3
