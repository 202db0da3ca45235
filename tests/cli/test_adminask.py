"""proxy/cli/adminask.py: asking against real sockets, by the command that does no more."""

from __future__ import annotations

import socket
from pathlib import Path

import pytest

from tests.cli.conftest import Gatelodge
from tests.cli.listeners import OK, Listen, tcp


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
