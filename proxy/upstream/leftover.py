"""What an endpoint had sent before a write to it failed.

A backend that refuses an upload answers and closes its socket over the bytes that it never read,
which makes the close a reset. The event loops end a connection at the first write that fails then,
with the answer still unread in the kernel; Linux gives it out even after the reset.
"""

from __future__ import annotations

from contextlib import suppress
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    import asyncio

_PIECE: Final = 1 << 16


def leftover(transport: asyncio.BaseTransport) -> bytes:
    """Return the bytes that have come on `transport`, which has failed, and were not read.

    b"" over TLS: what is left there are records that nobody can open any more. The kernel's buffer
    bounds their number.
    """
    sock = transport.get_extra_info("socket")
    if sock is None or transport.get_extra_info("sslcontext") is not None:
        return b""
    pieces: list[bytes] = []
    with suppress(OSError), sock.dup() as copy:  # the transport's own refuses to be read
        copy.setblocking(False)
        while piece := copy.recv(_PIECE):
            pieces.append(piece)
    return b"".join(pieces)
