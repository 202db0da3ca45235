"""The database scenario: its load sends each request once, and its table says what was measured."""

from __future__ import annotations

import socket
import threading
from collections.abc import Iterator

import pytest

from bench import hot
from bench.database import Pass, exchange, table
from bench.errors import BenchError

ANSWER = b"HTTP/1.1 200 OK\r\nContent-Length: 147\r\n\r\n" + hot.BODY


class Server:
    """Answers each request, which ends with an empty line, with `answer`."""

    def __init__(self, answer: bytes) -> None:
        self._answer = answer
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.port: int = self._listener.getsockname()[1]
        self.seen: list[bytes] = []
        threading.Thread(target=self._accept, daemon=True).start()

    def _accept(self) -> None:
        while True:
            try:
                connection, _ = self._listener.accept()
            except OSError:
                return
            threading.Thread(target=self._serve, args=(connection,), daemon=True).start()

    def _serve(self, connection: socket.socket) -> None:
        with connection:
            while data := connection.recv(4096):
                self.seen.append(data)
                connection.sendall(self._answer[:20])
                connection.sendall(self._answer[20:])

    def close(self) -> None:
        self._listener.close()


@pytest.fixture
def server() -> Iterator[Server]:
    made = Server(ANSWER)
    yield made
    made.close()


def test_each_request_is_sent_once(server: Server) -> None:
    requests = [b"GET /%d HTTP/1.1\r\n\r\n" % number for number in range(50)]
    latencies = exchange(server.port, requests, 4)
    assert sorted(server.seen) == sorted(requests)
    assert len(latencies) == 50
    assert all(seconds > 0 for seconds in latencies)


def test_fewer_requests_than_connections_are_no_trouble(server: Server) -> None:
    assert len(exchange(server.port, [b"GET / HTTP/1.1\r\n\r\n"], 4)) == 1


def test_an_answer_that_is_no_200_ends_it() -> None:
    refusing = Server(b"HTTP/1.1 503 Service Unavailable\r\n\r\n")
    with pytest.raises(BenchError, match="expected only 200s"):
        exchange(refusing.port, [b"GET / HTTP/1.1\r\n\r\n"], 1)
    refusing.close()


def test_the_table_has_a_row_for_each_pass() -> None:
    seconds = [number / 1000 for number in range(1, 101)]
    text = table([Pass("cold", 2.0, seconds, 0.05)], {"CPU": "some"})
    assert text.splitlines()[2] == "| cold | 50 | 51.0 | 100.0 | 500 |"
    assert text.endswith("\n\n- CPU: some\n")
