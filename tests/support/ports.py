"""Ports for programs that are told theirs before they start, or have the same one in each life."""

from __future__ import annotations

import random
import socket
import sys
from pathlib import Path
from typing import Final

_RANGE: Final = Path("/proc/sys/net/ipv4/ip_local_port_range")
_LOWEST: Final = 10_000


def free_port(host: str = "127.0.0.1") -> int:
    """Return a port that nobody has on `host`, nor gets by connecting somewhere.

    The system gives ports of a certain range to clients (ip(7)): one of those that is free now may
    be a client's by the time that it is needed. So it is none of these where that is known.
    """
    if sys.platform != "linux":
        return _bound(host, 0)
    first = int(_RANGE.read_text(encoding="ascii").split()[0])
    while True:
        try:
            return _bound(host, random.randrange(_LOWEST, max(first, _LOWEST + 1000)))
        except OSError:
            continue


def _bound(host: str, port: int) -> int:
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    with socket.create_server((host, port), family=family) as probe:
        found: int = probe.getsockname()[1]
        return found
