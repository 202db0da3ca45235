"""The script in a real Valkey: it admits whom core/limits.py admits, and keeps nothing for long."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from random import Random
from typing import Any

import pytest

from proxy.config.units import Rate
from proxy.core.limits import Counter, Limit
from proxy.limits.script import SCRIPT
from tests.support.valkey import Valkey, running

SECOND = 1_000_000


class Asker:
    """Runs the script, `at` a time of the test's own instead of the server's. There keys live for
    an hour, since they end by the server's time.
    """

    def __init__(self, client: Any) -> None:
        clock = "local time = {ARGV[#ARGV - 1], ARGV[#ARGV]}; ARGV[#ARGV] = nil; ARGV[#ARGV] = nil"
        changed = SCRIPT
        for own, other in (
            ("local time = redis.call('TIME')", clock),
            ("math.max(lives, 1)", "3600000"),
        ):
            assert changed.count(own) == 1
            changed = changed.replace(own, other)
        self._at = client.register_script(changed)
        self._now = client.register_script(SCRIPT)

    async def at(self, now: int, *requests: Sequence[tuple[str, Limit]]) -> list[int]:
        keys, arguments = question(requests)
        arguments += [now // SECOND, now % SECOND]
        waits: list[int] = await self._at(keys, arguments)
        return waits

    async def now(self, *requests: Sequence[tuple[str, Limit]]) -> list[int]:
        waits: list[int] = await self._now(*question(requests))
        return waits


def question(requests: Sequence[Sequence[tuple[str, Limit]]]) -> tuple[list[str], list[int]]:
    keys, arguments = [], []
    for request in requests:
        arguments.append(len(request))
        for key, limit in request:
            keys.append(key)
            arguments += [limit.interval, limit.capacity]
    return keys, arguments


def limit(rate: str, burst: int) -> Limit:
    return Limit("", "ip", Rate.parse(rate), burst, shared=True)


LIMITS = [
    limit("1/s", 1),
    limit("7/s", 3),
    limit("100/m", 20),
    limit("5/h", 5),
    limit("100000/s", 9),
    limit("1/d", 3650),
]


@pytest.mark.parametrize("rule", LIMITS, ids=str)
async def test_it_admits_whom_the_counter_admits(valkey: Valkey, rule: Limit) -> None:
    """Also when the clock steps back: the counter's rule for that is the script's."""
    chance, now = Random(str(rule)), 1_800_000_000 * SECOND
    counters = {"a": Counter(rule), "b": Counter(rule)}
    async with valkey.client() as client:
        asker = Asker(client)
        for step in range(400):
            now += int(chance.uniform(0, 1.5) * rule.interval)
            if step % 97 == 96:
                now -= 3 * rule.capacity
            key = chance.choice("ab")
            assert await asker.at(now, [(key, rule)]) == [counters[key].take(key, now)]


async def test_a_batch_is_what_its_requests_are_one_after_the_other(valkey: Valkey) -> None:
    chance, now = Random(7), 1_800_000_000 * SECOND
    wide, narrow = limit("10/s", 10), limit("5/s", 2)
    async with valkey.client() as client:
        asker = Asker(client)
        for round_ in range(60):
            now += chance.randrange(SECOND)
            requests = [
                [(f"w{(who := chance.randrange(3))}", wide), (f"n{who}", narrow)]
                for _ in range(chance.randrange(1, 20))
            ]
            alone = []
            for request in requests:
                prefixed = [(f"alone:{key}", each) for key, each in request]
                alone += await asker.at(now, prefixed)
            assert await asker.at(now, *requests) == alone, round_


async def test_what_one_limit_refuses_is_counted_in_no_other(valkey: Valkey) -> None:
    wide, narrow = limit("1/h", 10), limit("1/h", 2)
    async with valkey.client() as client:
        asker = Asker(client)
        both = [("wide", wide), ("narrow", narrow)]
        answers = [await asker.at(10 * SECOND, both) for _ in range(5)]
        assert [answer == [0, 0] for answer in answers] == [True, True, False, False, False]
        assert answers[2] == [0, wide.interval]
        alone = [await asker.at(10 * SECOND, [("wide", wide)]) for _ in range(9)]
        assert alone == [[0]] * 8 + [[wide.interval]]


async def test_a_key_lives_until_all_is_forgiven_and_no_longer(valkey: Valkey) -> None:
    rule = limit("1/h", 4)
    async with valkey.client() as client:
        asker = Asker(client)
        for count in range(1, 5):
            assert await asker.now([("k", rule)]) == [0]
            assert (count - 1) * 3_600_000 < await client.pttl("k") <= count * 3_600_000
        assert (await asker.now([("k", rule)]))[0] > 0
        await asker.now([("short", limit("100/s", 1))])
        async with asyncio.timeout(30):
            while await client.exists("short"):  # noqa: ASYNC110 - a key that ends tells nobody
                await asyncio.sleep(0.05)


async def test_what_is_asked_for_nobody_answers_nothing(valkey: Valkey) -> None:
    async with valkey.client() as client:
        assert await Asker(client).now() == []
        assert await client.dbsize() == 0


async def test_a_key_with_something_else_in_it_is_counted_anew(valkey: Valkey) -> None:
    async with valkey.client() as client:
        await client.set("k", "something else")
        assert await Asker(client).now([("k", limit("1/s", 1))]) == [0]


async def test_a_user_who_may_do_no_more_than_is_documented_can_run_it() -> None:
    """The line of docs/operations.md."""
    user = "on >secret resetkeys ~gatelodge:limit:* -@all +evalsha +script|load +time +get +set"
    with running() as server:
        async with server.client() as client:
            await client.execute_command("ACL", "SETUSER", "gatelodge", *user.split())
        async with server.client(username="gatelodge", password="secret") as client:
            asker = Asker(client)
            assert await asker.now([("gatelodge:limit:k", limit("1/s", 1))]) == [0]
