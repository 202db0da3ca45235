"""proxy/upstream/resolve.py: names become addresses, by the machine's own resolver."""

from __future__ import annotations

import asyncio
import socket
from typing import Any, cast

import pytest

from proxy.upstream.resolve import look_up

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


class Loop:
    """Answers look-ups as getaddrinfo does; `connected` says that there is a network."""

    def __init__(self, *, connected: bool) -> None:
        self.flags: list[int] = []
        self._connected = connected

    async def getaddrinfo(self, _host: str, port: int, **how: int) -> list[Any]:
        self.flags.append(how.get("flags", 0))
        if how.get("flags") and not self._connected:
            raise socket.gaierror(socket.EAI_NONAME, "Name or service not known")
        four = (socket.AF_INET, socket.SOCK_STREAM, 6, "", ("10.0.0.2", port))
        again = (socket.AF_INET, socket.SOCK_STREAM, 6, "", ("10.0.0.1", port))
        six = (socket.AF_INET6, socket.SOCK_STREAM, 6, "", ("fd00::1", port, 0, 0))
        return [four, six, again, four]


@pytest.mark.parametrize(("connected", "asked"), [(True, 1), (False, 2)])
async def test_both_families_count_in_one_order(connected: bool, asked: int) -> None:
    loop = Loop(connected=connected)
    found = await look_up(cast("asyncio.AbstractEventLoop", loop), "api", 80)
    assert found == ["10.0.0.1", "10.0.0.2", "fd00::1"]
    assert loop.flags == [socket.AI_ADDRCONFIG, 0][:asked]
