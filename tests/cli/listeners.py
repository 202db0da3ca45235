"""A listener that answers one connection as it was told to."""

from __future__ import annotations

import contextlib
import socket
import threading
from collections.abc import Callable

OK = b"HTTP/1.1 200 OK\r\nContent-Length: 3\r\n\r\nok\n"


class Listener:
    """Answers one connection with `answer` and remembers what it was asked.

    `pause` is what it takes between two bytes, in seconds; `hang` leaves the connection open.
    """

    def __init__(
        self, listening: socket.socket, answer: bytes, *, hang: bool = False, pause: float = 0.0
    ) -> None:
        self.asked = b""
        self._listening = listening
        self._answer = answer
        self._hang = hang
        self._pause = pause
        self._released = threading.Event()
        self._thread = threading.Thread(target=self._serve)
        self._thread.start()

    def _serve(self) -> None:
        connection, _ = self._listening.accept()
        with connection:
            while b"\r\n\r\n" not in self.asked:
                self.asked += connection.recv(4096)
            # The client leaves as soon as it has read the first line.
            with contextlib.suppress(ConnectionError):
                for byte in self._answer:
                    connection.sendall(bytes([byte]))
                    self._released.wait(self._pause)
            if self._hang:
                self._released.wait(30)

    def close(self) -> None:
        self._released.set()
        self._thread.join()
        self._listening.close()


Listen = Callable[..., Listener]


def tcp(host: str = "127.0.0.1") -> tuple[socket.socket, int]:
    listening = socket.create_server((host, 0))
    return listening, listening.getsockname()[1]
