from __future__ import annotations

import asyncio

import pytest

from proxy.upstream.outbox import Corked, Outbox
from tests.gateway.fakes import FakeTransport, turns

LARGE = b"x" * 16 * 1024


class Pipe(Corked):
    """The least that can be corked."""

    def __init__(self, outbox: Outbox) -> None:
        self.fake = FakeTransport()
        self.transport: asyncio.Transport | None = self.fake
        self._outbox = outbox
        self._unsent: list[bytes] = []
        self._sent = False

    @property
    def written(self) -> bytes:
        return bytes(self.fake.written)


def pipe() -> Pipe:
    return Pipe(Outbox(asyncio.get_running_loop()))


async def test_pieces_leave_together_when_the_turn_is_over() -> None:
    one = pipe()
    one.cork(b"a")
    one.cork(b"b")
    assert one.written == b""
    await turns(1)
    assert one.written == b"ab"
    assert one.fake.writes == 1


async def test_every_connection_of_the_turn_is_sent() -> None:
    outbox = Outbox(asyncio.get_running_loop())
    pipes = [Pipe(outbox) for _ in range(3)]
    for number, one in enumerate(pipes):
        one.cork(b"%d" % number)
    assert repr(outbox) == "<Outbox waiting=3>"
    await turns(1)
    assert [one.written for one in pipes] == [b"0", b"1", b"2"]
    assert repr(outbox) == "<Outbox waiting=0>"


async def test_the_next_turn_sends_again() -> None:
    one = pipe()
    for expected in (b"a", b"ab"):
        one.cork(expected[-1:])
        await turns(1)
        assert one.written == expected


async def test_a_large_piece_leaves_at_once_and_behind_what_is_held() -> None:
    one = pipe()
    one.cork(b"a")
    one.cork(LARGE)
    assert one.written == b"a" + LARGE
    one.cork(b"b")
    await turns(1)
    assert one.written == b"a" + LARGE + b"b"


async def test_a_piece_just_below_large_is_held() -> None:
    one = pipe()
    one.cork(LARGE[1:])
    assert one.written == b""


async def test_uncorking_sends_now_and_only_once() -> None:
    one = pipe()
    one.cork(b"a")
    one.uncork()
    assert one.written == b"a"
    await turns(1)
    assert one.written == b"a"
    assert one.fake.writes == 1


async def test_what_is_held_for_an_ended_connection_is_lost_without_a_word() -> None:
    closed, gone = pipe(), pipe()
    closed.cork(b"a")
    closed.fake.close()
    gone.cork(b"a")
    gone.transport = None
    await turns(1)
    assert (closed.written, gone.written) == (b"", b"")


async def test_one_that_cannot_be_sent_keeps_nobody_else_waiting(
    caplog: pytest.LogCaptureFixture,
) -> None:
    outbox = Outbox(asyncio.get_running_loop())
    broken, other = Pipe(outbox), Pipe(outbox)

    def write(_data: object) -> None:
        raise RuntimeError("Cannot call write() after write_eof()")

    broken.fake.write = write  # type: ignore[method-assign,assignment]
    broken.cork(b"secret")
    other.cork(b"a")
    await turns(1)
    assert other.written == b"a"
    assert broken.fake.calls == ["abort"]
    assert "secret" not in caplog.text
    assert "could not be sent to" in caplog.text


async def test_many_pieces_of_one_turn_are_not_held() -> None:
    one = pipe()
    for number in range(100):
        one.cork(b"%d" % (number % 10))
    assert len(one.written) >= 84
    await turns(1)
    assert one.written == b"0123456789" * 10
