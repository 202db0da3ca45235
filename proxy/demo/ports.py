"""Finding a port for the page: a familiar one if it is free, on every loopback address at once."""

from __future__ import annotations

import errno
import os
import socket
from collections.abc import Sequence
from typing import Final

FIRST_PORT: Final = 3000
"""Where web apps under development usually are; one that is running already is stepped over."""
TRIES: Final = 10

# In some systems' reserved ranges a port may not be taken (EACCES).
_NOT_OURS: Final = frozenset({errno.EADDRINUSE, errno.EACCES})
_NO_IPV6: Final = frozenset({errno.EADDRNOTAVAIL, errno.EAFNOSUPPORT})


def bind_loopback(port: int) -> list[socket.socket]:
    """Return sockets that listen on `port` of 127.0.0.1 and, where there is IPv6, of ::1.

    Browsers try both for "localhost", so a port counts as free only if nobody has either. With
    port 0 the system chooses. Raises OSError (EADDRINUSE) when the port is taken.
    """
    return _bind_first((port,) if port else (0,) * TRIES)


def bind_first_free() -> list[socket.socket]:
    """Return `bind_loopback` of the first free port from FIRST_PORT on, else of any free port."""
    return _bind_first((*range(FIRST_PORT, FIRST_PORT + TRIES), *(0,) * TRIES))


def _bind_first(ports: Sequence[int]) -> list[socket.socket]:
    for port in ports[:-1]:
        try:
            return _bind_both(port)
        except OSError as error:
            if error.errno not in _NOT_OURS:
                raise
    return _bind_both(ports[-1])


def _bind_both(port: int) -> list[socket.socket]:
    first = _bound(socket.AF_INET, "127.0.0.1", port)
    try:
        return [first, _bound(socket.AF_INET6, "::1", first.getsockname()[1])]
    except OSError as error:
        if error.errno in _NO_IPV6:
            return [first]
        first.close()
        raise


def _bound(family: socket.AddressFamily, address: str, port: int) -> socket.socket:
    made = socket.socket(family, socket.SOCK_STREAM)
    try:
        if os.name == "posix":
            # Without it a port is taken for a minute after the demo was stopped. (On Windows the
            # option means that two may have one port.)
            made.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        if family is socket.AF_INET6:
            made.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)
        made.bind((address, port))
        # Only a listening socket keeps others away from a port that both have set REUSEADDR on.
        made.listen(128)
    except OSError:
        made.close()
        raise
    return made
