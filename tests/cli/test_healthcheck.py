"""The health check against real sockets."""

from __future__ import annotations

import contextlib
import socket
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.cli.conftest import Gatelodge

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


@pytest.fixture
def listen() -> Iterator[Listen]:
    """Return what starts a listener; all of them are closed at the end."""
    started = []

    def start(listening: socket.socket, answer: bytes, **options: Any) -> Listener:
        listener = Listener(listening, answer, **options)
        started.append(listener)
        return listener

    yield start
    for listener in started:
        listener.close()


def tcp(host: str = "127.0.0.1") -> tuple[socket.socket, int]:
    listening = socket.create_server((host, 0))
    return listening, listening.getsockname()[1]


def test_an_answer_of_200_is_healthy(gatelodge: Gatelodge, listen: Listen) -> None:
    listening, port = tcp()
    listener = listen(listening, OK)
    said = gatelodge("healthcheck", "--admin", f"127.0.0.1:{port}")
    assert (said.code, said.out, said.err) == (0, "", "")
    assert listener.asked == (
        f"GET /-/healthy HTTP/1.1\r\nHost: 127.0.0.1:{port}\r\nConnection: close\r\n\r\n".encode()
    )


def test_the_variable_names_the_address(
    gatelodge: Gatelodge, listen: Listen, monkeypatch: pytest.MonkeyPatch
) -> None:
    listening, port = tcp()
    listen(listening, OK)
    monkeypatch.setenv("GATELODGE_ADMIN", f"127.0.0.1:{port}")
    assert gatelodge("healthcheck").code == 0


def test_a_listener_on_all_addresses_is_asked_on_loopback(
    gatelodge: Gatelodge, listen: Listen
) -> None:
    listening, port = tcp()
    listener = listen(listening, OK)
    assert gatelodge("healthcheck", "--admin", f"0.0.0.0:{port}").code == 0
    assert f"Host: 127.0.0.1:{port}\r\n".encode() in listener.asked


def test_a_unix_socket_is_asked(gatelodge: Gatelodge, listen: Listen, tmp_path: Path) -> None:
    listening = socket.socket(socket.AF_UNIX)
    listening.bind(str(tmp_path / "admin.sock"))
    listening.listen()
    listener = listen(listening, OK)
    assert gatelodge("healthcheck", "--admin", f"unix:{tmp_path / 'admin.sock'}").code == 0
    assert b"Host: localhost\r\n" in listener.asked


@pytest.mark.parametrize(
    "answer",
    [
        b"HTTP/1.1 503 Service Unavailable\r\n\r\n",
        b"HTTP/1.1 2000 x\r\n\r\n",
        b"",
        b"SSH-2.0-x\r\n",
        b"x" * 10_000,
    ],
    ids=["503", "2000", "nothing", "another protocol", "no line at all"],
)
def test_any_other_answer_is_one_line_and_1(
    gatelodge: Gatelodge, listen: Listen, answer: bytes
) -> None:
    listening, port = tcp()
    listen(listening, answer[:300])
    said = gatelodge("healthcheck", "--admin", f"127.0.0.1:{port}")
    assert (said.code, said.out) == (1, "")
    assert said.err.startswith(f"gatelodge healthcheck: 127.0.0.1:{port} answered ")
    assert said.err.count("\n") == 1


def test_nobody_there_is_one_line_and_1(gatelodge: Gatelodge, tmp_path: Path) -> None:
    listening, port = tcp()
    listening.close()
    for address in (f"127.0.0.1:{port}", f"unix:{tmp_path / 'nowhere.sock'}"):
        said = gatelodge("healthcheck", "--admin", address)
        assert (said.code, said.out) == (1, "")
        assert f"{address} cannot be asked: " in said.err
        assert said.err.count("\n") == 1


@pytest.mark.parametrize(
    ("answer", "pause"),
    [(b"", 0.0), (b"HTTP/1.1 ", 0.0), (b"HTTP/1.1 200 " + b"k" * 50 + b"\r\n", 0.02)],
    ids=["silent", "begun", "dripping"],
)
def test_an_answer_that_does_not_come_in_time_is_1(
    gatelodge: Gatelodge, listen: Listen, answer: bytes, pause: float
) -> None:
    listening, port = tcp()
    listen(listening, answer, hang=True, pause=pause)
    said = gatelodge("healthcheck", "--admin", f"127.0.0.1:{port}", "--timeout", "0.05")
    assert said.code == 1
    assert said.err == f"gatelodge healthcheck: no answer from 127.0.0.1:{port} within 0.05 s\n"


@pytest.mark.parametrize("address", ["nonsense", "127.0.0.1", "127.0.0.1:99999", "unix:x"])
def test_what_is_no_address_is_a_usage_error(gatelodge: Gatelodge, address: str) -> None:
    said = gatelodge("healthcheck", "--admin", address)
    assert (said.code, said.out) == (2, "")
    assert said.err.startswith(f"gatelodge healthcheck: '{address}' is no address: ")


@pytest.mark.parametrize("seconds", ["0", "-1", "x", "nan", "inf", "1e9"])
def test_what_is_no_timeout_is_a_usage_error(gatelodge: Gatelodge, seconds: str) -> None:
    assert gatelodge("healthcheck", "--timeout", seconds).code == 2
