"""What a contestant spent: CPU time and memory of all its processes, from /proc.

Facts (proc_pid_stat(5)): a process's line in /proc/PID/stat holds its name in parentheses, which
may hold spaces and parentheses itself, so fields are counted from the last `)`. When a process is
reaped, its time moves into the children's time of its parent. The sum of own and children's time
over a session therefore never loses anything, however many workers come and go.
"""

from __future__ import annotations

import os
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from bench.errors import BenchError

_TICKS: Final = os.sysconf("SC_CLK_TCK")
_PAGE_BYTES: Final = os.sysconf("SC_PAGE_SIZE")

# Positions after the name, proc_pid_stat(5)'s numbers less 3.
_SESSION: Final = 3
_USER: Final = 11
_SYSTEM: Final = 12
_CHILDREN_USER: Final = 13
_CHILDREN_SYSTEM: Final = 14
_RESIDENT: Final = 21


@dataclass(frozen=True, slots=True)
class Stat:
    """One process: its session, CPU ticks with those of its reaped children, resident pages."""

    session: int
    user: int
    system: int
    resident: int


@dataclass(frozen=True, slots=True)
class Usage:
    """CPU seconds in the program and in the kernel so far, and resident bytes now."""

    user: float
    system: float
    resident_bytes: int


@dataclass(frozen=True, slots=True)
class Turn:
    """One contestant's turn in one round."""

    contestant: str
    round: int
    requests: int
    seconds: float
    user: float
    system: float
    resident_bytes: int

    @property
    def cpu_us(self) -> float:
        """CPU microseconds per request."""
        return 1e6 * (self.user + self.system) / self.requests

    @property
    def kernel_us(self) -> float:
        """The part of `cpu_us` that was spent in the kernel."""
        return 1e6 * self.system / self.requests

    @property
    def busy(self) -> float:
        """The share of a core that the contestant had. Far below 1, the load was not enough."""
        return (self.user + self.system) / self.seconds


def parse_stat(line: str) -> Stat:
    """Return what /proc/PID/stat says."""
    fields = line[line.rindex(")") + 1 :].split()
    return Stat(
        session=int(fields[_SESSION]),
        user=int(fields[_USER]) + int(fields[_CHILDREN_USER]),
        system=int(fields[_SYSTEM]) + int(fields[_CHILDREN_SYSTEM]),
        resident=int(fields[_RESIDENT]),
    )


def add_up(stats: Iterable[Stat], session: int) -> Usage:
    """Return what the processes of `session` used together. Raises BenchError if there is none."""
    mine = [stat for stat in stats if stat.session == session]
    if not mine:
        raise BenchError(f"no process of session {session} is left")
    return Usage(
        user=sum(stat.user for stat in mine) / _TICKS,
        system=sum(stat.system for stat in mine) / _TICKS,
        resident_bytes=sum(stat.resident for stat in mine) * _PAGE_BYTES,
    )


def usage(session: int) -> Usage:
    """Return what the processes of `session` have used up to now."""
    return add_up(_all_stats(), session)


def order(names: Sequence[str], number: int) -> list[str]:
    """Return who runs after whom in round `number` (from 0); each begins with another one."""
    first = number % len(names)
    return [*names[first:], *names[:first]]


def _all_stats() -> Iterable[Stat]:
    for folder in Path("/proc").iterdir():
        if folder.name.isdigit():
            try:
                yield parse_stat((folder / "stat").read_text(errors="replace"))
            except (FileNotFoundError, ProcessLookupError):
                continue  # it ended while we looked
