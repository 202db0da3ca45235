"""proxy/core/balance.py: shares, loads, keys; and what must hold whatever comes and goes."""

from __future__ import annotations

import random
from collections import Counter
from dataclasses import dataclass
from math import ceil

import pytest
from hypothesis import given
from hypothesis import strategies as st

from proxy.core.balance import (
    BOUND,
    Hashed,
    LeastRequests,
    Ring,
    RoundRobin,
    _ring,
    balancer,
    key_of,
)
from tests.support.exchanges import exchange, head


@dataclass(slots=True)
class End:
    """An endpoint as balancers see it."""

    name: str
    weight: float = 1.0
    load: int = 0
    turn: float = 0.0
    share: float = 1.0


def ends(*weights: float) -> list[End]:
    return [End(f"http://e{at}", weight, share=weight) for at, weight in enumerate(weights)]


WEIGHTS = st.lists(st.integers(1, 12), min_size=1, max_size=8)


def test_nginx_s_own_example_comes_out_as_in_nginx() -> None:
    turns = RoundRobin(ends(5, 1, 1))
    assert "".join(turns.pick("").name[-1] for _ in range(7)) == "0010200"


def test_equal_endpoints_take_turns() -> None:
    turns = RoundRobin(ends(1, 1, 1))
    assert [turns.pick("").name[-1] for _ in range(6)] == ["0", "1", "2", "0", "1", "2"]


@given(WEIGHTS, st.integers(0, 200))
def test_weights_are_kept_exactly_over_every_cycle(weights: list[int], before: int) -> None:
    turns = RoundRobin(ends(*weights))
    for _ in range(before):  # a cycle may begin anywhere
        turns.pick("")
    picked = Counter(turns.pick("").name for _ in range(sum(weights)))
    assert [picked[f"http://e{at}"] for at in range(len(weights))] == weights


@given(WEIGHTS, st.integers(1, 300))
def test_turns_are_spread_over_the_cycle(weights: list[int], picks: int) -> None:
    """After any number of picks nobody is ahead of its share by a whole turn."""
    turns = RoundRobin(ends(*weights))
    picked = Counter(turns.pick("").name for _ in range(picks))
    for at, weight in enumerate(weights):
        due = picks * weight / sum(weights)
        assert picked[f"http://e{at}"] < due + 1


def test_turns_go_on_when_the_endpoints_change() -> None:
    a, b, c = ends(1, 1, 1)
    assert RoundRobin([a, b, c]).pick("") is a
    assert RoundRobin([a, b]).pick("") is b  # and not `a` again


@given(WEIGHTS, st.lists(st.integers(0, 40), min_size=8, max_size=8), st.integers(0, 2**32))
def test_of_two_the_less_loaded_is_taken(weights: list[int], loads: list[int], seed: int) -> None:
    candidates = ends(*weights)
    for each, load in zip(candidates, loads, strict=False):
        each.load = load
    picked = LeastRequests(candidates, random.Random(seed).random).pick("")
    worse = [each for each in candidates if _loaded(each) >= _loaded(picked)]
    # Whoever is the most loaded of all is taken only if there is no other.
    assert len(worse) >= min(2, len(candidates))


def _loaded(each: End) -> float:
    return each.load / each.weight


def test_without_load_the_weights_decide() -> None:
    candidates = ends(3, 1)
    choose = LeastRequests(candidates, random.Random(7).random)
    picked = Counter(choose.pick("").name[-1] for _ in range(1000))
    assert picked["0"] == pytest.approx(750, abs=60)
    candidates[0].load, candidates[1].load = 2, 1
    assert {choose.pick("").name[-1] for _ in range(20)} == {"0"}
    candidates[0].load = 4
    assert {choose.pick("").name[-1] for _ in range(20)} == {"1"}


def test_two_choices_keep_loads_close() -> None:
    candidates = ends(*[1] * 10)
    choose = LeastRequests(candidates, random.Random(1).random)
    for _ in range(1000):
        choose.pick("").load += 1
    loads = [each.load for each in candidates]
    assert sum(loads) == 1000
    assert max(loads) - min(loads) <= 5  # by chance alone it would be about 40


@pytest.mark.parametrize("chance", [0.0, 0.5, 1.0 - 2**-53])
def test_the_ends_of_chance_are_within_the_list(chance: float) -> None:
    for weights in ([1], [1, 1], [0.1, 0.7, 0.3]):
        assert LeastRequests(ends(*weights), lambda: chance).pick("").name.startswith("http://e")


KEYS = [f"user-{number}" for number in range(2000)]


def test_a_key_stays_with_its_endpoint() -> None:
    one, other = Hashed(ends(1, 1, 1)), Hashed(list(reversed(ends(1, 1, 1))))
    assert [one.pick(key).name for key in KEYS] == [other.pick(key).name for key in KEYS]


def test_the_ring_is_the_same_in_every_version() -> None:
    """Gateways of two versions work side by side during a rollout."""
    ring = Ring((("http://a:1", 1), ("http://b:1", 1), ("http://c:1", 2)))
    assert [ring.owner(f"user-{number}") for number in range(16)] == GOLDEN


GOLDEN = [2, 2, 2, 2, 2, 0, 2, 0, 2, 1, 0, 1, 2, 0, 0, 1]


@pytest.mark.parametrize("size", [2, 3, 5, 10, 20])
def test_a_new_endpoint_moves_no_more_than_its_share(size: int) -> None:
    """And all that move, move to it. Of 2,000 keys 160 points a share leave a tenth of play."""
    before, after = Hashed(ends(*[1] * size)), Hashed(ends(*[1] * (size + 1)))
    moved = [key for key in KEYS if before.pick(key).name != after.pick(key).name]
    assert {after.pick(key).name for key in moved} == {f"http://e{size}"}
    assert len(moved) <= 1.35 * len(KEYS) / (size + 1)


@given(st.integers(2, 12), st.integers(0, 11))
def test_without_an_endpoint_only_its_keys_move(size: int, gone: int) -> None:
    candidates = ends(*[1] * size)
    left = [each for at, each in enumerate(candidates) if at != gone % size]
    before, after = Hashed(candidates), Hashed(left)
    for key in KEYS[:100]:
        owner = before.pick(key)
        if owner in left:
            assert after.pick(key) is owner


@pytest.mark.parametrize(("weights", "part"), [((1, 3), 0.75), ((30, 90), 0.75), ((1, 100), 0.99)])
def test_shares_follow_the_weights(weights: tuple[int, int], part: float) -> None:
    hashed = Hashed(ends(*weights))
    picked = Counter(hashed.pick(key).name for key in KEYS)
    assert picked["http://e1"] / len(KEYS) == pytest.approx(part, abs=0.05)


def test_heavy_weights_do_not_make_a_heavy_ring() -> None:
    assert repr(Ring((("a", 100), ("b", 100)))) == "<Ring points=3200>"


ACTIONS = st.lists(st.tuples(st.integers(0, 30), st.booleans()), max_size=200)


@given(WEIGHTS, ACTIONS)
def test_nobody_gets_more_than_the_bound(
    weights: list[int], actions: list[tuple[int, bool]]
) -> None:
    """Keys come by a few users at the most, and requests end in any order."""
    candidates = ends(*weights)
    hashed = Hashed(candidates)
    for number, ends_one in actions:
        busy = [each for each in candidates if each.load]
        if ends_one and busy:
            busy[number % len(busy)].load -= 1
            continue
        total = sum(each.load for each in candidates) + 1
        picked = hashed.pick(f"user-{number % 3}")
        picked.load += 1
        assert picked.load <= ceil(BOUND * total * picked.weight / sum(weights))


def test_a_key_whose_endpoint_is_full_goes_to_the_next_on_the_ring() -> None:
    candidates = ends(1, 1, 1)
    hashed = Hashed(candidates)
    first = hashed.pick("u")
    first.load = 50
    second = hashed.pick("u")
    assert second is not first
    assert second is Hashed([each for each in candidates if each is not first]).pick("u")


@given(st.lists(st.integers(1, 100), min_size=2, max_size=5), st.sets(st.integers(0, 4)))
def test_who_is_down_or_full_moves_nobody_else_s_keys(weights: list[int], gone: set[int]) -> None:
    everyone = ends(*weights)
    able = [each for at, each in enumerate(everyone) if at not in gone] or everyone[:1]
    before, now = Hashed(everyone), Hashed(able, everyone)
    for key in KEYS[:40]:
        owner = before.pick(key)
        assert now.pick(key) is owner or owner not in able
        assert now.pick(key) in able


def test_no_ring_is_made_when_somebody_is_down_or_full() -> None:
    everyone = ends(1, 2, 3, 4)
    Hashed(everyone)
    made = _ring.cache_info().misses
    for gone in everyone:
        Hashed([each for each in everyone if each is not gone], everyone).pick("u")
    assert _ring.cache_info().misses == made


def test_an_endpoint_that_starts_slowly_keeps_its_place_and_gets_less() -> None:
    candidates = ends(1, 1)
    before = {key: Hashed(candidates).pick(key).name for key in KEYS[:100]}
    candidates[0].weight = 0.1
    slow = Hashed(candidates)
    assert {key: slow.pick(key).name for key in KEYS[:100]} == before
    candidates[0].load = 1  # its share of the next request is 0.1 / 1.1 * 1.25 * 2, rounded up
    assert {slow.pick(key).name for key in KEYS[:100]} == {"http://e1"}


@pytest.mark.parametrize(
    ("kind", "made"),
    [
        ("round_robin", RoundRobin),
        ("least_requests", LeastRequests),
        ("hash(user)", Hashed),
        ("hash(ip)", Hashed),
    ],
)
def test_each_kind_has_its_balancer(kind: str, made: type[object]) -> None:
    assert type(balancer(kind, ends(1), lambda: 0.0)) is made


@pytest.mark.parametrize(
    ("kind", "user", "key"),
    [
        ("hash(user)", "u-1", "u-1"),
        ("hash(user)", "", "127.0.0.1"),
        ("hash(ip)", "u-1", "127.0.0.1"),
    ],
)
def test_who_is_not_signed_in_is_known_by_the_address(kind: str, user: str, key: str) -> None:
    assert key_of(kind, exchange(head(peer="127.0.0.1"), user=user)) == key
