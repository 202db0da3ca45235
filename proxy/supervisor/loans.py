"""Passing listening sockets to a process that runs already (unix(7), SCM_RIGHTS).

A socket pair of its own beside the channel: an event loop's streams know nothing of descriptors.
"""

from __future__ import annotations

import socket


def loan_pair() -> tuple[socket.socket, socket.socket]:
    """Return the supervisor's end and the worker's."""
    ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_DGRAM)
    ours.setblocking(False)
    theirs.setblocking(False)
    return ours, theirs


def lend(end: socket.socket, number: int, listener: socket.socket) -> None:
    """Send the socket of worker `number`. Raises OSError, when the other end is full or gone."""
    socket.send_fds(end, [number.to_bytes(4)], [listener.fileno()])


def take(end: socket.socket) -> dict[int, socket.socket]:
    """Return the sockets that have been sent, by whose they are. Raises OSError."""
    taken: dict[int, socket.socket] = {}
    while True:
        try:
            data, descriptors, _, _ = socket.recv_fds(end, 4, 1)
        except BlockingIOError:
            return taken
        if not data:
            return taken
        for descriptor in descriptors:
            number = int.from_bytes(data)
            if number in taken:
                taken[number].close()
            taken[number] = listener = socket.socket(fileno=descriptor)
            listener.setblocking(False)
            listener.set_inheritable(False)
