"""What the other side of a connection has still to take of what was written to it.

The event loop tells when its own buffer has emptied, which for a slow reader is seldom: behind that
buffer stands the kernel's, of up to some MiB. So whoever wants to know whether a reader takes
anything at all has to ask the kernel too (tcp(7), SIOCOUTQ: bytes not acknowledged yet).
"""

from __future__ import annotations

import asyncio
import socket
import struct
import sys
from contextlib import suppress
from typing import Final

if sys.platform != "win32":
    from fcntl import ioctl
    from termios import TIOCOUTQ


_UNSENT_MAX: Final = 128 * 1024
"""Bytes that the kernel holds for a reader beyond what is on its way to it. Without this one that
reads nothing makes it hold up to 4 MiB (tcp_wmem), which nobody's memory shows.
"""
_BYTES_ACKED: Final = 120
"""Where tcp_info (linux/tcp.h, since 4.1) has tcpi_bytes_acked, eight bytes."""
_LOWAT: Final = getattr(socket, "TCP_NOTSENT_LOWAT", None)


def bound_unsent(transport: asyncio.BaseTransport) -> None:
    """Bound what the kernel holds for a reader, where it can be bound (Linux, macOS)."""
    sock = transport.get_extra_info("socket")
    if _LOWAT is not None and sock is not None and sock.family != socket.AF_UNIX:
        sock.setsockopt(socket.IPPROTO_TCP, _LOWAT, _UNSENT_MAX)


def owed(transport: asyncio.Transport) -> int:
    """Return how many bytes the other side has not taken yet."""
    return transport.get_write_buffer_size() + _in_kernel(transport)


def taken(transport: asyncio.Transport) -> int:
    """Return a number that grows whenever the other side takes something.

    Over TLS a third buffer stands between the two that `owed` counts, and what the kernel sends it
    is given anew from there; so the kernel's own count is better where it keeps one.
    """
    sock = transport.get_extra_info("socket")
    if sys.platform == "linux" and sock is not None and sock.family != socket.AF_UNIX:
        with suppress(OSError):  # closed
            info = sock.getsockopt(socket.IPPROTO_TCP, socket.TCP_INFO, _BYTES_ACKED + 8)
            if acked := int.from_bytes(info[_BYTES_ACKED:], sys.byteorder):
                return acked  # 0 as well where it is not counted, as in gVisor
    return -owed(transport)


def _in_kernel(transport: asyncio.Transport) -> int:
    if sys.platform == "win32":
        return 0
    sock = transport.get_extra_info("socket")
    if sock is None:
        return 0  # closed, which will be told in a moment
    try:
        answer: bytes = ioctl(sock.fileno(), TIOCOUTQ, bytes(4))
    except (OSError, ValueError):
        return 0  # of a kind that cannot tell, or closed meanwhile
    return int(struct.unpack("i", answer)[0])
