"""Connections that only one task opens: bounded, shared, lost, and found again without a storm."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager

import pytest

from proxy.errors import SessionStoreDown
from proxy.session import connections
from proxy.session.connections import Connections


class Link:
    """A connection to nowhere."""

    def __init__(self) -> None:
        self.closed = False
        self.lives = True
        self.pings = 0

    def is_closed(self) -> bool:
        return self.closed

    def terminate(self) -> None:
        self.closed = True

    async def ping(self) -> None:
        self.pings += 1
        if not self.lives:
            raise SessionStoreDown("dead")


class Server:
    """Opens links, while it is there; `tries` counts how often it was asked to, `most` how many
    tries there were at the same time.
    """

    def __init__(self) -> None:
        self.links: list[Link] = []
        self.problem = ""
        self.gate = asyncio.Event()
        self.gate.set()
        self.tries = self.now = self.most = 0
        self.changed = asyncio.Event()

    async def connect(self) -> Link:
        self.tries += 1
        self.now += 1
        self.most = max(self.most, self.now)
        self.changed.set()
        try:
            await self.gate.wait()
            if self.problem:
                raise SessionStoreDown(self.problem)
            self.links.append(Link())
            return self.links[-1]
        finally:
            self.now -= 1

    async def tried(self, count: int) -> None:
        """Wait until there have been `count` tries."""
        async with asyncio.timeout(10):
            while self.tries < count:
                self.changed.clear()
                await self.changed.wait()


Told = list[str]


@asynccontextmanager
async def opened(
    server: Server, size: int = 2, patience: float = 10.0, told: Told | None = None
) -> AsyncIterator[Connections[Link]]:
    pool: Connections[Link] = Connections(
        server.connect,
        size,
        patience,
        chance=lambda: 0.0,
        changed=(told if told is not None else []).append,
    )
    await pool.start()
    try:
        yield pool
    finally:
        await pool.stop()


async def settled(turns: int = 10) -> None:
    """Let the loop turn until nothing more happens by itself."""
    for _ in range(turns):
        await asyncio.sleep(0)


def counts(pool: Connections[Link]) -> tuple[int, int, int]:
    return pool.open, pool.idle, pool.waiting


async def test_one_connection_is_there_from_the_start() -> None:
    told: Told = []
    async with opened(Server(), told=told) as pool:
        assert counts(pool) == (1, 1, 0)
        assert (pool.problem, told) == ("", [""])
    assert counts(pool) == (0, 0, 0)


async def test_a_free_one_is_used_again() -> None:
    server = Server()
    async with opened(server) as pool:
        link = await pool.acquire()
        assert counts(pool) == (1, 0, 0)
        pool.release(link)
        assert await pool.acquire() is link
        assert server.tries == 1


async def test_more_are_opened_when_somebody_waits_one_after_the_other_and_no_more_than_size() -> (
    None
):
    server = Server()
    async with opened(server, size=3) as pool:
        waiting = [asyncio.create_task(pool.acquire()) for _ in range(8)]
        await settled()
        assert counts(pool) == (3, 0, 5)
        assert (server.tries, server.most) == (3, 1)
        taken = [task for task in waiting if task.done()]
        assert len(taken) == 3
        for task in waiting:
            pool.release(await task)
        assert counts(pool) == (3, 3, 0)


async def test_those_who_wait_are_served_in_their_order() -> None:
    async with opened(Server(), size=1) as pool:
        link = await pool.acquire()
        order: list[int] = []

        async def use(number: int) -> None:
            order.append(number)
            pool.release(await pool.acquire())

        users = [asyncio.create_task(use(number)) for number in range(5)]
        await settled()
        pool.release(link)
        await asyncio.gather(*users)
        assert order == [0, 1, 2, 3, 4]


async def test_who_waits_too_long_is_sent_away() -> None:
    async with opened(Server(), size=1, patience=0.01) as pool:
        link = await pool.acquire()
        with pytest.raises(SessionStoreDown) as caught:
            await pool.acquire()
        assert caught.value.reason == "no connection became free in time"
        assert counts(pool) == (1, 0, 0)
        pool.release(link)
        assert await pool.acquire() is link


async def test_who_goes_away_takes_no_connection_along() -> None:
    async with opened(Server(), size=1) as pool:
        link = await pool.acquire()
        gone, next_one = (asyncio.create_task(pool.acquire()) for _ in range(2))
        await settled()
        # In one moment: the link comes, and the one who was to get it goes.
        pool.release(link)
        gone.cancel()
        assert await next_one is link
        assert counts(pool) == (1, 0, 0)
        assert gone.cancelled()


async def test_a_server_that_is_away_at_the_start_fails_everybody_at_once() -> None:
    server, told = Server(), Told()
    server.problem = "refused"
    async with opened(server, told=told) as pool:
        assert (pool.problem, told) == ("refused", ["refused"])
        for _ in range(100):
            with pytest.raises(SessionStoreDown, match="refused"):
                await pool.acquire()
        assert counts(pool) == (0, 0, 0)
        server.problem = ""
        await server.tried(server.tries + 1)
        await settled()
        pool.release(await pool.acquire())
        assert (pool.problem, told) == ("", ["refused", ""])


async def test_a_server_that_dies_is_tried_by_one_alone_and_told_once() -> None:
    server, told = Server(), Told()
    async with opened(server, size=5, told=told) as pool:
        taken = [await pool.acquire() for _ in range(5)]
        server.problem = "refused"
        tries = server.tries
        for link in taken:
            link.terminate()
            pool.forget(link)  # as the driver tells
            pool.forget(link)
            pool.release(link)
        waiting = [asyncio.create_task(pool.acquire()) for _ in range(1000)]
        done = await asyncio.gather(*waiting, return_exceptions=True)
        assert {str(error) for error in done} == {"session_store_down: refused"}
        assert server.tries == tries + 1
        await server.tried(tries + 4)
        assert server.most == 1
        assert told == ["", "refused"]
        server.problem = "starting"
        await server.tried(server.tries + 2)
        assert told == ["", "refused", "starting"]
        server.problem = ""
        await server.tried(server.tries + 1)
        await settled()
        assert counts(pool) == (1, 1, 0)
        assert told == ["", "refused", "starting", ""]


async def test_the_pause_between_tries_grows_and_is_bounded(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    slept: list[float] = []
    real_sleep = asyncio.sleep

    async def sleep(seconds: float) -> None:
        slept.append(seconds)
        await real_sleep(0)

    monkeypatch.setattr(asyncio, "sleep", sleep)
    server = Server()
    server.problem = "refused"
    async with opened(server):
        await server.tried(8)
    assert slept[:6] == [0.025, 0.05, 0.1, 0.2, 0.25, 0.25]


async def test_a_try_that_takes_long_keeps_others_waiting_not_trying() -> None:
    server = Server()
    async with opened(server) as pool:
        link = await pool.acquire()
        server.gate.clear()
        link.terminate()
        pool.forget(link)
        waiting = [asyncio.create_task(pool.acquire()) for _ in range(10)]
        await settled()
        assert (server.now, pool.waiting) == (1, 10)
        server.gate.set()
        links = {await task for task in waiting[:1]}
        assert server.most == 1
        for each in links:
            pool.release(each)
        for task in waiting[1:]:
            pool.release(await task)


async def test_while_others_live_a_failed_try_fails_nobody() -> None:
    server, told = Server(), Told()
    async with opened(server, size=3, told=told) as pool:
        link = await pool.acquire()
        server.problem = "too many"
        waiting = asyncio.create_task(pool.acquire())
        await server.tried(3)
        assert not waiting.done()
        assert told == [""]
        pool.release(link)
        assert await waiting is link


async def test_a_closed_link_is_never_handed_out() -> None:
    server = Server()
    async with opened(server) as pool:
        [first] = server.links
        first.closed = True
        second = await pool.acquire()
        assert second is not first
        second.closed = True
        pool.release(second)
        assert second not in {await pool.acquire()}


async def test_idle_ones_can_be_given_up_together() -> None:
    server = Server()
    async with opened(server, size=2) as pool:
        one, two = await pool.acquire(), await pool.acquire()
        pool.release(one)
        pool.discard_idle()
        assert (one.closed, two.closed) == (True, False)
        assert counts(pool) == (1, 0, 0)


async def test_idle_ones_are_asked_whether_they_live(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(connections, "HEARTBEAT", 0.005)
    server = Server()
    async with opened(server, size=2) as pool:
        one, two = await pool.acquire(), await pool.acquire()
        pool.release(one)
        one.lives = False
        await until(lambda: one.closed)
        assert two.pings == 0
        pool.release(two)
        await until(lambda: two.pings > 1)
        assert counts(pool)[0] == 1
        assert not two.closed


async def test_an_end_sends_everybody_away() -> None:
    server = Server()
    async with opened(server, size=1) as pool:
        link = await pool.acquire()
        waiting = asyncio.create_task(pool.acquire())
        await settled()
        await pool.stop()
        with pytest.raises(SessionStoreDown, match="stopped"):
            await waiting
        assert link.closed
        with pytest.raises(SessionStoreDown, match="stopped"):
            await pool.acquire()
        assert repr(pool) == "<Connections open=0 idle=0 waiting=0>"


async def until(holds: Callable[[], bool]) -> None:
    async with asyncio.timeout(10):
        while not holds():  # noqa: ASYNC110 - nobody tells of a heartbeat
            await asyncio.sleep(0.001)
