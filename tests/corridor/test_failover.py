"""One of three endpoints is killed, stopped, made to hang or slow, or restarted, under load: no
request fails that could have been served, and none that must not be repeated is executed twice.
"""

from __future__ import annotations

import asyncio
import signal
from collections import Counter
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import AsyncExitStack
from pathlib import Path
from typing import Any

import pytest
import pytest_asyncio

from proxy.upstream import resolve
from tests.support.backend import Backend
from tests.support.client import RawClient
from tests.support.ports import free_port
from tests.support.worker import LocalGateway, request, settings

pytestmark = pytest.mark.slow

CLIENTS = 12
EJECT = {"failures": 3, "window": "10s", "base": "300ms"}
HEALTH = {"path": "/", "interval": "50ms", "timeout": "500ms", "rise": 1, "fall": 2}
TIMEOUTS = {"connect": "500ms", "first_byte": "500ms"}


class Load:
    """Clients that ask again and again, half of them on a new connection each time.

    `statuses` counts what they got; each request has its own number.
    """

    def __init__(self, port: int, method: str) -> None:
        self._port = port
        self._method = method
        self._number = 0
        self._stopping = False
        self._tasks: list[asyncio.Task[None]] = []
        self.statuses: Counter[int] = Counter()
        self.succeeded: set[int] = set()

    async def __aenter__(self) -> Load:
        self._tasks = [asyncio.create_task(self._client(at)) for at in range(CLIENTS)]
        return self

    async def __aexit__(self, *_error: object) -> None:
        self._stopping = True
        await asyncio.gather(*self._tasks)

    @property
    def count(self) -> int:
        """How many requests were answered."""
        return self.statuses.total()

    async def more(self, count: int) -> None:
        """Wait until that many more requests were answered."""
        wanted = self.count + count
        async with asyncio.timeout(60):
            while self.count < wanted:  # noqa: ASYNC110 - the load tells nobody
                await asyncio.sleep(0.01)

    async def _client(self, at: int) -> None:
        while not self._stopping:
            async with RawClient(self._port) as client:
                for asked in range(1, 2 if at % 2 else 20):
                    if not await self._ask(client, asked):
                        break

    async def _ask(self, client: RawClient, asked: int) -> bool:
        self._number += 1
        number = self._number
        body = b"x" if self._method == "POST" else None
        await client.send(request(self._method, "/public/x", f"X-Number: {number}", body=body))
        answers = await client.read_answers(asked)
        status = answers[-1].status if len(answers) == asked else 0
        self.statuses[status] += 1
        if status == 200:
            self.succeeded.add(number)
        return status != 0


@pytest_asyncio.fixture
async def backends(tmp_path: Path) -> AsyncIterator[list[Backend]]:
    async with AsyncExitStack() as stack:
        yield [
            await stack.enter_async_context(Backend(tmp_path, name))
            for name in ("one", "two", "three")
        ]


Fault = Callable[[Backend], Awaitable[None]]


async def kill(backend: Backend) -> None:
    await backend.kill()


async def stop(backend: Backend) -> None:
    backend.signal(signal.SIGSTOP)


async def hang(backend: Backend) -> None:
    backend.signal(signal.SIGUSR1)


async def slow(backend: Backend) -> None:
    backend.signal(signal.SIGUSR2)


async def again(backend: Backend) -> None:
    """End it, whatever its state, and start it anew."""
    await backend.kill()
    await backend.start()


async def go_on(backend: Backend) -> None:
    backend.signal(signal.SIGCONT)


FAULTS: dict[str, tuple[Fault, Fault]] = {
    "killed": (kill, Backend.start),
    "stopped": (stop, go_on),
    "hanging": (hang, again),
    "slow": (slow, again),
    "restarted": (again, again),
}
WAYS: dict[str, dict[str, Any]] = {
    "ejection": {"eject": EJECT},
    "checks": {"health": HEALTH},
    "both, by load": {"eject": EJECT, "health": HEALTH, "balance": "least_requests"},
}


@pytest.mark.parametrize("way", WAYS.values(), ids=WAYS)
@pytest.mark.parametrize("fault", FAULTS.values(), ids=FAULTS)
async def test_no_request_fails_that_another_endpoint_could_serve(
    backends: list[Backend], fault: tuple[Fault, Fault], way: dict[str, Any]
) -> None:
    begin, end = fault
    config = settings(*(each.url for each in backends), upstream={"timeouts": TIMEOUTS, **way})
    async with LocalGateway(config) as gateway, Load(gateway.port, "GET") as load:
        await load.more(300)
        await begin(backends[0])
        await load.more(600)
        await end(backends[0])
        await gateway.until(lambda: gateway.endpoints[0]["state"] == "up", deadline=30.0)
        seen = len(backends[0].numbers)
        await load.more(300)
        await gateway.until(lambda: len(backends[0].numbers) > seen, deadline=30.0)
    assert set(load.statuses) == {200}


@pytest.mark.parametrize("fault", FAULTS.values(), ids=FAULTS)
async def test_no_post_is_executed_twice(
    backends: list[Backend], fault: tuple[Fault, Fault]
) -> None:
    begin, end = fault
    keys = {"timeouts": TIMEOUTS, "eject": EJECT}
    config = settings(*(each.url for each in backends), upstream=keys)
    async with LocalGateway(config) as gateway, Load(gateway.port, "POST") as load:
        await load.more(200)
        await begin(backends[0])
        await load.more(300)
        await end(backends[0])
        await load.more(200)
    executed = Counter(number for backend in backends for number in backend.numbers)
    assert [number for number, times in executed.items() if times > 1] == []
    assert load.succeeded <= set(executed)
    # What failed had left for the endpoint that went away; there was nobody else to ask.
    assert set(load.statuses) <= {200, 502, 504}
    assert load.count - load.statuses[200] <= 3 * CLIENTS


class Dns:
    """Answers look-ups by what it holds: addresses, or an error."""

    def __init__(self, *addresses: str) -> None:
        self.answer: Sequence[str] | OSError = addresses
        self.asked = 0

    async def __call__(
        self, _loop: asyncio.AbstractEventLoop, _host: str, _port: int
    ) -> Sequence[str]:
        self.asked += 1
        if isinstance(self.answer, OSError):
            raise self.answer
        return self.answer


@pytest.mark.parametrize("method", ["GET", "POST"])
async def test_no_request_fails_while_dns_changes(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, method: str
) -> None:
    """Pods are replaced one after the other, and once DNS is away meanwhile."""
    dns = Dns("127.0.0.1")
    monkeypatch.setattr(resolve, "look_up", dns)
    async with AsyncExitStack() as stack:
        port = free_port("0.0.0.0")  # on each of their addresses
        old = await stack.enter_async_context(Backend(tmp_path, "pod1", port=port))
        pods = [
            Backend(tmp_path, f"pod{at}", host=f"127.0.0.{at}", port=port) for at in range(2, 6)
        ]
        config = settings(upstream={"dns": {"name": f"api.test:{port}", "interval": "20ms"}})
        del config["upstreams"]["api"]["endpoints"]
        for pod in pods:
            await stack.enter_async_context(pod)
        async with LocalGateway(config) as gateway, Load(gateway.port, method) as load:
            await load.more(200)
            for at, pod in enumerate(pods, 2):
                dns.answer = OSError(-3, "Temporary failure in name resolution")
                await load.more(100)
                dns.answer = (f"127.0.0.{at}",)
                await is_alone(gateway, pod)
                await old.kill()
                old = pod
                await load.more(100)
    assert set(load.statuses) == {200}


async def is_alone(gateway: LocalGateway, pod: Backend) -> None:
    """Wait until all requests go to `pod`, and what the one before it had is finished."""
    pool = gateway.worker._gateway.snapshot.pools["api"]
    await gateway.until(lambda: [each.name for each in pool.endpoints] == [pod.url])
    await gateway.until(lambda: pool.open == pool.endpoints[0].open)
