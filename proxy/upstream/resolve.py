"""From a name to addresses, by the system's own resolver.

getaddrinfo(3) knows what the other programs of the machine know: /etc/hosts, the search list that
makes `api.default.svc` a name in Kubernetes, the container network's server. It does not tell how
long an answer holds (its TTL), so names are looked up again at an interval. No address is cached
here or there, unless the system does it.

It blocks, for half a minute where a name server is silent, and nothing ends it before. The loops
have a few threads for it, which all names share, and each request for a name would wait in their
queue: one name that hangs would keep all others from being found, long after it hangs no more. So
a look-up has a thread of its own, and stands for all who ask within a second.
"""

from __future__ import annotations

import asyncio
import socket
from contextlib import suppress
from errno import EAGAIN
from ipaddress import ip_address
from threading import Thread
from time import monotonic
from typing import Final

_AGAIN: Final = 1.0
"""Seconds from which a look-up is no longer waited for by others: its datagram may be lost, for
which the system takes five to send another.
"""

_Asked = tuple[asyncio.AbstractEventLoop, str, int, int]
"""On which loop, host, port, flags."""
_Found = asyncio.Future[list[str]]

_under_way: dict[_Asked, tuple[float, _Found]] = {}
"""Since when, and what will be found."""


async def look_up(loop: asyncio.AbstractEventLoop, host: str, port: int) -> list[str]:
    """Return the addresses of `host`, A and AAAA, sorted. Raises OSError (socket.gaierror).

    AI_ADDRCONFIG leaves out those of a family in which this machine has no address beside the
    loopback; where nothing is left, as without any network, all of them count.
    """
    try:
        found = await _ask((loop, host, port, socket.AI_ADDRCONFIG))
    except socket.gaierror:
        found = await _ask((loop, host, port, 0))
    return sorted(found)


async def to_try(loop: asyncio.AbstractEventLoop, host: str, port: int) -> list[str]:
    """Return the addresses of `host` to connect to, in the system's order (RFC 6724). Raises
    OSError (socket.gaierror).
    """
    with suppress(ValueError):
        ip_address(host)
        return [host]
    return await _ask((loop, host, port, 0))


async def _ask(asked: _Asked) -> list[str]:
    """Wait for the look-up that is under way, or begin one. Raises OSError."""
    now = monotonic()
    began, found = _under_way.get(asked, (now - _AGAIN, None))
    if found is None or now - began >= _AGAIN:
        found = asked[0].create_future()
        found.add_done_callback(_heard)
        try:
            Thread(target=_find, args=(asked, found), name="look-up", daemon=True).start()
        except RuntimeError as error:  # as where a container may have no more of them
            raise OSError(EAGAIN, "there is no thread to look the name up in") from error
        _under_way[asked] = now, found
    await asyncio.wait({found})  # it is not ours to cancel
    return found.result()


def _heard(found: _Found) -> None:
    """Nobody need hear of a failure: who asked may have left."""
    if not found.cancelled():
        found.exception()


def _find(asked: _Asked, found: _Found) -> None:
    """Look up, in a thread."""
    loop, host, port, flags = asked
    addresses: list[str] = []
    failure: Exception | None = None
    try:
        rows = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM, flags=flags)
        addresses = list(dict.fromkeys(str(where[0]) for *_, where in rows))
    except UnicodeError:
        failure = socket.gaierror(socket.EAI_NONAME, "it is no name")
    except Exception as error:  # noqa: BLE001 - else who asked would wait for ever
        failure = error
    try:
        loop.call_soon_threadsafe(_tell, asked, found, addresses, failure)
    except RuntimeError:  # the loop has been closed meanwhile
        _under_way.pop(asked, None)


def _tell(asked: _Asked, found: _Found, addresses: list[str], failure: Exception | None) -> None:
    if _under_way.get(asked, (0.0, None))[1] is found:
        del _under_way[asked]
    if found.done():
        return
    if failure is None:
        found.set_result(addresses)
    else:
        found.set_exception(failure)
