"""`gatelodge demo` as an operator meets it: what it prints, and how it ends."""

from __future__ import annotations

import re
import signal
import socket
import subprocess
import sys
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import pytest

from proxy.cli import main

ROOT = Path(__file__).parent.parent.parent
PATIENCE = 30.0
"""Seconds for a process to end; only a fault takes as long."""


@pytest.fixture
def demo() -> Iterator[subprocess.Popen[str]]:
    command = [sys.executable, "-m", "proxy", "demo", "--port", "0"]
    with subprocess.Popen(
        command, cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    ) as process:
        yield process
        process.kill()


def printed(demo: subprocess.Popen[str]) -> str:
    """What it prints up to the last line of its greeting."""
    assert demo.stdout is not None
    lines: list[str] = []
    for line in demo.stdout:
        lines.append(line)
        if "Ctrl-C" in line:
            break
    return "".join(lines)


def test_it_prints_the_page_first_and_then_what_else_runs(demo: subprocess.Popen[str]) -> None:
    text = printed(demo)
    assert re.match(r"Open http://localhost:\d+ in a browser\.\n", text)
    ports = re.findall(r"http://(?:localhost|127\.0\.0\.1):(\d+)", text)
    assert len(set(ports)) == 4
    for port in ports:
        socket.create_connection(("127.0.0.1", int(port))).close()


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM], ids=["Ctrl-C", "TERM"])
def test_a_signal_ends_it_and_leaves_nothing_behind(
    demo: subprocess.Popen[str], number: signal.Signals
) -> None:
    ports = re.findall(r":(\d+)", printed(demo))
    demo.send_signal(number)
    _, errors = demo.communicate(timeout=PATIENCE)
    assert (demo.returncode, errors) == (0, "")
    for port in ports:
        with pytest.raises(ConnectionRefusedError):
            socket.create_connection(("127.0.0.1", int(port)))


def test_a_port_that_is_taken_is_named(capsys: pytest.CaptureFixture[str]) -> None:
    with closing(socket.create_server(("127.0.0.1", 0))) as other:
        port = other.getsockname()[1]
        assert main(["demo", "--port", str(port)]) == 1
    assert f"port {port} cannot be used" in capsys.readouterr().err


@pytest.mark.parametrize("port", ["x", "-1", "65536", "٣", ""])
def test_what_is_no_port_is_a_usage_error(port: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["demo", "--port", port]) == 2
    assert "--port" in capsys.readouterr().err
