"""A small siege: real attackers against a real gateway, as `make siege` does it with more of them.

Counts and memory only, with wide margins: how fast anything is depends on the machine.
"""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Final

import pytest

from bench.siege import Result, besiege

ATTACKERS: Final = 200
SECONDS: Final = 4.0
_EACH: Final = 200 * 1024
_READERS: Final = 1 << 20
"""Bytes that one attacker may cost: what is measured is a tenth of the first, a quarter of the
second (docs/security.md).
"""
_HEADS: Final = 512 * 1024
"""Twice what a head may have is read, and it is here twice: in the parser, and for the lane."""
_BOUNDS: Final = {
    "endless-heads": _HEADS,
    "slow-readers": _READERS,
    "pipelining": _READERS,
    "tiny-chunks": _READERS,
}


def run(folder: Path, kind: str, limits: str = "") -> Result:
    argv = [sys.executable, "-m", "bench.attackers", kind, "@PORT@", str(ATTACKERS)]
    return besiege(folder / kind, kind, argv, ATTACKERS, SECONDS, limits)


def successes(result: Result) -> dict[str, int]:
    return {kind: len(seen.seconds) for kind, seen in result.seen.items()}


@pytest.mark.parametrize(
    "kind",
    [
        *("silent", "slow-heads", "second-heads", "endless-heads", "kept-alive", "slow-bodies"),
        *("chunk-extensions", "trailers", "slow-readers", "tiny-chunks", "pipelining"),
    ],
)
def test_an_honest_client_is_answered_and_memory_is_bounded(tmp_path: Path, kind: str) -> None:
    result = run(tmp_path, kind)
    assert all(len(seen.seconds) >= 0.9 * seen.sent - 1 for seen in result.seen.values())
    assert all(count > 0 for count in successes(result).values())
    if kind != "slow-readers":  # their first second takes all places at the endpoint
        assert all("503" not in seen.failures for seen in result.seen.values())
    growth = result.peak - result.before
    assert growth < (32 << 20) + ATTACKERS * _BOUNDS.get(kind, _EACH)


@pytest.mark.parametrize("kind", ["silent", "slow-heads", "kept-alive", "slow-bodies"])
def test_with_more_attackers_than_connections_they_give_way(tmp_path: Path, kind: str) -> None:
    """They come again and again. Health checks are never refused, the others as a rule not."""
    result = run(tmp_path, kind, "connections: 60")
    assert all("503" not in result.seen[each].failures for each in ("health", "admin"))
    assert successes(result)["health"] > 0
    assert result.cut["cut: crowd"] > 0
    good, all_ = successes(result), {kind: seen.sent for kind, seen in result.seen.items()}
    assert good["kept"] > 0.5 * all_["kept"]


def test_more_connections_of_one_client_do_not_take_those_of_others(tmp_path: Path) -> None:
    """The attackers come from one address, the honest client from another."""
    result = run(tmp_path, "silent", "connections: 150, connections_per_client: 50")
    assert all(len(seen.seconds) >= 0.9 * seen.sent - 1 for seen in result.seen.values())
    assert all(not {"429", "503"} & seen.failures.keys() for seen in result.seen.values())
    assert result.cut["refused: connections_per_client"] > 0
    assert "refused: connections" not in result.cut
