"""What a gateway does that may open fewer files than it has clients: real processes."""

from __future__ import annotations

import asyncio
import os
import resource
import time
from contextlib import AsyncExitStack
from pathlib import Path
from typing import Any

import pytest
import yaml

from tests.support.client import RawClient, exchange
from tests.support.gateway import GatewayProcess
from tests.support.upstream import StubUpstream
from tests.support.worker import request, settings

pytestmark = pytest.mark.slow


def text_of(upstream: StubUpstream, **sections: Any) -> str:
    return yaml.safe_dump(settings(upstream.url, health_path="/healthz", **sections))


async def test_with_few_files_fewer_clients_are_let_in_and_the_cause_is_told(
    tmp_path: Path,
) -> None:
    """A quarter of 400 is 100, since the upstream alone could take more than there are."""
    async with StubUpstream() as upstream, AsyncExitStack() as stack:
        gateway = GatewayProcess(text_of(upstream), tmp_path, open_files=400)
        await stack.enter_async_context(gateway)
        line = await gateway.wait_for_log(lambda line: "open_files" in line)
        assert (line["level"], line["open_files"], line["connections"]) == ("warning", 400, 100)
        assert "ulimit -Hn" in line["event"]
        clients = [RawClient(gateway.port) for _ in range(100)]
        for client in clients:
            await stack.enter_async_context(client)
            await client.send(request("GET", "/public/x"))
            await client.read_answers()
        refused = await exchange(gateway.port, request("GET", "/public/x"))
        health = await exchange(gateway.port, request("GET", "/healthz"))
        assert (refused.status, health.status) == (503, 200)


async def test_the_soft_limit_is_raised_to_what_is_needed(tmp_path: Path) -> None:
    async with StubUpstream() as upstream:
        gateway = GatewayProcess(text_of(upstream), tmp_path)
        before = resource.getrlimit(resource.RLIMIT_NOFILE)
        resource.setrlimit(resource.RLIMIT_NOFILE, (900, before[1]))
        try:
            gateway.spawn()
        finally:
            resource.setrlimit(resource.RLIMIT_NOFILE, before)
        try:
            await gateway.wait_for_log(lambda line: line.get("listener") == "main")
            raised, _ = resource.prlimit(gateway.process.pid, resource.RLIMIT_NOFILE)
            assert raised > 900
        finally:
            await gateway.terminate()


async def test_a_gateway_without_files_neither_spins_nor_dies(tmp_path: Path) -> None:
    """The kernel says EMFILE at accept: those connections are lost, and nothing else."""
    async with (
        StubUpstream() as upstream,
        GatewayProcess(text_of(upstream), tmp_path) as gateway,
        RawClient(gateway.port) as early,
    ):
        await early.send(request("GET", "/public/x"))
        assert (await early.read_answers())[0].status == 200
        pid = gateway.process.pid
        open_now = len(os.listdir(f"/proc/{pid}/fd"))
        resource.prlimit(pid, resource.RLIMIT_NOFILE, (open_now + 20, open_now + 20))
        async with AsyncExitStack() as stack:
            clients = [RawClient(gateway.port) for _ in range(60)]
            for client in clients:
                await stack.enter_async_context(client)
            await clients[-1].wait(lambda: clients[-1].eof)
            assert 10 <= sum(not client.eof for client in clients) <= 20
            began, used = time.monotonic(), gateway.cpu_seconds()
            await asyncio.sleep(1)
            assert gateway.cpu_seconds() - used < (time.monotonic() - began) / 2
            await early.send(request("GET", "/healthz"))
            assert (await early.read_answers(2))[1].status == 200
        assert gateway.running

        async def answered() -> bool:
            try:
                return (await exchange(gateway.port, request("GET", "/public/x"))).status == 200
            except (OSError, AssertionError):
                return False

        async with asyncio.timeout(20):
            while not await answered():  # noqa: ASYNC110 - a process tells nobody that it has room
                await asyncio.sleep(0.05)
