"""proxy/upstream/deadlines.py with a loop that the test turns by hand."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import cast

import pytest

from proxy.upstream.deadlines import INTERVAL, NEVER, Deadlines

PAST = 0.0


class FakeHandle:
    """A timer that has not run yet."""

    def __init__(self, callback: Callable[[], None]) -> None:
        self.callback = callback
        self.cancelled = False

    def cancel(self) -> None:
        self.cancelled = True


class FakeLoop:
    """Keeps timers; `turn` runs those that are due, as the interval has passed."""

    def __init__(self) -> None:
        self.timers: list[FakeHandle] = []

    def call_later(self, delay: float, callback: Callable[[], None]) -> FakeHandle:
        assert delay == INTERVAL
        handle = FakeHandle(callback)
        self.timers.append(handle)
        return handle

    def turn(self) -> None:
        due, self.timers = self.timers, []
        for handle in due:
            if not handle.cancelled:
                handle.callback()


class Late:
    """A connection with a deadline; notes how often it was told."""

    def __init__(self, deadline: float, error: Exception | None = None) -> None:
        self.deadline = deadline
        self.told = 0
        self._error = error

    def expire(self) -> None:
        self.told += 1
        if self._error is not None:
            raise self._error
        self.deadline = NEVER


def made() -> tuple[FakeLoop, Deadlines]:
    loop = FakeLoop()
    return loop, Deadlines(cast("asyncio.AbstractEventLoop", loop))


def test_who_is_late_is_told_once() -> None:
    loop, deadlines = made()
    late, in_time = Late(PAST), Late(NEVER)
    deadlines.watch(late)
    deadlines.watch(in_time)
    assert late.told == 0
    loop.turn()
    loop.turn()
    assert (late.told, in_time.told) == (1, 0)


def test_who_is_forgotten_is_not_told() -> None:
    loop, deadlines = made()
    late = Late(PAST)
    deadlines.watch(late)
    deadlines.forget(late)
    deadlines.forget(late)
    loop.turn()
    assert late.told == 0


def test_there_is_one_timer_however_many_are_watched() -> None:
    loop, deadlines = made()
    for _ in range(3):
        deadlines.watch(Late(NEVER))
    assert len(loop.timers) == 1
    loop.turn()
    assert len(loop.timers) == 1


def test_nothing_is_scheduled_while_nothing_is_watched() -> None:
    loop, deadlines = made()
    connection = Late(NEVER)
    deadlines.watch(connection)
    deadlines.forget(connection)
    loop.turn()
    assert loop.timers == []
    deadlines.watch(connection)
    assert len(loop.timers) == 1


def test_an_error_in_one_connection_does_not_end_the_watch() -> None:
    loop, deadlines = made()
    broken = Late(PAST, ValueError("broken"))
    deadlines.watch(broken)
    with pytest.raises(ValueError, match="broken"):
        loop.turn()
    deadlines.forget(broken)
    late = Late(PAST)
    deadlines.watch(late)
    loop.turn()
    assert late.told == 1


def test_who_leaves_while_others_are_told_does_no_harm() -> None:
    loop, deadlines = made()
    first, second = Late(PAST), Late(PAST)
    deadlines.watch(first)
    deadlines.watch(second)

    def leave() -> None:
        for connection in (first, second):
            deadlines.forget(connection)

    first.expire = second.expire = leave  # type: ignore[method-assign]  # what a transport may do
    loop.turn()
    assert repr(deadlines) == "<Deadlines watched=0>"


def test_stopping_cancels_the_timer() -> None:
    loop, deadlines = made()
    late = Late(PAST)
    deadlines.watch(late)
    deadlines.stop()
    loop.turn()
    assert late.told == 0
    assert loop.timers == []
