"""A bounded set of connections to one server, which only one task ever opens.

Whoever needs a connection takes an idle one or waits for one; it never connects itself. One task
opens connections, one after the other, when somebody waits or when there is none at all. So a
server that is away gets one try at a time however many requests come; and since the last try
failed, these fail at once.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Awaitable, Callable
from typing import Final, Generic, Protocol, TypeVar

from proxy.errors import SessionStoreDown

FIRST_PAUSE: Final = 0.05
LONGEST_PAUSE: Final = 0.5
"""Seconds between two tries. The longest keeps the way back under a second."""
HEARTBEAT: Final = 30.0
"""Seconds after which idle connections are asked whether they live: middleboxes forget silent ones,
the strictest after some minutes, and say nothing.
"""
NOT_YET: Final = "not connected yet"


class Link(Protocol):
    """One open connection."""

    def is_closed(self) -> bool:
        """Say whether it has ended."""

    def terminate(self) -> None:
        """End it now."""

    async def ping(self) -> None:
        """Return if it lives. Raises SessionStoreDown."""


L = TypeVar("L", bound=Link)


class Connections(Generic[L]):
    """At most `size` links that `connect` opens.

    `connect` raises SessionStoreDown with a reason; whoever waits longer than `patience` seconds
    for a link gets the same. `chance` gives numbers from 0 to 1, for the jitter of the pauses.
    `changed` is told the reason when the first link cannot be opened or the reason becomes another,
    and "" when there is one again.
    """

    def __init__(
        self,
        connect: Callable[[], Awaitable[L]],
        size: int,
        patience: float,
        *,
        chance: Callable[[], float],
        changed: Callable[[str], None],
    ) -> None:
        self._connect = connect
        self._size = size
        self._patience = patience
        self._chance = chance
        self._changed = changed
        self._links: set[L] = set()
        self._idle: list[L] = []
        self._waiters: deque[asyncio.Future[L]] = deque()
        self._wake = asyncio.Event()
        self._task: asyncio.Task[None] | None = None
        self._problem = NOT_YET
        self._tried = asyncio.Event()

    def __repr__(self) -> str:
        return f"<Connections open={self.open} idle={self.idle} waiting={self.waiting}>"

    @property
    def open(self) -> int:
        """How many are open."""
        return len(self._links)

    @property
    def idle(self) -> int:
        """How many of them nobody uses."""
        return len(self._idle)

    @property
    def waiting(self) -> int:
        """How many wait for one."""
        return len(self._waiters)

    @property
    def problem(self) -> str:
        """Why there is none, "" if there is one."""
        return "" if self._links else self._problem

    async def start(self) -> None:
        """Begin to connect; return after the first try, whatever came of it."""
        loop = asyncio.get_running_loop()
        self._task = loop.create_task(self._keep())
        tried = loop.create_task(self._tried.wait())
        await asyncio.wait({tried, self._task}, return_when=asyncio.FIRST_COMPLETED)
        tried.cancel()

    async def stop(self) -> None:
        """End all links, and send away whoever waits."""
        if self._task is not None:
            self._task.cancel()
            await asyncio.wait({self._task})
        self._problem = self._problem or "stopped"
        self._send_away(self._problem)
        for link in tuple(self._links):
            self.forget(link)
            link.terminate()

    async def acquire(self) -> L:
        """Return a link, to be given back by `release`. Raises SessionStoreDown."""
        while self._idle:
            link = self._idle.pop()
            if not link.is_closed():
                return link
            self.forget(link)
        if not self._links and self._problem:
            raise SessionStoreDown(self._problem)
        waiter: asyncio.Future[L] = asyncio.get_running_loop().create_future()
        self._waiters.append(waiter)
        self._wake.set()
        try:
            async with asyncio.timeout(self._patience):
                link = await waiter
        except TimeoutError:
            self._give_up(waiter)
            raise SessionStoreDown("no connection became free in time") from None
        except asyncio.CancelledError:
            self._give_up(waiter)
            raise
        return link

    def _give_up(self, waiter: asyncio.Future[L]) -> None:
        """Note that nobody waits any more; a link that came in the same moment goes on."""
        if waiter in self._waiters:
            self._waiters.remove(waiter)
        if waiter.done() and not waiter.cancelled() and waiter.exception() is None:
            self.release(waiter.result())

    def release(self, link: L) -> None:
        """Give a link back, for the next who waits."""
        if link.is_closed() or link not in self._links:
            self.forget(link)
            return
        while self._waiters:
            waiter = self._waiters.popleft()
            if not waiter.done():
                waiter.set_result(link)
                return
        self._idle.append(link)

    def discard(self, link: L) -> None:
        """Give a link back that is not to be used again."""
        self.forget(link)
        link.terminate()

    def discard_idle(self) -> None:
        """End the links that nobody uses."""
        for link in tuple(self._idle):
            self.discard(link)

    def forget(self, link: L) -> None:
        """Note that a link has ended. It may be told twice."""
        self._links.discard(link)
        if link in self._idle:
            self._idle.remove(link)
        if self._waiters or not self._links:
            self._wake.set()

    async def _keep(self) -> None:
        """Open links for ever, as they are needed."""
        pause = FIRST_PAUSE
        while True:
            await self._need()
            try:
                link = await self._connect()
            except SessionStoreDown as error:
                self._failed(error.reason)
                self._tried.set()
                # Spread, so that many gateways do not knock in one moment.
                await asyncio.sleep(pause * (0.5 + self._chance() / 2))
                pause = min(pause * 2, LONGEST_PAUSE)
                continue
            pause = FIRST_PAUSE
            self._opened(link)
            self._tried.set()

    async def _need(self) -> None:
        """Wait until a link is needed; look after the idle ones meanwhile."""
        while self._links and not (self._waiters and len(self._links) < self._size):
            self._wake.clear()
            try:
                async with asyncio.timeout(HEARTBEAT):
                    await self._wake.wait()
            except TimeoutError:
                await self._ping_idle()

    async def _ping_idle(self) -> None:
        for link in tuple(self._idle):
            if link not in self._idle:
                continue
            self._idle.remove(link)
            try:
                await link.ping()
            except SessionStoreDown:
                # What has happened to one has mostly happened to all of them.
                self.discard(link)
                self.discard_idle()
            else:
                self.release(link)

    def _opened(self, link: L) -> None:
        self._links.add(link)
        if self._problem:
            self._problem = ""
            self._changed("")
        self.release(link)

    def _failed(self, reason: str) -> None:
        """Note that no link could be opened. While there are others, whoever waits goes on."""
        if self._links:
            return
        if reason != self._problem:
            self._problem = reason
            self._changed(reason)
        self._send_away(reason)

    def _send_away(self, reason: str) -> None:
        while self._waiters:
            waiter = self._waiters.popleft()
            if not waiter.done():
                waiter.set_exception(SessionStoreDown(reason))
