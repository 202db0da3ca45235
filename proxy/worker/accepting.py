"""The sockets that a worker accepts connections from: its own, and those that it has on loan."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Final

from proxy.worker.sockets import BACKLOG, has_callers

if TYPE_CHECKING:
    import socket
    from collections.abc import Callable

OWN: Final = 0
"""The key of a worker's own socket; others have the number of the worker whose they are."""
_LAST_CALLS: Final = 100
"""Turns of the loop for which connections may go on to come before the sockets are closed."""
_LAST_STEPS: Final = 5
"""Turns of the loop until a connection that was taken from the queue has its protocol: one with
uvloop, up to three with asyncio.
"""


class Accepting:
    """Accepts from every socket that was added, until it is removed or all are closed.

    `factory` makes the protocol of a connection.
    """

    def __init__(self, factory: Callable[[], asyncio.BaseProtocol]) -> None:
        self._factory = factory
        self._sockets: dict[int, socket.socket] = {}
        self._servers: dict[int, asyncio.Server] = {}
        self._ended = False

    def __repr__(self) -> str:
        return f"<Accepting {list(self._servers)}>"

    async def add(self, key: int, listener: socket.socket) -> None:
        """Accept from `listener`, too, which is ours from here on. Raises OSError."""
        if self._ended or key in self._servers:
            listener.close()
            return
        # Without a backlog the loop would set its own, of 100.
        server = await asyncio.get_running_loop().create_server(
            self._factory, sock=listener, backlog=BACKLOG
        )
        self._sockets[key], self._servers[key] = listener, server

    def remove(self, key: int) -> None:
        """Accept no more from a socket; who waits in its queue is left to those that do."""
        self._sockets.pop(key, None)
        if (server := self._servers.pop(key, None)) is not None:
            server.close()

    async def stop(self) -> None:
        """Close all at a moment at which nobody waits in a queue: the kernel would reset those.
        When it returns, every connection that was accepted has its protocol.
        """
        for _ in range(_LAST_CALLS):
            if not any(has_callers(each) for each in self._sockets.values()):
                break
            await asyncio.sleep(0)  # the loop accepts them
        self.close()
        for _ in range(_LAST_STEPS):
            await asyncio.sleep(0)

    def close(self) -> None:
        """Close all now."""
        self._ended = True
        for key in list(self._servers):
            self.remove(key)
