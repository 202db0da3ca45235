"""proxy/upstream/resolve.py: names become addresses, by the machine's own resolver."""

from __future__ import annotations

import asyncio
import gc
import socket
from collections.abc import Iterator
from threading import Event, Thread
from typing import Any

import pytest

from proxy.upstream import resolve
from proxy.upstream.resolve import look_up, to_try

BOTH_LOOPS = True


async def test_a_name_of_the_hosts_file_is_known() -> None:
    found = await look_up(asyncio.get_running_loop(), "localhost", 80)
    assert found == sorted(set(found))
    assert set(found) & {"127.0.0.1", "::1"}


async def test_an_address_is_its_own() -> None:
    loop = asyncio.get_running_loop()
    assert await look_up(loop, "127.0.0.1", 80) == ["127.0.0.1"]
    assert await look_up(loop, "::1", 80) == ["::1"]


async def test_a_name_that_is_not_known_is_an_error_of_the_system() -> None:
    # RFC 6761 section 6.4: no name below "invalid" exists.
    with pytest.raises(OSError, match=r".") as caught:
        await look_up(asyncio.get_running_loop(), "api.invalid", 80)
    assert isinstance(caught.value, socket.gaierror)


Rows = list[tuple[Any, ...]]


def row(host: str, port: int = 80) -> tuple[Any, ...]:
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    return family, socket.SOCK_STREAM, 6, "", (host, port)


class System:
    """Answers as getaddrinfo does; `connected` says that there is a network. A look-up of "hangs"
    ends when `go` is set.
    """

    def __init__(self, *, connected: bool = True) -> None:
        self.asked: list[tuple[str, int]] = []
        self.go = Event()
        self._connected = connected

    def getaddrinfo(self, host: str, port: int, **how: int) -> Rows:
        self.asked.append((host, how["flags"]))
        if host == "hangs":
            self.go.wait(10)
            raise socket.gaierror(socket.EAI_AGAIN, "Temporary failure in name resolution")
        if how["flags"] and not self._connected:
            raise socket.gaierror(socket.EAI_NONAME, "Name or service not known")
        return [row(each, port) for each in ("10.0.0.2", "fd00::1", "10.0.0.1", "10.0.0.2")]


@pytest.fixture
def system(monkeypatch: pytest.MonkeyPatch) -> Iterator[System]:
    system = System()
    monkeypatch.setattr(socket, "getaddrinfo", system.getaddrinfo)
    yield system
    system.go.set()


@pytest.mark.parametrize(("connected", "asked"), [(True, 1), (False, 2)])
async def test_both_families_count_in_one_order(
    system: System, connected: bool, asked: int
) -> None:
    system._connected = connected
    found = await look_up(asyncio.get_running_loop(), "api", 80)
    assert found == ["10.0.0.1", "10.0.0.2", "fd00::1"]
    assert [flags for _, flags in system.asked] == [socket.AI_ADDRCONFIG, 0][:asked]


async def test_addresses_are_tried_in_the_order_of_the_system(system: System) -> None:
    loop = asyncio.get_running_loop()
    assert await to_try(loop, "api", 80) == ["10.0.0.2", "fd00::1", "10.0.0.1"]
    assert await to_try(loop, "::1", 80) == ["::1"]
    assert await to_try(loop, "127.0.0.1", 80) == ["127.0.0.1"]
    assert system.asked == [("api", 0)]


async def test_a_name_that_hangs_keeps_no_other_from_being_found(system: System) -> None:
    loop = asyncio.get_running_loop()
    asking = [asyncio.ensure_future(to_try(loop, "hangs", 80)) for _ in range(100)]
    await asyncio.sleep(0)
    async with asyncio.timeout(5):
        assert await to_try(loop, "api", 80)
    assert sorted(system.asked) == [("api", 0), ("hangs", 0)]
    system.go.set()
    failures = await asyncio.gather(*asking, return_exceptions=True)
    assert {type(each) for each in failures} == {socket.gaierror}
    assert resolve._under_way == {}


async def test_a_look_up_that_takes_long_is_not_waited_for_by_others(
    system: System, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(resolve, "_AGAIN", 0.0)
    loop = asyncio.get_running_loop()
    asking = [asyncio.ensure_future(to_try(loop, "hangs", 80)) for _ in range(2)]
    await asyncio.sleep(0)
    system.go.set()
    await asyncio.gather(*asking, return_exceptions=True)
    assert system.asked == [("hangs", 0)] * 2
    assert resolve._under_way == {}


async def test_a_failure_that_nobody_waits_for_any_more_is_nobodys_business(system: System) -> None:
    loop, told = asyncio.get_running_loop(), list[Any]()
    loop.set_exception_handler(lambda _loop, context: told.append(context))
    asking = asyncio.ensure_future(to_try(loop, "hangs", 80))
    await asyncio.sleep(0)
    asking.cancel()
    system.go.set()
    async with asyncio.timeout(5):
        while resolve._under_way:  # noqa: ASYNC110 - it tells nobody
            await asyncio.sleep(0.001)
    gc.collect()
    assert told == []


async def test_who_leaves_takes_the_answer_from_nobody(system: System) -> None:
    loop = asyncio.get_running_loop()
    leaves, stays = (asyncio.ensure_future(to_try(loop, "hangs", 80)) for _ in range(2))
    await asyncio.sleep(0)
    leaves.cancel()
    await asyncio.sleep(0)
    system.go.set()
    with pytest.raises(socket.gaierror, match="Temporary"):
        await stays
    assert leaves.cancelled()


async def test_where_no_thread_can_be_it_fails_as_look_ups_do(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """A gateway that has all the threads it may have is busy, and not faulty."""

    def start(_: Thread) -> None:
        raise RuntimeError("can't start new thread")

    monkeypatch.setattr(Thread, "start", start)
    with pytest.raises(OSError, match="no thread"):
        await to_try(asyncio.get_running_loop(), "api", 80)
    assert resolve._under_way == {}


async def test_what_is_no_name_is_an_error_of_the_system() -> None:
    with pytest.raises(socket.gaierror, match="no name"):
        await look_up(asyncio.get_running_loop(), "a" * 64 + ".test", 80)
