"""proxy/core/limits.py: how much is admitted, against an oracle; whose requests count together."""

from __future__ import annotations

from collections.abc import Callable

import pytest
from hypothesis import given
from hypothesis import strategies as st

from proxy.config.units import Rate
from proxy.core.limits import (
    ENTRIES,
    By,
    Counter,
    Counters,
    Key,
    Limit,
    RouteLimits,
    address_key,
    demands,
    give_back,
    refusal,
    take_all,
    user_key,
)
from tests.support.exchanges import session

SECOND = 1_000_000
PER_MINUTE = Rate(60, 60)


def limit(rate: str = "60/m", burst: int = 5, *, by: By = "ip", scope: str = "") -> Limit:
    return Limit(scope, by, Rate.parse(rate), burst)


RATES = st.builds(Rate, st.integers(1, 5000), st.sampled_from([1, 60, 3600, 86400]))
LIMITS = st.builds(Limit, st.just(""), st.just("ip"), RATES, st.integers(1, 50))
STEPS = st.lists(st.integers(0, 3_000_000), min_size=1, max_size=80)
"""Microseconds between requests."""


def naive_tokens(rule: Limit, times: list[int]) -> list[bool]:
    """Return whom a bucket of tokens admits that is filled with exact fractions.

    Time and tokens are kept as integers by counting in parts of a token: one is `interval` parts,
    and one part comes each microsecond.
    """
    tokens, last, admitted = rule.capacity, times[0], []
    for now in times:
        tokens = min(rule.capacity, tokens + now - last)
        last = now
        admitted.append(tokens >= rule.interval)
        tokens -= rule.interval if tokens >= rule.interval else 0
    return admitted


def at(steps: list[int]) -> list[int]:
    times = [10**12]
    for step in steps:
        times.append(times[-1] + step)
    return times


@given(LIMITS, STEPS)
def test_it_admits_whom_a_bucket_of_tokens_admits(rule: Limit, steps: list[int]) -> None:
    counter = Counter(rule)
    times = at(steps)
    assert [counter.take("a", now) == 0 for now in times] == naive_tokens(rule, times)


@given(LIMITS, STEPS)
def test_no_window_holds_more_than_the_burst_and_the_rate_allow(
    rule: Limit, steps: list[int]
) -> None:
    counter = Counter(rule)
    taken = [now for now in at(steps) if counter.take("a", now) == 0]
    for position, start in enumerate(taken):
        for count, end in enumerate(taken[position:], start=1):
            # count <= burst + rate * t, in whole numbers
            allowed = rule.burst * rule.rate.seconds * SECOND + rule.rate.count * (end - start)
            assert count * rule.rate.seconds * SECOND <= allowed


@given(LIMITS, STEPS)
def test_who_waits_as_long_as_told_is_admitted_and_not_a_microsecond_sooner(
    rule: Limit, steps: list[int]
) -> None:
    counter = Counter(rule)
    for now in at(steps):
        wait = counter.take("a", now)
        if wait:
            assert counter.wait("a", now) == wait
            assert counter.wait("a", now + wait - 1) == 1
            assert counter.wait("a", now + wait) == 0


@given(LIMITS, st.lists(st.integers(-(10**10), 10**10), min_size=1, max_size=60))
def test_a_clock_that_steps_back_admits_nobody_sooner_and_shuts_nobody_out(
    rule: Limit, steps: list[int]
) -> None:
    """Against the best case: a clock that has only ever gone forward by the sum of its steps."""
    counter, now, forward, taken = Counter(rule), 10**12, 0, 0
    for step in steps:
        now += step
        forward += max(step, 0)
        wait = counter.take("a", now)
        taken += wait == 0
        assert wait <= max(rule.interval, rule.capacity)
        assert not wait or counter.wait("a", now + wait) == 0
    allowed = rule.burst * rule.rate.seconds * SECOND + rule.rate.count * forward
    assert taken * rule.rate.seconds * SECOND <= allowed


@given(LIMITS)
def test_the_burst_comes_at_once_and_the_next_has_to_wait_one_interval(rule: Limit) -> None:
    counter = Counter(rule)
    assert [counter.take("a", 7) for _ in range(rule.burst + 2)] == [
        *([0] * rule.burst),
        rule.interval,
        rule.interval,
    ]


@given(RATES)
def test_an_interval_is_rounded_so_that_the_rate_is_not_exceeded(rate: Rate) -> None:
    rule = Limit("", "ip", rate, 1)
    assert 0 <= rule.interval * rate.count - rate.seconds * SECOND < rate.count


def test_who_is_counted_in_several_limits_is_counted_in_all_or_none() -> None:
    wide, narrow = Counter(limit(burst=10)), Counter(limit(burst=2))
    uses = ((wide, "a"), (narrow, "a"))
    assert [take_all(uses, 0) for _ in range(3)] == [[0, 0], [0, 0], [0, SECOND]]
    assert sum(wide.take("a", 0) == 0 for _ in range(20)) == 8


@given(LIMITS, STEPS)
def test_what_is_given_back_was_never_taken(rule: Limit, steps: list[int]) -> None:
    one, other = Counter(rule), Counter(rule)
    for number, now in enumerate(at(steps)):
        if number % 3 == 0 and one.take("a", now) == 0:
            give_back([(one, "a")], now)
        assert one.take("a", now) == other.take("a", now)


def test_what_another_limit_refuses_leaves_nothing_behind() -> None:
    address, route = Counter(limit(burst=5)), Counter(limit(burst=1))
    for number in range(100):
        take_all(((address, f"a{number}"), (route, "/x")), 0)
    assert (len(address), len(route)) == (1, 1)


def test_to_ask_counts_nothing() -> None:
    counter = Counter(limit(burst=1))
    assert [counter.wait("a", 0) for _ in range(3)] == [0] * 3
    assert len(counter) == 0


# Whose requests


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ("2001:db8::1", "2001:db8::ffff:ffff:ffff:ffff"),
        ("2001:db8:0:0:1::", "2001:DB8::2"),
        ("::ffff:192.0.2.1", "192.0.2.1"),
        ("fe80::1", "fe80::2%eth0"),
    ],
)
def test_addresses_of_one_client(one: str, other: str) -> None:
    assert address_key(one) == address_key(other)


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ("2001:db8::1", "2001:db8:0:1::1"),
        ("192.0.2.1", "192.0.2.2"),
        ("::ffff:192.0.2.1", "::ffff:192.0.2.2"),
        ("unix", "192.0.2.1"),
        ("::1", "::ffff:0:0"),
    ],
)
def test_addresses_of_two_clients(one: str, other: str) -> None:
    assert address_key(one) != address_key(other)


def key(by: By, address: str = "192.0.2.1", route: str = "/x", **user: str) -> object:
    known = (user["session"], session(user["id"])) if user else None
    return demands((limit(by=by),), address, route, known)[0][1]


def test_a_user_is_counted_from_everywhere_and_nobody_by_the_address() -> None:
    assert key("user", "192.0.2.1", session="web", id="u") == ("web", "u")
    assert key("user", "192.0.2.1") == "192.0.2.1"
    assert key("ip", "192.0.2.1", session="web", id="u") == "192.0.2.1"
    assert key("route", "192.0.2.1", "/x", session="web", id="u") == "/x"


@pytest.mark.parametrize("user", ["192.0.2.1", "/x", "web", "a\0b", "b:c", "é" * 5000, "a" * 65])
def test_no_id_of_a_user_collides_with_anybody_else(user: str) -> None:
    mine = user_key("web", user)
    others: list[Key] = [
        address_key("192.0.2.1"),
        "/x",
        user_key("other", user),
        user_key("we", "b" + user),
        user_key("web", user + "b"),
        user_key("web", str(mine[1])),
    ]
    short = len(user) <= 64
    assert mine not in (others[:-1] if short else others)
    rule = limit(by="user")
    digests = [rule.digest(each) for each in ([mine, *others[:-1]] if short else [mine, *others])]
    assert len(set(digests)) == len(digests)


def test_a_huge_id_takes_no_more_room_than_another() -> None:
    assert user_key("web", "a" * 10_000) == user_key("web", "a" * 10_000)
    assert len(user_key("web", "a" * 10_000)[1]) == 16
    assert len(limit().digest("a" * 10_000)) == 32


@given(st.lists(st.text(max_size=6), min_size=2, max_size=2), st.text(max_size=6))
def test_what_others_see_tells_parts_apart(user: list[str], scope: str) -> None:
    """Wherever a separator is moved to, another name comes of it."""
    rule = Limit(scope, "user", PER_MINUTE, 5)
    moved = [user[0] + user[1][:1], user[1][1:]]
    same = moved == user
    assert (rule.digest((user[0], user[1])) == rule.digest((moved[0], moved[1]))) is same
    assert rule.digest(user[0] + user[1]) != rule.digest((user[0], user[1]))


@pytest.mark.parametrize(
    "change",
    [
        lambda: limit(scope="/y"),
        lambda: limit(by="route"),
        lambda: limit("61/m"),
        lambda: limit("1/s"),
        lambda: limit(burst=6),
    ],
    ids=["scope", "by", "count", "period", "burst"],
)
def test_whatever_a_limit_is_made_of_gives_it_counts_of_its_own(
    change: Callable[[], Limit],
) -> None:
    counters = Counters()
    mine, other = limit(), change()
    adopted = counters.adopt([mine, other])
    assert adopted[mine] is not adopted[other]
    assert mine.digest("a") != other.digest("a")


# When they are asked


def test_a_user_is_counted_when_it_is_known_who_that_is_and_others_before() -> None:
    user, ip, route = limit(by="user"), limit(by="ip"), limit(by="route")
    assert RouteLimits.of([user, ip, route], public=False) == RouteLimits((ip, route), (user,))
    assert RouteLimits.of([user, ip], public=True) == RouteLimits((user, ip), ())
    assert RouteLimits.of([user, ip], public=False).listed == (ip, user)


# Memory


@pytest.mark.slow
def test_a_flood_of_addresses_takes_bounded_memory_and_forgives_nobody_who_is_busy() -> None:
    rule = limit("5/h", burst=5)
    counter = Counter(rule)
    busy = [f"198.51.100.{number}" for number in range(200)]
    for address in busy:
        for _ in range(rule.burst):
            assert counter.take(address, SECOND) == 0
    most = 0
    for number in range(1_000_000):
        counter.take(f"10.{number >> 16}.{number >> 8 & 255}.{number & 255}", SECOND + number)
        most = max(most, len(counter)) if number % 1000 == 0 else most
    assert 75_000 < most <= ENTRIES
    assert counter.dropped > 800_000
    assert all(counter.take(address, 2 * SECOND) > 0 for address in busy)


def test_what_is_forgiven_goes_first() -> None:
    counter = Counter(limit("60/m", burst=5), entries=160)
    for number in range(10_000):
        counter.take(f"a{number}", number * SECOND)
    assert counter.dropped == 0
    assert len(counter) <= 160


def test_where_all_have_used_the_same_not_all_are_forgotten() -> None:
    counter = Counter(limit("1/d", burst=1), entries=1600)
    for number in range(10_000):
        counter.take(f"a{number}", 0)
    assert 800 < len(counter) <= 1600


def test_counts_outlive_the_configuration_if_the_limit_does() -> None:
    counters = Counters()
    stays, goes, comes = limit(burst=1), limit(burst=2), limit(burst=3)
    before = counters.adopt([stays, goes])
    assert before[stays].take("a", 0) == 0
    after = counters.adopt([stays, comes])
    assert after[stays].take("a", 0) == SECOND
    counters.keep([stays, comes])
    assert counters.adopt([goes])[goes] is not before[goes]
    counters.keep([])
    counters.keep([stays])
    assert counters.adopt([stays])[stays] is not before[stays]


def test_limits_share_the_room() -> None:
    rules = [limit(f"{count}/d", burst=1) for count in range(1, 11)]
    counters = Counters()
    first = counters.adopt(rules)[rules[0]]
    for number in range(30_000):
        first.take(f"a{number}", 0)
    assert len(first) <= ENTRIES // 10


# What the client is told


def test_the_refusal_tells_the_longest_wait_and_every_policy_that_was_exceeded() -> None:
    rules = [limit("5/m"), limit("100/h"), limit("9/s")]
    error = refusal(list(zip(rules, [1, 30 * SECOND + 1, 0], strict=True)))
    assert error is not None
    assert error.retry_after == 31
    assert error.policy == '"ip-5/m";q=5;w=60, "ip-100/h";q=100;w=3600'
    assert error.standing == '"ip-5/m";r=0;t=1, "ip-100/h";r=0;t=31'
    assert (
        error.reason == "5/m by ip (burst 5), of all routes; 100/h by ip (burst 5), of all routes"
    )


def test_without_a_wait_there_is_no_refusal() -> None:
    assert refusal([(limit(), 0)]) is None
    assert refusal([]) is None


def test_nobody_s_address_or_id_is_shown() -> None:
    counter = Counter(limit())
    counter.take("192.0.2.1", 0)
    counters = Counters()
    counters.adopt([limit()])
    assert repr(counter) == "<Counter entries=1>"
    assert repr(counters) == "<Counters [<Counter entries=0>]>"
