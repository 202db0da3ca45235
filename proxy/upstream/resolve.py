"""From a name to addresses, by the system's own resolver.

getaddrinfo(3) knows what the other programs of the machine know: /etc/hosts, the search list that
makes `api.default.svc` a name in Kubernetes, the container network's server. It does not tell how
long an answer holds (its TTL), so names are looked up again at an interval. No address is cached
here or there, unless the system does it.
"""

from __future__ import annotations

import socket
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import asyncio


async def look_up(loop: asyncio.AbstractEventLoop, host: str, port: int) -> list[str]:
    """Return the addresses of `host`, A and AAAA, sorted. Raises OSError (socket.gaierror).

    AI_ADDRCONFIG leaves out those of a family in which this machine has no address beside the
    loopback; where nothing is left, as without any network, all of them count.
    """
    try:
        found = await loop.getaddrinfo(
            host, port, type=socket.SOCK_STREAM, flags=socket.AI_ADDRCONFIG
        )
    except socket.gaierror:
        found = await loop.getaddrinfo(host, port, type=socket.SOCK_STREAM)
    return sorted({str(where[0]) for _, _, _, _, where in found})
