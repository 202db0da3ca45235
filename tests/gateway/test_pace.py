"""proxy/gateway/pace.py: who is too slow, and who gives way; over a fake transport."""

from __future__ import annotations

import asyncio
import logging
import sys
from collections.abc import Awaitable, Callable
from time import monotonic
from typing import Final

import pytest

from proxy.config.model import Limits
from proxy.core.head import RequestHead
from proxy.errors import Overloaded, ProxyError
from proxy.gateway.downstream import Downstream, Payload
from tests.gateway.fakes import Listener, turns
from tests.gateway.test_listener import GET, LAST, ONE, POST


async def idle_since_a_while(listener: Listener) -> None:
    await listener.feed(GET % b"/1")
    listener.client.read_deadline -= 5


async def a_slow_head(listener: Listener) -> None:
    await listener.feed(b"GET")
    listener.client.read_deadline -= 5


async def silent(listener: Listener) -> None:
    await turns()
    listener.client.read_deadline -= 5


async def refused(listener: Listener) -> None:
    await listener.feed(b"odd\r\n\r\n")
    listener.client.read_deadline -= 1.5


@pytest.mark.parametrize(
    "wait", [idle_since_a_while, a_slow_head, silent, refused], ids=lambda wait: wait.__name__
)
async def test_who_waits_gives_way(wait: Callable[[Listener], Awaitable[None]]) -> None:
    first = Listener(limits=ONE)
    await wait(first)
    second = Listener(server=first.server)
    await second.feed(GET % b"/2")
    assert second.written == b"</2>"
    assert first.transport.calls[-1] == "close"
    assert first.server.cut == {"crowd": 1}


async def test_who_is_answered_gives_no_way() -> None:
    async def handle(_client: Downstream, _head: RequestHead, _payload: Payload) -> bool:
        await asyncio.get_running_loop().create_future()
        return True

    first = Listener(handle, limits=ONE)
    await first.feed(GET % b"/1")
    assert first.client.waits is None
    second = Listener(server=first.server)
    await second.feed(GET % b"/2")
    assert second.written == b"<503>"


async def test_who_was_answered_waits_with_more_right_than_who_never_asked() -> None:
    answered, silent_one, slow = Listener(), Listener(), Listener()
    await answered.feed(GET % b"/1")
    await slow.feed(b"GET")
    waits = [each.client.waits for each in (silent_one, slow, answered)]
    assert [wait and wait[0] for wait in waits] == [0, 0, 1]
    assert all(wait and abs(wait[1] - monotonic()) < 5 for wait in waits)


@pytest.mark.parametrize(
    ("taken", "ends"), [(0, True), (499, True), (501, False)], ids=["none", "less", "enough"]
)
async def test_who_takes_too_little_gives_way_at_work(taken: int, ends: bool) -> None:
    async def handle(client: Downstream, _head: RequestHead, _payload: Payload) -> bool:
        await client.drain()
        return True

    listener = Listener(handle, limits=Limits(write_idle=10.0, write_rate=100))
    listener.client.pause_writing()
    listener.transport.unsent = 100_000
    await listener.feed(GET % b"/1")
    assert not listener.client.give_way()  # nobody has looked yet
    listener.client.write_deadline = 0.0
    listener.client.expire()
    listener.client.write_deadline -= 4.999
    listener.transport.unsent -= taken
    assert listener.client.give_way() is ends
    assert listener.transport.calls == ["abort"] * ends
    assert listener.server.cut == ({"gave_way": 1} if ends else {})
    listener.client.abort()
    await turns()


async def test_a_body_that_stands_still_gives_way_after_all_others() -> None:
    got: list[bytes | ProxyError] = []

    async def handle(client: Downstream, _head: RequestHead, payload: Payload) -> bool:
        client.waits_since = monotonic() - 5
        try:
            await payload.readany()
        except ProxyError as error:
            got.append(error)
        return False

    first = Listener(handle, limits=ONE)
    await first.feed(POST % b"/1")
    waits = first.client.waits
    assert waits is not None
    assert waits[0] == 2
    second = Listener(server=first.server)
    await turns()
    assert second.client.too_many is None
    assert [type(error) for error in got] == [Overloaded]
    assert first.server.cut == {"crowd": 1}


async def test_who_is_not_behind_gives_no_way_at_work() -> None:
    async def handle(_client: Downstream, _head: RequestHead, _payload: Payload) -> bool:
        await asyncio.get_running_loop().create_future()
        return True

    listener = Listener(handle)
    await listener.feed(GET % b"/1")
    assert not listener.client.give_way()
    assert listener.transport.calls == []


# Who takes too little.

SLOW: Final = Limits(write_idle=10.0, write_rate=100)


def behind(listener: Listener, unsent: int) -> None:
    """Let the client be behind by so many bytes, and the first sweep see it."""
    listener.transport.unsent = unsent
    listener.client.pause_writing()
    look(listener)


def look(listener: Listener) -> None:
    listener.client.write_deadline = 0.0
    listener.client.expire()


@pytest.mark.parametrize("taken", [0, 1, 999])
@pytest.mark.parametrize("request_first", [True, False], ids=["in a request", "idle"])
async def test_a_client_that_takes_too_little_is_cut_off(taken: int, request_first: bool) -> None:
    async def handle(client: Downstream, _head: RequestHead, _payload: Payload) -> bool:
        await client.drain()
        return True

    listener = Listener(handle, limits=SLOW)
    if request_first:
        listener.client.pause_writing()
        await listener.feed(GET % b"/")
        listener.client.resume_writing()
    behind(listener, 100_000)
    assert 9 < listener.client.write_deadline - monotonic() <= 10
    assert listener.transport.calls == []
    listener.transport.unsent -= taken
    look(listener)
    assert listener.transport.calls == ["abort"]
    assert listener.server.cut == {"answer": 1}
    await turns()


async def test_a_client_that_takes_enough_has_all_the_time_it_needs() -> None:
    listener = Listener(limits=SLOW)
    await turns()
    behind(listener, 100_000)
    for _ in range(50):
        listener.transport.unsent -= 1000
        look(listener)
    assert listener.transport.calls == []
    look(listener)
    assert listener.transport.calls == ["abort"]


@pytest.mark.skipif(sys.platform != "linux", reason="other kernels keep no such count")
async def test_what_was_taken_counts_and_not_what_is_owed() -> None:
    """Over TLS more comes into the kernel's buffer meanwhile, from one that nobody can look into.

    Without that two looks could find the same, and cut off who takes steadily.
    """
    listener = Listener(limits=SLOW)
    await turns()
    listener.transport.sock.acked = 0
    behind(listener, 100_000)
    for _ in range(10):
        listener.transport.sock.acked += 1000
        look(listener)
    assert listener.transport.calls == []
    listener.transport.sock.acked += 999
    look(listener)
    assert listener.transport.calls == ["abort"]


async def test_without_a_rate_one_byte_is_enough() -> None:
    listener = Listener(limits=Limits(write_rate=None))
    await turns()
    behind(listener, 100_000)
    listener.transport.unsent -= 1
    look(listener)
    assert listener.transport.calls == []
    look(listener)
    assert listener.transport.calls == ["abort"]


async def test_an_idle_client_that_takes_its_answer_still_is_not_idle() -> None:
    listener = Listener(limits=SLOW)
    await turns()
    behind(listener, 100_000)
    listener.expire()
    assert listener.transport.calls == []
    assert listener.client.read_deadline - monotonic() > 70
    listener.client.resume_writing()
    listener.transport.unsent = 0
    listener.expire()
    assert listener.transport.calls == ["close"]


async def test_an_answer_that_ends_the_connection_must_be_taken_too() -> None:
    listener = Listener(limits=SLOW)
    listener.transport.unsent = 500
    await listener.feed(LAST["close"][0])
    assert listener.transport.calls == ["close"]
    look(listener)
    assert listener.transport.calls == ["close"]
    look(listener)
    assert listener.transport.calls == ["close", "abort"]


async def test_who_answers_is_stopped_when_the_client_leaves() -> None:
    ended: list[str] = []

    async def handle(_client: Downstream, _head: RequestHead, _payload: Payload) -> bool:
        try:
            await asyncio.get_running_loop().create_future()
        except asyncio.CancelledError:
            ended.append("cancelled")
            raise
        return True

    listener = Listener(handle)
    await listener.feed(GET % b"/")
    listener.client.connection_lost(None)
    await turns()
    assert ended == ["cancelled"]
    assert listener.server.clients == []


async def test_an_exception_that_nobody_expected_is_logged_and_ends_the_connection(
    caplog: pytest.LogCaptureFixture,
) -> None:
    async def handle(_client: Downstream, _head: RequestHead, _payload: Payload) -> bool:
        raise ValueError("odd")

    listener = Listener(handle)
    with caplog.at_level(logging.ERROR):
        await listener.feed(GET % b"/")
    assert [record.message for record in caplog.records] == ["a connection failed"]
    assert listener.transport.calls == ["close"]
