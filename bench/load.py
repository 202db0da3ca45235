"""The load: keep-alive connections with one request in flight on each, every answer checked.

Written on epoll rather than taken from a tool: it needs no installation, checks every status and
body, and stops with nothing in flight, so that requests and CPU seconds belong together. A third of
a core is enough for it to keep nginx busy on another.
"""

from __future__ import annotations

import select
import socket
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from types import TracebackType
from typing import Final

from bench.errors import BenchError

_OK: Final = b"HTTP/1.1 200 "
_MAX_ANSWER: Final = 64 * 1024
_SHOWN: Final = 300
STALL: Final = 5.0
"""Seconds without any answer after which the contestant counts as stuck."""


@dataclass(frozen=True, slots=True)
class Sent:
    """How many requests were answered, in how many seconds."""

    requests: int
    seconds: float


def is_whole(answer: bytes, body: bytes) -> bool:
    """Say whether `answer`, received so far, is a whole 200 with `body`.

    Raises BenchError when it can no longer become one.
    """
    if answer.startswith(_OK):
        if answer.endswith(body):
            return True
        if len(answer) <= _MAX_ANSWER:
            return False
    elif answer and _OK.startswith(answer):
        return False
    shown = repr(answer[:_SHOWN]) if answer else "nothing: the connection was closed"
    raise BenchError(f"expected only 200s with the upstream's body, got {shown}")


class Load:
    """Sends `requests`, which never end, over `connections` connections to `port` on loopback.

    They are open from the first `run` to the end.
    """

    def __init__(self, port: int, requests: Iterator[bytes], body: bytes, connections: int) -> None:
        self._address = ("127.0.0.1", port)
        self._requests = requests
        self._body = body
        self._connections = connections
        self._sockets: list[socket.socket] = []
        self._poll = select.epoll()
        self._receive: dict[int, Callable[[int], bytes]] = {}
        self._send: dict[int, Callable[[bytes], int]] = {}

    def __enter__(self) -> Load:
        try:
            for _ in range(self._connections):
                self._open()
        except OSError as error:
            self._close()
            raise BenchError(f"cannot connect: {error}") from error
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._close()

    def run(self, seconds: float) -> Sent:
        """Keep all connections busy for `seconds`, then wait for what is in flight.

        Raises BenchError on an answer that is not the expected one, and when answers stop coming.
        """
        started = time.perf_counter()
        try:
            answered = self._exchange(started + seconds)
        except OSError as error:
            raise BenchError(f"the connection broke: {error}") from error
        return Sent(answered, time.perf_counter() - started)

    def _exchange(self, deadline: float) -> int:
        receive, send, poll = self._receive, self._send, self._poll.poll
        requests, body = self._requests, self._body
        partial: dict[int, bytes] = {}
        answered, in_flight = 0, len(send)
        for begin in send.values():
            begin(next(requests))
        while in_flight:
            ready = poll(STALL)
            if not ready:
                raise BenchError(f"{in_flight} requests got no answer for {STALL:g} s")
            is_over = time.perf_counter() >= deadline
            for fd, _ in ready:
                answer = partial.pop(fd, b"") + receive[fd](_MAX_ANSWER)
                if not is_whole(answer, body):
                    partial[fd] = answer
                    continue
                answered += 1
                if is_over:
                    in_flight -= 1
                else:
                    send[fd](next(requests))
        return answered

    def _open(self) -> None:
        connection = socket.create_connection(self._address, timeout=STALL)
        connection.setblocking(False)
        connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        fd = connection.fileno()
        self._sockets.append(connection)
        self._receive[fd], self._send[fd] = connection.recv, connection.send
        self._poll.register(fd, select.EPOLLIN)

    def _close(self) -> None:
        for connection in self._sockets:
            connection.close()
        self._poll.close()
