"""bench/measure.py: fields of /proc/PID/stat, sums over a session, the order of turns."""

from __future__ import annotations

import os
from collections import Counter

import pytest

from bench.errors import BenchError
from bench.measure import Stat, Turn, add_up, order, parse_stat, usage

# proc_pid_stat(5): state ppid pgrp session tty tpgid flags minflt cminflt majflt cmajflt
# utime stime cutime cstime priority nice threads itrealvalue starttime vsize rss ...
_AFTER_NAME = "S 1 77 78 0 -1 4194560 9 9 9 9 250 50 1000 2000 20 0 4 0 12345 6000000 321 184467"


@pytest.mark.parametrize(
    "name",
    ["nginx", "my proxy", "a) S 1 2 3 (b", ""],
    ids=["plain", "space", "parentheses", "empty"],
)
def test_fields_are_counted_after_the_name_whatever_it_holds(name: str) -> None:
    stat = parse_stat(f"4242 ({name}) {_AFTER_NAME}\n")

    assert stat == Stat(session=78, user=1250, system=2050, resident=321)


def test_usage_adds_up_the_session_and_nobody_else() -> None:
    ticks, page = os.sysconf("SC_CLK_TCK"), os.sysconf("SC_PAGE_SIZE")
    stats = [Stat(7, ticks, 3 * ticks, 10), Stat(8, 9, 9, 9), Stat(7, ticks, ticks, 5)]

    used = add_up(stats, 7)

    assert (used.user, used.system, used.resident_bytes) == (2.0, 4.0, 15 * page)


def test_a_session_without_processes_is_an_error() -> None:
    with pytest.raises(BenchError, match="session 7"):
        add_up([Stat(8, 1, 1, 1)], 7)


def test_usage_of_this_session_holds_this_process() -> None:
    assert usage(os.getsid(0)).resident_bytes > 1e6


def test_cpu_is_program_and_kernel_over_requests() -> None:
    turn = Turn("x", 0, requests=1000, seconds=1.0, user=0.02, system=0.03, resident_bytes=1)

    assert turn.cpu_us == pytest.approx(50.0)
    assert turn.kernel_us == pytest.approx(30.0)
    assert turn.busy == pytest.approx(0.05)


def test_every_contestant_takes_every_place_once() -> None:
    rounds = [order(["a", "b", "c"], number) for number in range(3)]

    assert rounds[0] == ["a", "b", "c"]
    for place in range(3):
        assert Counter(turns[place] for turns in rounds) == Counter("abc")
    assert order(["a", "b", "c"], 3) == rounds[0]
