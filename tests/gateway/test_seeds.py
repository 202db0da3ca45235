from __future__ import annotations

import re

from proxy.gateway.seeds import Seeds


def test_each_seed_is_48_hex_digits_that_were_never_given_before() -> None:
    take = Seeds().take
    given = [take() for _ in range(1000)]
    assert all(re.fullmatch("[0-9a-f]{48}", seed) for seed in given)
    # Also in parts: request ids, trace ids and parent ids are cut from them.
    for part in (slice(0, 32), slice(32, 48)):
        assert len({seed[part] for seed in given}) == 1000


def test_two_processes_do_not_give_the_same() -> None:
    one, other = Seeds(), Seeds()
    assert {one.take() for _ in range(200)}.isdisjoint({other.take() for _ in range(200)})


def test_the_repr_shows_none_that_is_still_to_come() -> None:
    seeds = Seeds()
    seeds.take()
    assert repr(seeds) == "<Seeds>"
