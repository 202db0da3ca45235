"""Endpoints die, hang, slow down, come back and move under load: no request fails that could have
been served. Gateway and endpoints are processes of their own.

These are short. To run them at full length (a minute or two each):

    GATELODGE_NEVER_DROPS=1 pytest -s tests/e2e/test_endpoints_under_load.py

What may fail is what nobody could have served: a request that must not be repeated and that an
endpoint had when it died (its record or the gateway's log says so), an answer that broke off after
its first byte, and a WebSocket of an endpoint that died.
"""

from __future__ import annotations

import asyncio
import os
import signal
import sys
from collections import Counter
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import AsyncExitStack
from pathlib import Path
from typing import Any, Final

import pytest
import pytest_asyncio
import yaml

from tests.support.endpoint import POINTS, EndpointProcess, Record
from tests.support.gateway import GatewayProcess
from tests.support.load import Failure, Load, Plan, kind_of
from tests.support.ports import free_port
from tests.support.worker import settings, signed_in

pytestmark = pytest.mark.slow

FULL: Final = bool(os.environ.get("GATELODGE_NEVER_DROPS"))
RATE: Final = 150.0 if FULL else 60.0
WORKERS: Final = [1, 2] if FULL else [1]
ROUNDS: Final = 3 if FULL else 1
SPELL: Final = int(RATE * 3) if FULL else 60
"""Answers that each state of affairs lasts for."""
PLAN: Final = Plan(rate=RATE, sockets=3, headers=signed_in() + "\r\n")
HEALTH: Final = {"path": "/health", "interval": "100ms", "timeout": "1s", "rise": 1, "fall": 1}
EJECT: Final = {"failures": 3, "window": "10s", "base": "500ms"}
TIMEOUTS: Final = {"connect": "2s", "first_byte": "3s"}
SENT: Final = ("upstream_protocol", "upstream_timeout")
"""Codes of answers after the request went out."""
ENDED: Final = "the pooled connection had ended"


@pytest_asyncio.fixture
async def endpoints(tmp_path: Path) -> AsyncIterator[list[EndpointProcess]]:
    async with AsyncExitStack() as stack:
        made = [EndpointProcess(tmp_path, name) for name in "abc"]
        for each in made:
            await stack.enter_async_context(each)
        yield made


def text_of(upstream: dict[str, Any], **sections: Any) -> str:
    rules = {"health": HEALTH, "eject": EJECT, "timeouts": TIMEOUTS}
    config = settings(upstream={**rules, **upstream}, **sections)
    if "dns" in upstream:
        del config["upstreams"]["api"]["endpoints"]
    return yaml.safe_dump(config, sort_keys=False)


def record_of(endpoints: Sequence[EndpointProcess]) -> Record:
    record = Record()
    for each in endpoints:
        record.add(each.file.read_text())
    return record


class Judge:
    """Tells which failures are nobody's fault. `victims`: the endpoints that were harmed."""

    def __init__(
        self,
        gateway: GatewayProcess,
        endpoints: Sequence[EndpointProcess],
        victims: Sequence[EndpointProcess],
    ) -> None:
        self.record = record_of(endpoints)
        self._victims = {each.url for each in victims}
        self._lines = {
            line["path"]: line for line in gateway.log_lines() if line["event"] == "request"
        }

    def inexcusable(self, load: Load) -> list[Failure]:
        """Return the failures that need not have been."""
        return [each for each in load.failed if not self._is_excused(each)]

    def _is_excused(self, failure: Failure) -> bool:
        target = failure.target
        if failure.what == "websocket":
            # It was open, or its endpoint had it: there is no other to go on with it.
            return self.record.begun[target] > 0
        if target in self.record.died and self.record.died[target] != "before the head":
            return self.record.died[target] != "after the answer"
        if failure.what.startswith("get"):
            return False
        return self.record.begun[target] > 0 or self._had_left(target)

    def _had_left(self, target: str) -> bool:
        """Whether a POST had gone out to a victim, which died before it read any of it."""
        line = self._lines.get(target)
        if line is None or line["endpoint"] not in self._victims:
            return False
        return line["code"] in SENT or line["reason"] == ENDED

    def executed_twice(self, failed: Sequence[Failure]) -> list[str]:
        """Return the POSTs that were executed more than once, or failed and might have been."""
        posts = [target for target in self.record.executed if is_post(target)]
        assert posts
        begun = [each.target for each in failed if self.record.begun[each.target] > 1]
        return [
            *(target for target in posts if self.record.executed[target] > 1),
            *filter(is_post, begun),
        ]


def is_post(target: str) -> bool:
    number = target.rpartition("/")[2]
    return number.isdecimal() and kind_of(int(number)) != "get"


def told(what: str, load: Load, judge: Judge) -> None:
    excused = Counter(each.what for each in load.failed)
    print(f"\n{what}: {load.report}\nnobody could have served: {dict(excused)}")
    print(f"answered by, all in all: {sum(judge.record.executed.values())}")


async def used_again(endpoint: EndpointProcess, load: Load) -> None:
    """Wait until the gateway sends requests to an endpoint again."""
    before = len(requests_of(endpoint))
    while len(requests_of(endpoint)) < before + 3:
        await load.reach(5)


def requests_of(endpoint: EndpointProcess) -> list[str]:
    return [line for line in endpoint.file.read_text().splitlines() if "/health" not in line]


async def kill(endpoint: EndpointProcess, load: Load) -> None:
    await endpoint.kill()
    await load.reach(SPELL)
    await endpoint.start()


async def stop(endpoint: EndpointProcess, load: Load) -> None:
    await endpoint.terminate()
    await load.reach(SPELL)
    await endpoint.start()


async def restart(endpoint: EndpointProcess, load: Load) -> None:
    del load
    await endpoint.terminate()
    await endpoint.start()


async def hang(endpoint: EndpointProcess, load: Load) -> None:
    endpoint.signal(signal.SIGSTOP)
    await load.reach(SPELL)
    endpoint.signal(signal.SIGCONT)


async def fall_silent(endpoint: EndpointProcess, load: Load) -> None:
    endpoint.mode = "mute"
    await load.reach(SPELL)
    endpoint.mode = "well"


async def slow_down(endpoint: EndpointProcess, load: Load) -> None:
    endpoint.mode = "slow"
    await load.reach(SPELL)
    endpoint.mode = "well"


Fault = Callable[[EndpointProcess, Load], Awaitable[None]]
FAULTS: Final[list[Fault]] = [kill, stop, restart, hang, fall_silent, slow_down]


@pytest.mark.parametrize("workers", WORKERS)
@pytest.mark.parametrize("fault", FAULTS)
async def test_one_of_three(
    endpoints: list[EndpointProcess], tmp_path: Path, fault: Fault, workers: int
) -> None:
    text = text_of({"endpoints": [each.url for each in endpoints]}, workers=workers)
    async with GatewayProcess(text, tmp_path) as gateway:
        async with Load(gateway.port, PLAN) as load:
            await load.reach(2 * SPELL)
            victims = endpoints * ROUNDS if FULL else endpoints[:1]
            for victim in victims:
                await fault(victim, load)
                await used_again(victim, load)
                # Who waits for this one in vain must not meet the next one that does not answer.
                await load.settle()
            await load.reach(SPELL)
        await gateway.terminate()
        judge = Judge(gateway, endpoints, victims)
        told(f"{fault.__name__}, workers {workers}", load, judge)
        assert judge.inexcusable(load) == []
        assert judge.executed_twice(load.failed) == []
        if fault is slow_down:
            assert load.failed == []


@pytest.mark.parametrize("workers", WORKERS)
async def test_all_one_after_the_other(
    endpoints: list[EndpointProcess], tmp_path: Path, workers: int
) -> None:
    text = text_of({"endpoints": [each.url for each in endpoints]}, workers=workers)
    async with GatewayProcess(text, tmp_path) as gateway:
        async with Load(gateway.port, PLAN) as load:
            await load.reach(SPELL)
            for endpoint in endpoints * ROUNDS:
                await endpoint.terminate()
                await endpoint.start()
                await used_again(endpoint, load)
        await gateway.terminate()
        judge = Judge(gateway, endpoints, endpoints)
        told(f"all restart in turn, workers {workers}", load, judge)
        assert judge.inexcusable(load) == []
        assert judge.executed_twice(load.failed) == []


@pytest.mark.parametrize("workers", WORKERS)
async def test_all_at_once(endpoints: list[EndpointProcess], tmp_path: Path, workers: int) -> None:
    text = text_of({"endpoints": [each.url for each in endpoints]}, workers=workers)
    async with GatewayProcess(text, tmp_path) as gateway:
        async with Load(gateway.port, PLAN) as load:
            for _ in range(ROUNDS):
                await load.reach(SPELL)
                await asyncio.gather(*(each.kill() for each in endpoints))
                # As soon as health has seen it, whatever comes is told so.
                await failures(load, lambda: all(map(is_refused, load.failed[-SPELL:])))
                await asyncio.gather(*(each.start() for each in endpoints))
                for endpoint in endpoints:
                    await used_again(endpoint, load)
                up = len(load.failed)
                await load.reach(SPELL)
                assert load.failed[up:] == []
        await gateway.terminate()
        judge = Judge(gateway, endpoints, endpoints)
        told(f"all die at once, workers {workers}", load, judge)
        cut = [each for each in load.failed if each.what == "websocket" and each.status is None]
        assert {each.status for each in load.failed if each not in cut} <= {502, 503}
        assert judge.executed_twice(load.failed) == []


async def failures(load: Load, hold: Callable[[], bool]) -> None:
    """Wait until it holds of the failures; there must be new ones."""
    before = len(load.failed)
    while len(load.failed) < before + SPELL or not hold():  # noqa: ASYNC110 - nobody tells
        await asyncio.sleep(0.05)


def is_refused(failure: Failure) -> bool:
    return failure.status == 503 and "no_endpoint" in failure.why


@pytest.mark.parametrize("workers", WORKERS)
async def test_answers_that_break_off(
    endpoints: list[EndpointProcess], tmp_path: Path, workers: int
) -> None:
    """One endpoint breaks off at every point in turn; the driver would take no cut answer for
    whole, nor a whole one for cut.
    """
    text = text_of({"endpoints": [each.url for each in endpoints]}, workers=workers)
    endpoints[0].mode = "dying"
    async with GatewayProcess(text, tmp_path) as gateway:
        async with Load(gateway.port, PLAN) as load:
            while (
                len(set(died := endpoints[0].record.died.values())) < 7
                or len(died) < 4 * SPELL / 10
            ):
                await load.reach(5)
        await gateway.terminate()
        judge = Judge(gateway, endpoints, endpoints[:1])
        told(f"answers break off, workers {workers}", load, judge)
        assert set(judge.record.died.values()) == set(POINTS)
        assert judge.inexcusable(load) == []
        assert judge.executed_twice(load.failed) == []
        assert {each.status for each in load.failed} <= {None, 502}
        # What broke off within the answer cannot have been served: nobody has hidden it.
        broken = [
            target
            for target, point in judge.record.died.items()
            if point not in ("before the head", "after the answer") and "/api/" in target
        ]
        assert set(broken) <= {each.target for each in load.failed}


@pytest.mark.skipif(
    sys.platform != "linux" or os.geteuid() != 0, reason="mounts a file over /etc/hosts: needs root"
)
@pytest.mark.parametrize("workers", WORKERS)
async def test_dns_changes(tmp_path: Path, workers: int) -> None:
    """The gateway asks the system; that one's answers come from a file."""
    hosts = tmp_path / "hosts"
    port = free_port("127.0.0.2")
    addresses = ["127.0.0.2", "127.0.0.3", "127.0.0.4", "::1"]
    states = [addresses[:2], addresses[1:3], [], addresses[2:], addresses[3:], [], addresses]
    hosts.write_text(named(addresses[:1]))
    async with AsyncExitStack() as stack:
        endpoints = [
            EndpointProcess(tmp_path, name, host, port)
            for name, host in zip("abcd", addresses, strict=True)
        ]
        for each in endpoints:
            await stack.enter_async_context(each)
        dns = {"name": f"api.gatelodge.test:{port}", "interval": "100ms"}
        gateway = GatewayProcess(text_of({"dns": dns}, workers=workers), tmp_path, hosts=hosts)
        await stack.enter_async_context(gateway)
        async with Load(gateway.port, PLAN) as load:
            await load.reach(SPELL)
            for state in states * ROUNDS:
                hosts.write_text(named(state))
                await load.reach(SPELL // 2)
                for endpoint, address in zip(endpoints, addresses, strict=True):
                    if address in state:
                        await used_again(endpoint, load)
                if state:
                    await none_but(state, endpoints, load)
        await gateway.terminate()
        judge = Judge(gateway, endpoints, [])
        told(f"dns changes, workers {workers}", load, judge)
        assert load.failed == []
        assert judge.executed_twice([]) == []


def named(addresses: Sequence[str]) -> str:
    """Return the file that gives these addresses, and no others, to the endpoints' name."""
    return "127.0.0.1 localhost\n" + "".join(f"{each} api.gatelodge.test\n" for each in addresses)


async def none_but(state: Sequence[str], endpoints: Sequence[EndpointProcess], load: Load) -> None:
    """Wait until only endpoints in `state` get requests."""
    gone = [each for each in endpoints if each.host not in state]
    while True:
        before = [len(requests_of(each)) for each in gone]
        await load.reach(10)
        if [len(requests_of(each)) for each in gone] == before:
            return
