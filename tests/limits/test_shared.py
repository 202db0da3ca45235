"""proxy/limits/shared.py: questions go together, and a server that is away holds nobody up."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Coroutine, Sequence
from contextlib import asynccontextmanager
from typing import Any

import pytest

from proxy.config.units import Rate
from proxy.core.limits import Demand, Limit
from proxy.errors import LimitStoreDown
from proxy.limits import shared as module
from proxy.limits.shared import BATCH, WAITING, Shared
from proxy.telemetry.metrics import Metrics

LIMIT = Limit("", "ip", Rate(5, 60), 5, shared=True)
OTHER = Limit("/x", "user", Rate(1, 1), 1, shared=True)


class FakeServer:
    """Answers each limit with its place in the question; `asked` are the questions so far, without
    those that only look for it.
    """

    def __init__(self) -> None:
        self.asked: list[tuple[list[str], list[int]]] = []
        self.pings = self.closed = 0
        self.error: Exception | None = None
        self.gate = asyncio.Event()
        self.gate.set()
        self.came = asyncio.Event()

    async def ask(self, keys: Sequence[str], arguments: Sequence[int]) -> list[int]:
        if keys:
            self.asked.append((list(keys), list(arguments)))
        else:
            self.pings += 1
        self.came.set()
        await self.gate.wait()
        if self.error is not None:
            raise self.error
        return list(range(len(keys)))

    async def close(self) -> None:
        self.closed += 1


class Told(list[str]):
    """What `changed` was told; `came` is set each time."""

    def __init__(self) -> None:
        super().__init__()
        self.came = asyncio.Event()

    def __call__(self, problem: str) -> None:
        self.append(problem)
        self.came.set()


@asynccontextmanager
async def started(
    server: FakeServer,
    metrics: Metrics | None = None,
    told: Told | None = None,
    timeout: float = 5.0,
) -> AsyncIterator[Shared]:
    shared = Shared(
        server,
        "p",
        timeout,
        metrics or Metrics(),
        chance=lambda: 0.0,
        changed=Told() if told is None else told,
    )
    await shared.start()
    try:
        yield shared
    finally:
        await shared.stop()


def demand(key: str = "a", limit: Limit = LIMIT) -> list[Demand]:
    return [(limit, key)]


async def until(holds: Callable[[], bool]) -> None:
    async with asyncio.timeout(10):
        while not holds():  # noqa: ASYNC110 - a counter tells nobody that it was counted
            await asyncio.sleep(0.001)


def ask(shared: Shared, count: int) -> list[asyncio.Task[list[int] | None]]:
    async def one(number: int) -> list[int] | None:
        return await shared.take(demand(f"a{number}"))

    return [asyncio.create_task(one(number)) for number in range(count)]


async def test_a_question_names_no_user_and_holds_what_the_script_needs() -> None:
    server = FakeServer()
    async with started(server) as shared:
        assert await shared.take([(LIMIT, "192.0.2.1"), (OTHER, ("web", "u-1"))]) == [0, 1]
    [(keys, arguments)] = server.asked
    assert keys == [
        f"p:limit:{LIMIT.digest('192.0.2.1')}",
        f"p:limit:{OTHER.digest(('web', 'u-1'))}",
    ]
    assert arguments == [2, LIMIT.interval, LIMIT.capacity, OTHER.interval, OTHER.capacity]


async def test_who_comes_while_it_is_asked_goes_together_and_gets_his_own_answer() -> None:
    server, metrics = FakeServer(), Metrics()
    async with started(server, metrics) as shared:
        server.gate.clear()
        server.came.clear()
        first = ask(shared, 1)
        await server.came.wait()
        others = ask(shared, 5)
        await asyncio.sleep(0)
        server.gate.set()
        assert await asyncio.gather(*first) == [[0]]
        assert await asyncio.gather(*others) == [[0], [1], [2], [3], [4]]
    assert [len(keys) for keys, _ in server.asked] == [1, 5]
    assert metrics.limit_store == {"answered": 6}


async def test_a_question_is_bounded() -> None:
    server = FakeServer()
    async with started(server) as shared:
        await asyncio.gather(*ask(shared, BATCH + 3))
    assert [len(keys) for keys, _ in server.asked] == [BATCH, 3]


async def test_more_than_can_be_answered_soon_do_not_wait() -> None:
    server, metrics = FakeServer(), Metrics()
    async with started(server, metrics) as shared:
        server.gate.clear()
        tasks = ask(shared, WAITING + 10)
        await until(lambda: metrics.limit_store.get("skipped", 0) == 10)
        server.gate.set()
        answers = await asyncio.gather(*tasks)
    assert answers.count(None) == 10


async def test_one_that_does_not_answer_in_time_costs_everybody_one_wait_and_then_nobody() -> None:
    server, metrics, told = FakeServer(), Metrics(), Told()
    async with started(server, metrics, told, timeout=0.3) as shared:
        server.gate.clear()
        first = ask(shared, 3)
        assert await asyncio.gather(*first) == [None] * 3
        asked = len(server.asked)
        assert await asyncio.gather(*ask(shared, 50)) == [None] * 50
        assert len(server.asked) == asked
        assert shared.problem == "no answer in time"
        assert metrics.limit_store == {"failed": 3, "skipped": 50}
        assert server.closed >= 1
        server.gate.set()
        await until(lambda: not shared.problem)
        assert await shared.take(demand()) == [0]
    assert told == ["", "no answer in time", ""]


async def test_one_that_answers_too_slowly_is_not_found_again_by_a_patient_question(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(module, "FIRST_PAUSE", 0.001)
    server = FakeServer()

    class Slow(FakeServer):
        async def ask(self, keys: Sequence[str], arguments: Sequence[int]) -> list[int]:
            await super().ask(keys, arguments)
            if self.slow:
                await asyncio.sleep(0.2)
            return list(range(len(keys)))

        slow = False

    server = Slow()
    async with started(server, timeout=0.05) as shared:
        server.slow = True
        assert await shared.take(demand()) is None
        before = server.pings
        await until(lambda: server.pings >= before + 2)
        assert shared.problem == "no answer in time"


async def test_an_error_is_told_once_and_the_reason_when_it_changes() -> None:
    server, told = FakeServer(), Told()
    server.error = LimitStoreDown("refused")
    async with started(server, told=told) as shared:
        assert shared.problem == "refused"
        assert await shared.take(demand()) is None
        await until(lambda: server.pings >= 3)
        assert told == ["refused"]
        server.error = LimitStoreDown("it is loading its data")
        await until(lambda: len(told) == 2)
        server.error = None
        await until(lambda: not shared.problem)
    assert told == ["refused", "it is loading its data", ""]


async def test_an_error_that_nobody_expected_ends_nothing(
    caplog: pytest.LogCaptureFixture,
) -> None:
    server = FakeServer()
    async with started(server) as shared:
        server.error = RuntimeError("a fault")
        assert await shared.take(demand()) is None
        server.error = None
        await until(lambda: not shared.problem)
        assert await shared.take(demand()) == [0]
    assert "the task that asks the limit store failed" in caplog.text


async def test_who_leaves_while_he_waits_takes_nobody_with_him() -> None:
    server = FakeServer()
    async with started(server) as shared:
        server.gate.clear()
        tasks = ask(shared, 3)
        await until(lambda: bool(server.asked))
        tasks[0].cancel()
        tasks[2].cancel()
        await asyncio.sleep(0)
        server.gate.set()
        assert await tasks[1] is not None
        assert await shared.take(demand()) == [0]


async def test_the_end_is_told_to_everybody_who_waits() -> None:
    server = FakeServer()
    async with started(server) as shared:
        server.gate.clear()
        tasks = ask(shared, 2)
        await until(lambda: bool(server.asked))
        tasks += ask(shared, 2)
        await asyncio.sleep(0)
        await shared.stop()
        assert await asyncio.gather(*tasks) == [None] * 4
        assert await shared.take(demand()) is None


async def test_while_nobody_asks_it_is_asked_whether_it_is_there(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(module, "HEARTBEAT", 0.001)
    server = FakeServer()
    async with started(server) as shared:
        before = server.pings
        await until(lambda: server.pings > before + 2)
        server.error = LimitStoreDown("gone")
        await until(lambda: shared.problem == "gone")


async def test_pauses_grow_up_to_a_bound(monkeypatch: pytest.MonkeyPatch) -> None:
    pauses: list[float] = []
    real = asyncio.sleep

    def noted(seconds: float) -> Coroutine[Any, Any, None]:
        pauses.append(seconds)
        return real(0)

    server = FakeServer()
    server.error = LimitStoreDown("refused")
    monkeypatch.setattr(asyncio, "sleep", noted)
    async with started(server):
        async with asyncio.timeout(10):
            while len(pauses) < 12:
                await real(0)
    assert pauses[0] == pytest.approx(0.025)
    assert pauses == sorted(pauses)
    assert pauses[-1] == 0.5


def test_it_shows_how_it_is() -> None:
    shared = Shared(
        FakeServer(), "p", 1.0, Metrics(), chance=lambda: 0.0, changed=lambda _problem: None
    )
    assert repr(shared) == "<Shared not connected yet waiting=0>"
