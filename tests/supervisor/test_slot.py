"""proxy/supervisor/slot.py: there is always a worker, and its socket outlives it."""

from __future__ import annotations

import asyncio
import os
import signal
import socket
from collections.abc import AsyncIterator, Callable

import pytest

from proxy.config.model import Config
from proxy.supervisor import slot
from proxy.supervisor.channel import ChannelClosed
from proxy.supervisor.process import WorkerProcess
from proxy.supervisor.slot import _PAUSES, Slot
from tests.supervisor.test_child import config_of
from tests.support.answers import Answer
from tests.support.client import RawClient, exchange
from tests.support.scripts import Held
from tests.support.upstream import StubUpstream
from tests.support.worker import request

pytestmark = pytest.mark.slow


class Wanted:
    """What the slot's worker should serve by; `slot` is stopped when the test ends."""

    def __init__(self, listener: socket.socket) -> None:
        self.config: Config = config_of("http://127.0.0.1:1")
        self.port = listener.getsockname()[1]
        self.slot = Slot(1, listener, self)
        self.settled = 0
        self.delay: float | None = None

    def departs_in(self) -> float | None:
        return self.delay

    def settle(self) -> None:
        self.settled += 1

    def pid(self) -> int:
        worker = self.slot.worker
        assert worker is not None
        return worker.pid

    async def until(self, holds: Callable[[], bool]) -> None:
        async with asyncio.timeout(60):
            while not holds():  # noqa: ASYNC110 - a slot tells nobody
                await asyncio.sleep(0.01)

    async def replaced(self, before: int) -> None:
        await self.until(lambda: self.slot.worker is not None and self.pid() != before)


@pytest.fixture
async def wanted(listener: socket.socket) -> AsyncIterator[Wanted]:
    made = Wanted(listener)
    yield made
    await made.slot.stop()


async def test_who_comes_while_there_is_no_worker_waits_for_the_next(wanted: Wanted) -> None:
    async with StubUpstream() as upstream:
        wanted.config = config_of(upstream.url)
        assert await wanted.slot.start() == ""
        before = wanted.pid()
        await exchange(wanted.port, request("GET", "/public/x"))
        await wanted.slot.processes.copy().pop().report()
        os.kill(before, signal.SIGKILL)
        await wanted.until(lambda: wanted.slot.worker is None)
        answers = [exchange(wanted.port, request("GET", f"/public/{n}")) for n in range(10)]
        assert {answer.status for answer in await asyncio.gather(*answers)} == {200}
        await wanted.replaced(before)
        assert wanted.slot.restarts == 1
        await wanted.until(lambda: len(wanted.slot.processes) == 1)
        assert sum(wanted.slot.departed["requests"].values()) == 1


async def test_those_that_have_served_are_replaced_soon_however_often_they_end(
    wanted: Wanted,
) -> None:
    assert await wanted.slot.start() == ""
    for _ in range(5):
        os.kill(before := wanted.pid(), signal.SIGKILL)
        await wanted.replaced(before)
    assert _PAUSES[wanted.slot._early] == 0.5
    assert wanted.slot.restarts == 5


async def test_one_that_drains_by_itself_finishes_beside_its_successor(wanted: Wanted) -> None:
    held = Held()
    async with StubUpstream() as upstream:
        upstream.script("/public/held", held)
        wanted.config = config_of(upstream.url)
        assert await wanted.slot.start() == ""
        before = wanted.pid()
        async with RawClient(wanted.port) as client:
            await client.send(request("GET", "/public/held"))
            await upstream.wait(lambda: bool(upstream.requests))
            os.kill(before, signal.SIGTERM)
            await wanted.replaced(before)
            assert (await exchange(wanted.port, request("GET", "/public/x"))).status == 200
            assert len(wanted.slot.processes) == 2
            held.go.set()
            [answer] = await client.read_answers()
        assert answer.status == 200
        await wanted.until(lambda: len(wanted.slot.processes) == 1)


async def test_one_that_begins_while_the_configuration_changes_follows(wanted: Wanted) -> None:
    async with StubUpstream() as upstream:
        starting = asyncio.ensure_future(wanted.slot.start())
        await asyncio.sleep(0)
        wanted.config = config_of(upstream.url)
        assert await starting == ""
        assert (await exchange(wanted.port, request("GET", "/public/x"))).status == 200


async def test_a_reload_while_one_begins_is_known_to_it_before_it_accepts(
    wanted: Wanted, monkeypatch: pytest.MonkeyPatch
) -> None:
    begin = WorkerProcess.begin
    waits: list[asyncio.Future[Answer]] = []

    async def begin_and_change(worker: WorkerProcess, config: Config, number: int) -> str:
        problem = await begin(worker, config, number)
        wanted.config = config_of(upstream.url)
        waits.append(asyncio.ensure_future(exchange(wanted.port, request("GET", "/public/x"))))
        for _ in range(50):  # a chance to answer by what has ended
            await worker.report()
        return problem

    async with StubUpstream() as upstream:
        monkeypatch.setattr(WorkerProcess, "begin", begin_and_change)
        assert await wanted.slot.start() == ""
        assert (await waits[0]).status == 200


async def test_why_there_cannot_be_one_is_told(wanted: Wanted) -> None:
    bad = wanted.config.upstreams["api"].model_copy(update={"endpoints": ()})
    wanted.config = wanted.config.model_copy(update={"upstreams": {"api": bad, "x": None}})
    assert await wanted.slot.start() != ""
    assert wanted.slot.processes == set()


async def test_one_that_stands_still_is_replaced(
    wanted: Wanted, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(slot, "PATIENCE", 2.0)
    assert await wanted.slot.start() == ""
    os.kill(before := wanted.pid(), signal.SIGSTOP)
    await wanted.replaced(before)
    assert (await exchange(wanted.port, request("GET", "/nowhere"))).status == 404


async def test_one_that_begins_while_clients_are_let_go_lets_go_of_its_own(wanted: Wanted) -> None:
    wanted.delay = 0.0
    assert await wanted.slot.start() == ""
    answer = await exchange(wanted.port, request("GET", "/nowhere"))
    assert (answer.status, answer.get("Connection")) == (404, "close")


async def test_whoever_has_it_is_told_of_each_change(wanted: Wanted) -> None:
    assert await wanted.slot.start() == ""
    assert wanted.settled == 1
    os.kill(before := wanted.pid(), signal.SIGKILL)
    await wanted.replaced(before)
    assert wanted.settled == 3


async def test_a_drain_serves_who_waits_for_the_next_worker(wanted: Wanted) -> None:
    assert await wanted.slot.start() == ""
    os.kill(wanted.pid(), signal.SIGSTOP)
    async with RawClient(wanted.port) as client:
        await client.send(request("GET", "/nowhere"))
        os.kill(wanted.pid(), signal.SIGKILL)
        await wanted.until(lambda: wanted.slot.worker is None)
        await wanted.slot.drain()
        [answer] = await client.read_answers()
    assert answer.status == 404


async def test_a_drain_serves_who_waits_though_nobody_knows_yet_of_the_end(wanted: Wanted) -> None:
    assert await wanted.slot.start() == ""
    await wanted.slot._stop_keeping()
    worker = wanted.slot.worker
    assert worker is not None
    os.kill(worker.pid, signal.SIGSTOP)
    async with RawClient(wanted.port) as client:
        await client.send(request("GET", "/nowhere"))
        os.kill(worker.pid, signal.SIGKILL)
        await asyncio.wait({worker.ended})
        await wanted.slot.drain()
        [answer] = await client.read_answers()
    assert answer.status == 404


async def test_one_that_does_not_come_to_serve_is_given_up(
    wanted: Wanted, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def never(*_: object) -> str:
        await asyncio.Event().wait()
        raise AssertionError

    monkeypatch.setattr(WorkerProcess, "begin", never)
    monkeypatch.setattr(slot, "_START", 0.2)
    assert await wanted.slot.start() == "it does not serve within 0.2 s"


async def test_others_are_told_of_one_that_ends_before_it_accepts(
    wanted: Wanted, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Meanwhile its socket was taken for served, and nobody else may accept from it any more."""

    async def dies(worker: WorkerProcess) -> str:
        wanted.settled = 0
        await worker.kill()
        raise ChannelClosed

    monkeypatch.setattr(WorkerProcess, "accept", dies)
    assert "SIGKILL" in await wanted.slot.start()
    assert (wanted.slot.worker, wanted.settled) == (None, 1)


async def test_a_drain_does_not_wait_for_one_that_stands_still(
    wanted: Wanted, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(slot, "_LATE", 0.2)
    monkeypatch.setattr(slot, "PATIENCE", 600.0)
    drain = wanted.config.drain.model_copy(update={"timeout": 0.2})
    wanted.config = wanted.config.model_copy(update={"drain": drain})
    assert await wanted.slot.start() == ""
    os.kill(wanted.pid(), signal.SIGSTOP)
    async with asyncio.timeout(60):
        await wanted.slot.drain()
    assert wanted.slot.worker is not None
    assert wanted.slot.worker.ended.result() == -signal.SIGKILL


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGKILL], ids=["TERM", "KILL"])
async def test_the_log_has_each_that_did_not_end_by_itself_also_in_a_drain(
    wanted: Wanted, caplog: pytest.LogCaptureFixture, number: signal.Signals
) -> None:
    held = Held()
    async with StubUpstream() as upstream:
        upstream.script("/public/held", held)
        wanted.config = config_of(upstream.url)
        assert await wanted.slot.start() == ""
        async with RawClient(wanted.port) as client:
            await client.send(request("GET", "/public/held"))
            await upstream.wait(lambda: bool(upstream.requests))
            worker = wanted.slot.worker
            assert worker is not None
            drained = asyncio.ensure_future(wanted.slot.drain())
            await worker.deaf.wait()
            os.kill(worker.pid, number)
            held.go.set()
            await drained
    await wanted.slot.stop()
    told = [each.message for each in caplog.records if each.levelname == "ERROR"]
    assert told == (["worker has ended"] if number is signal.SIGKILL else [])


async def test_a_drain_closes_the_socket_when_nobody_accepts_any_more(wanted: Wanted) -> None:
    assert await wanted.slot.start() == ""
    await wanted.slot.drain()
    assert wanted.slot.processes == set()
    with pytest.raises(ConnectionRefusedError):
        await exchange(wanted.port, request("GET", "/public/x"))
