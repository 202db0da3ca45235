"""proxy/supervisor/process.py: real child processes."""

from __future__ import annotations

import os
import select
import signal
import socket
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from proxy.config.model import Config
from proxy.supervisor.channel import ChannelClosed
from proxy.supervisor.process import WorkerProcess
from tests.supervisor.test_child import config_of
from tests.support.client import RawClient, exchange
from tests.support.scripts import Held
from tests.support.upstream import StubUpstream
from tests.support.worker import request

pytestmark = pytest.mark.slow


@pytest.fixture
async def worker(listener: socket.socket) -> AsyncIterator[WorkerProcess]:
    made = await WorkerProcess.spawn(listener)
    yield made
    await made.kill()


async def serve(worker: WorkerProcess, config: Config) -> None:
    assert (await worker.begin(config, 1), await worker.accept()) == ("", "")


async def test_it_serves_reports_and_drains(listener: socket.socket, worker: WorkerProcess) -> None:
    held, port = Held(), listener.getsockname()[1]
    async with StubUpstream() as upstream:
        upstream.script("/public/held", held)
        await serve(worker, config_of(upstream.url))
        async with RawClient(port) as client:
            await client.send(request("GET", "/public/held"))
            await upstream.wait(lambda: bool(upstream.requests))
            drained = worker.drain()
            await worker.report()
            assert worker.state is not None
            assert worker.state.figures["in_flight"] == 1
            held.go.set()
            await drained
            [answer] = await client.read_answers()
        assert answer.status == 200
    assert worker.deaf.is_set()
    assert worker.ended.result() == 0
    with pytest.raises(ChannelClosed):
        await worker.report()


async def test_it_is_nobody_s_business_what_the_folder_holds_that_we_were_started_in(
    listener: socket.socket, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "aiohttp.py").write_text("raise SystemExit('taken from the folder')")
    monkeypatch.chdir(tmp_path)
    worker = await WorkerProcess.spawn(listener)
    try:
        assert (await worker.begin(config_of("http://127.0.0.1:1"), 1), await worker.accept()) == (
            "",
            "",
        )
    finally:
        await worker.kill()


async def test_one_that_has_ended_is_lent_nothing(
    listener: socket.socket, worker: WorkerProcess
) -> None:
    """It is told as its end, as to whoever else asks: what fails otherwise is tried again."""
    await worker.kill()
    with pytest.raises(ChannelClosed):
        await worker.borrow(lambda: {2: listener})


async def test_one_that_is_killed_is_noticed(worker: WorkerProcess) -> None:
    assert (await worker.begin(config_of("http://127.0.0.1:1"), 1), await worker.accept()) == (
        "",
        "",
    )
    os.kill(worker.pid, signal.SIGKILL)
    await worker.stand()
    assert worker.ended.result() == -signal.SIGKILL


async def test_a_terminal_s_interrupt_is_not_for_it(
    listener: socket.socket, worker: WorkerProcess
) -> None:
    async with StubUpstream() as upstream:
        await serve(worker, config_of(upstream.url))
        assert os.getsid(worker.pid) != os.getsid(0)
        os.kill(worker.pid, signal.SIGINT)
        os.kill(worker.pid, signal.SIGHUP)
        port = listener.getsockname()[1]
        assert (await exchange(port, request("GET", "/public/x"))).status == 200


async def test_a_term_is(worker: WorkerProcess) -> None:
    assert (await worker.begin(config_of("http://127.0.0.1:1"), 1), await worker.accept()) == (
        "",
        "",
    )
    os.kill(worker.pid, signal.SIGTERM)
    assert await worker.ended == 0


async def test_a_process_that_cannot_be_started_leaves_nothing_open(
    listener: socket.socket, monkeypatch: pytest.MonkeyPatch
) -> None:
    pairs: list[tuple[socket.socket, socket.socket]] = []
    pair = socket.socketpair

    def noted(*kind: int) -> tuple[socket.socket, socket.socket]:
        pairs.append(pair(*kind))
        return pairs[-1]

    monkeypatch.setattr("socket.socketpair", noted)
    monkeypatch.setattr("sys.executable", "/nowhere/python")
    with pytest.raises(FileNotFoundError):
        await WorkerProcess.spawn(listener)
    assert [end.fileno() for pair in pairs for end in pair] == [-1] * 4


async def test_it_accepts_for_another_one_until_the_socket_goes_back(
    listener: socket.socket, worker: WorkerProcess
) -> None:
    assert (await worker.begin(config_of("http://127.0.0.1:1"), 1), await worker.accept()) == (
        "",
        "",
    )
    with socket.create_server(("127.0.0.1", 0)) as other:
        port = other.getsockname()[1]
        for _ in range(2):
            for _ in range(2):
                await worker.borrow(lambda: {2: other})
            assert (await exchange(port, request("GET", "/nowhere"))).status == 404
            await worker.borrow(dict)
            with socket.create_connection(("127.0.0.1", port)):
                assert (await exchange(listener.getsockname()[1], request("GET", "/"))).status
                assert select.select([other], [], [], 30)[0] == [other]
                other.accept()[0].close()


async def test_one_that_departs_serves_until_it_drains(
    listener: socket.socket, worker: WorkerProcess
) -> None:
    assert (await worker.begin(config_of("http://127.0.0.1:1"), 1), await worker.accept()) == (
        "",
        "",
    )
    port = listener.getsockname()[1]
    await worker.depart(0.0)
    await worker.report()
    assert worker.state is not None
    assert (worker.state.ready, worker.state.word) == (False, "draining")
    assert (await exchange(port, request("GET", "/nowhere"))).status == 404
    assert not worker.deaf.is_set()
    await worker.drain()
    assert worker.ended.result() == 0
