"""From turns to a table: medians over the rounds, ratios within each round."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from statistics import median
from typing import Final

from bench.measure import Turn

BASELINE: Final = "nginx"
_COLUMNS: Final = (
    "contestant",
    "CPU µs per request",
    "lowest-highest",
    "in the kernel",
    f"x {BASELINE}",
    "RSS MB",
    "requests/s (unstable)",
)


@dataclass(frozen=True, slots=True)
class Row:
    """A contestant over all its turns. `ratio` is None when the baseline did not run."""

    contestant: str
    cpu_us: float
    lowest_us: float
    highest_us: float
    kernel_us: float
    ratio: float | None
    resident_mb: float
    requests_per_second: float


def rows(turns: Sequence[Turn]) -> list[Row]:
    """Return one row for each contestant, in the order of their first turns.

    Machines that others use too change speed from minute to minute. Turns of one round are
    neighbours, so the ratio is taken within each round, and the median over the rounds.
    """
    baseline = {turn.round: turn.cpu_us for turn in turns if turn.contestant == BASELINE}
    names = dict.fromkeys(turn.contestant for turn in turns)
    return [_row([turn for turn in turns if turn.contestant == name], baseline) for name in names]


def _row(turns: Sequence[Turn], baseline: Mapping[int, float]) -> Row:
    cpu = [turn.cpu_us for turn in turns]
    ratios = [turn.cpu_us / baseline[turn.round] for turn in turns if turn.round in baseline]
    return Row(
        contestant=turns[0].contestant,
        cpu_us=median(cpu),
        lowest_us=min(cpu),
        highest_us=max(cpu),
        kernel_us=median(turn.kernel_us for turn in turns),
        ratio=median(ratios) if ratios else None,
        resident_mb=median(turn.resident_bytes for turn in turns) / 1e6,
        requests_per_second=median(turn.requests / turn.seconds for turn in turns),
    )


def markdown(table: Sequence[Row], jobs: Mapping[str, str], facts: Mapping[str, str]) -> str:
    """Return the table and the facts about the run as Markdown that also reads well as text."""
    cells = [_COLUMNS, *(_cells(row, jobs) for row in table)]
    widths = [max(len(line[column]) for line in cells) for column in range(len(_COLUMNS))]
    rule = ("-" * widths[0], *("-" * (width - 1) + ":" for width in widths[1:]))
    lines = [
        "| " + " | ".join([line[0].ljust(widths[0]), *map(str.rjust, line[1:], widths[1:])]) + " |"
        for line in (cells[0], rule, *cells[1:])
    ]
    return "\n".join([*lines, "", *(f"- {name}: {value}" for name, value in facts.items()), ""])


def as_json(turns: Sequence[Turn], table: Sequence[Row], facts: Mapping[str, str]) -> str:
    """Return everything that was measured, for programs."""
    everything = {
        "facts": dict(facts),
        "rows": [dataclasses.asdict(row) for row in table],
        "turns": [dataclasses.asdict(turn) for turn in turns],
    }
    return json.dumps(everything, indent=2) + "\n"


def _cells(row: Row, jobs: Mapping[str, str]) -> tuple[str, ...]:
    return (
        f"{row.contestant}: {jobs[row.contestant]}",
        f"{row.cpu_us:.1f}",
        f"{row.lowest_us:.1f}-{row.highest_us:.1f}",
        f"{row.kernel_us:.1f}",
        "-" if row.ratio is None else f"{row.ratio:.2f}",
        f"{row.resident_mb:.0f}",
        f"{row.requests_per_second:,.0f}",
    )
