"""bench/siege.py and bench/witness.py: what they count, and how they tell it."""

from __future__ import annotations

import argparse

import pytest

from bench import attackers
from bench.errors import BenchError
from bench.siege import Result, _commands, markdown
from bench.witness import Seen

OPTIONS = argparse.Namespace(
    scenario="siege", attackers=10, siege_seconds=5.0, attacks=None, limits=""
)


def seen(count: int, failures: dict[str, int] | None = None) -> Seen:
    return Seen([0.001 * i for i in range(1, count + 1)], failures or {})


def test_quantiles_are_of_what_succeeded() -> None:
    assert seen(100).quantile(0.5) == pytest.approx(0.051)
    assert seen(100).quantile(0.99) == pytest.approx(0.1)
    assert seen(1).quantile(0.99) == pytest.approx(0.001)
    assert seen(0).quantile(0.5) == 0


def test_failures_are_requests_too() -> None:
    assert seen(3, {"503": 2, "timeout": 1}).sent == 6


def test_the_tables_tell_memory_causes_and_who_was_answered() -> None:
    result = Result(
        attack="slow-heads",
        connections=10,
        before=50 << 20,
        peak=51 << 20,
        after=50 << 20,
        open_at_most=99,
        cut={"cut: head": 1234},
        seen={"kept": seen(100, {"503": 1}), "health": seen(2)},
    )
    lines = markdown([result], OPTIONS).splitlines()
    head = "| slow-heads | 10 | 50 MiB | 51 MiB | 50 MiB | 102.4 KiB | cut: head 1,234 |"
    assert head in lines
    assert "| slow-heads | kept | 100 of 101 | 51.0 | 100.0 | 503 1 |" in lines
    assert "| slow-heads | health | 2 of 2 | 2.0 | 2.0 | none |" in lines
    assert "- run: 5 s each, limits: defaults" in lines


def test_every_attack_has_its_command() -> None:
    commands = _commands(OPTIONS)
    assert list(commands) == list(attackers.KINDS)
    assert commands["silent"][1:] == ["-m", "bench.attackers", "silent", "@PORT@", "10"]


def test_an_unknown_attack_is_told() -> None:
    with pytest.raises(BenchError, match="not stomping"):
        _commands(argparse.Namespace(**{**vars(OPTIONS), "attacks": ["stomping"]}))


@pytest.mark.parametrize("kind", attackers.KINDS)
async def test_attackers_have_something_to_send(kind: str) -> None:
    about, pieces = attackers.KINDS[kind]
    assert about
    first = await anext(pieces())
    assert isinstance(first, bytes)
    assert first or kind in ("silent", "pipelining")
