"""What systemd and its relatives hand to a service, and want to be told by it.

sd_listen_fds(3): sockets that are open before the service starts, so that no connection is refused
while it restarts. sd_notify(3): when it is ready, reloads and stops.
"""

from __future__ import annotations

import asyncio
import logging
import os
import socket
import time
from collections.abc import MutableMapping
from typing import Final

_log = logging.getLogger("gatelodge.worker")

_FIRST: Final = 3
"""The first descriptor that is handed over (SD_LISTEN_FDS_START)."""


def take_sockets(env: MutableMapping[str, str]) -> list[socket.socket]:
    """Return the sockets that were handed over to this very process, and take the variables away,
    since a child must not take them for its own.
    """
    count, pid = env.pop("LISTEN_FDS", ""), env.pop("LISTEN_PID", "")
    env.pop("LISTEN_FDNAMES", None)
    if pid != str(os.getpid()) or not count.isdecimal():
        return []
    found = []
    for descriptor in range(_FIRST, _FIRST + int(count)):
        os.set_inheritable(descriptor, False)
        found.append(socket.socket(fileno=descriptor))
    return found


class Notifier:
    """Tells the service manager what goes on; does nothing when there is none."""

    def __init__(self, env: MutableMapping[str, str]) -> None:
        # Taken away, so that a child does not speak in our name.
        self._address = env.pop("NOTIFY_SOCKET", "")
        self.interval = _watchdog(env)
        """Seconds after which it wants to hear `alive` again, at half of its patience; 0: never."""

    def __repr__(self) -> str:
        return f"<Notifier {self._address or 'nobody'}>"

    def ready(self) -> None:
        """Say that requests are answered, also after a reload."""
        self._tell("READY=1")

    def reloading(self) -> None:
        """Say that a reload has begun."""
        self._tell(f"RELOADING=1\nMONOTONIC_USEC={time.monotonic_ns() // 1000}")

    def stopping(self) -> None:
        """Say that a drain has begun."""
        self._tell("STOPPING=1")

    def alive(self) -> None:
        """Say that the event loop turns."""
        self._tell("WATCHDOG=1")

    def _tell(self, state: str) -> None:
        if not self._address:
            return
        # A name that begins with @ is in the abstract namespace.
        address = "\0" + self._address[1:] if self._address[0] == "@" else self._address
        try:
            with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM | socket.SOCK_CLOEXEC) as sender:
                sender.setblocking(False)
                sender.connect(address)
                sender.send(state.encode())
        except OSError as error:
            _log.warning("the service manager cannot be told", extra={"reason": error.strerror})
            self._address = ""


async def keep_alive(notifier: Notifier) -> None:
    """Say for ever, as often as the watchdog wants to hear it, that the event loop turns."""
    while notifier.interval:
        notifier.alive()
        await asyncio.sleep(notifier.interval)


def _watchdog(env: MutableMapping[str, str]) -> float:
    patience, pid = env.pop("WATCHDOG_USEC", ""), env.pop("WATCHDOG_PID", "")
    if not patience.isdecimal() or pid not in ("", str(os.getpid())):
        return 0.0
    return int(patience) / 2_000_000
