"""Counting in a server that several gateways share, so that it stays cheap and never in the way.

One task asks. While it waits for an answer the next requests gather, and go together in the next
question: under load a question is for dozens of requests. When the server does not answer in time,
everybody who waits is told so at once, and so is everybody who comes, without a wait, until the
task has found it again.
"""

from __future__ import annotations

import asyncio
import logging
from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final, Protocol

from proxy.errors import LimitStoreDown

if TYPE_CHECKING:
    from proxy.core.limits import Demand
    from proxy.telemetry.metrics import Metrics

_log = logging.getLogger("gatelodge.limits")

FIRST_PAUSE: Final = 0.05
LONGEST_PAUSE: Final = 1.0
"""Seconds between two tries to find the server again."""
CONNECT: Final = 2.0
"""Seconds for a connection, TLS and sign-in included; no request waits for it."""
HEARTBEAT: Final = 30.0
"""Seconds without a request after which the server is asked whether it is there: middleboxes forget
silent connections, and the first request after a pause should not be the one to find out.
"""
BATCH: Final = 128
"""Requests in one question. The server does nothing else while it answers: about 0.3 ms."""
WAITING: Final = 8 * BATCH
"""Requests that may wait. Whoever comes then would wait too long: a server that is asked for more
than it can answer is as good as away.
"""
NOT_YET: Final = "not connected yet"


class Server(Protocol):
    """Who runs the script of script.py."""

    async def ask(self, keys: Sequence[str], arguments: Sequence[int]) -> list[int]:
        """Return its answer. Raises LimitStoreDown."""

    async def close(self) -> None:
        """End the connection; the next question makes another one."""


@dataclass(slots=True)
class _Question:
    """The limits of one request, and who waits for the answer: None when there was none."""

    demands: Sequence[Demand]
    answer: asyncio.Future[list[int] | None]


class Shared:
    """Asks `server` for at most `timeout` seconds.

    `chance` gives numbers from 0 to 1, for the jitter of the pauses. `changed` is told why the
    server cannot be asked when that becomes so or the reason becomes another, and "" when it can.
    """

    def __init__(
        self,
        server: Server,
        prefix: str,
        timeout: float,
        metrics: Metrics,
        *,
        chance: Callable[[], float],
        changed: Callable[[str], None],
    ) -> None:
        self._server = server
        self._prefix = prefix
        self._timeout = timeout
        self._metrics = metrics
        self._chance = chance
        self._changed = changed
        self._questions: deque[_Question] = deque()
        self._asked: list[_Question] = []
        self._wake = asyncio.Event()
        self._tried = asyncio.Event()
        self._task: asyncio.Task[None] | None = None
        self.problem = NOT_YET
        """Why the server cannot be asked, "" if it can."""

    def __repr__(self) -> str:
        return f"<Shared {self.problem or 'up'} waiting={len(self._questions)}>"

    async def start(self) -> None:
        """Begin, and wait for the first try. A server that is away keeps nobody from starting."""
        loop = asyncio.get_running_loop()
        self._task = loop.create_task(self._keep())
        await self._tried.wait()

    async def stop(self) -> None:
        """End; who waits gets no answer."""
        task, self._task = self._task, None
        if task is not None:
            task.cancel()
            await asyncio.gather(task, return_exceptions=True)
        self.problem = self.problem or "stopped"
        self._give_up()
        await self._server.close()

    async def take(self, demands: Sequence[Demand]) -> list[int] | None:
        """Count a request in its limits, if all of them admit it; return for each the microseconds
        until it would. None: the server could not be asked.
        """
        if self.problem or len(self._questions) >= WAITING:
            self._metrics.count_store("skipped")
            return None
        answer: asyncio.Future[list[int] | None] = asyncio.get_running_loop().create_future()
        self._questions.append(_Question(demands, answer))
        self._wake.set()
        return await answer

    async def _keep(self) -> None:
        """Ask for ever; while the server is away, try to find it."""
        pause = FIRST_PAUSE
        while True:
            try:
                await self._find()
                self._note("")
                while True:
                    await self._ask_next()
                    pause = FIRST_PAUSE
            except LimitStoreDown as error:
                self._note(error.reason)
                await self._server.close()
            except Exception:  # noqa: BLE001 - else everybody would wait for a task that is gone
                _log.exception("the task that asks the limit store failed")
                self._note("an error that nobody expected")
                await self._server.close()
            # Spread, so that many gateways do not knock in one moment.
            await asyncio.sleep(pause * (0.5 + self._chance() / 2))
            pause = min(pause * 2, LONGEST_PAUSE)

    async def _find(self) -> None:
        """Connect, and see that an answer comes as quickly as a request needs it."""
        await self._ask([], [], CONNECT)
        await self._ask([], [], self._timeout)

    async def _ask_next(self) -> None:
        """Ask for those who wait, or, if nobody does for long, whether the server is there."""
        if not self._questions:
            self._wake.clear()
            try:
                async with asyncio.timeout(HEARTBEAT):
                    await self._wake.wait()
            except TimeoutError:
                await self._ask([], [], self._timeout)
                return
        questions = self._questions
        self._asked = asked = [questions.popleft() for _ in range(min(len(questions), BATCH))]
        keys: list[str] = []
        arguments: list[int] = []
        for question in asked:
            arguments.append(len(question.demands))
            for limit, key in question.demands:
                keys.append(f"{self._prefix}:limit:{limit.digest(key)}")
                arguments += (limit.interval, limit.capacity)
        waits = await self._ask(keys, arguments, self._timeout)
        position = 0
        for question in asked:
            end = position + len(question.demands)
            if not question.answer.done():
                question.answer.set_result(waits[position:end])
            position = end
        self._metrics.count_store("answered", len(asked))
        self._asked = []

    async def _ask(
        self, keys: Sequence[str], arguments: Sequence[int], patience: float
    ) -> list[int]:
        """Raises LimitStoreDown, also when no answer came within `patience` seconds."""
        try:
            async with asyncio.timeout(patience):
                return await self._server.ask(keys, arguments)
        except TimeoutError:
            raise LimitStoreDown("no answer in time") from None

    def _note(self, problem: str) -> None:
        if problem != self.problem:
            self.problem = problem
            self._changed(problem)
        self._tried.set()
        if problem:
            self._give_up()

    def _give_up(self) -> None:
        """Tell everybody who waits that no answer comes."""
        waiting = [*self._asked, *self._questions]
        self._asked = []
        self._questions.clear()
        for question in waiting:
            if not question.answer.done():
                question.answer.set_result(None)
        if waiting:
            self._metrics.count_store("failed", len(waiting))
