"""Connections over TLS: what may lie between us and their socket, and how they end.

The event loops have buffers there that connections without TLS have not.
"""

from __future__ import annotations

import ssl
from typing import TYPE_CHECKING, Any, Final

if TYPE_CHECKING:
    import asyncio

_WRITE_MAX: Final = 64 * 1024
"""Bytes to be written before we wait for the other side: what connections without TLS have.
uvloop's 512 KiB would be memory that whoever reads nothing chooses to use.
"""
_READ_MAX: Final = 1
"""Bytes that have come while we do not read, from which on nothing is taken from the socket. With
uvloop's 256 KiB an end without close_notify is noticed before we have read what came before it,
and that is lost with the connection.
"""


def bound_buffers(transport: asyncio.BaseTransport) -> None:
    """Bound what lies in the buffers of a connection over TLS."""
    encrypted: Any = transport  # what asyncio.sslproto and uvloop add to transports has no type
    encrypted.set_write_buffer_limits(high=_WRITE_MAX)
    encrypted.set_read_buffer_limits(high=_READ_MAX)


def ends_orderly(transport: asyncio.BaseTransport) -> bool:
    """Whether the other side, of which the loop says that no more comes, has said so itself: over
    TLS by close_notify. uvloop does not call that an end which comes without it; asyncio does.
    """
    encrypted: ssl.SSLObject | None = transport.get_extra_info("ssl_object")
    if encrypted is None:
        return True
    try:
        return not encrypted.read(1)
    except ssl.SSLError as error:
        return isinstance(error, ssl.SSLZeroReturnError)
