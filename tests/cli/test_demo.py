"""`gatelodge demo` as an operator meets it: what it prints, and how it ends."""

from __future__ import annotations

import fcntl
import os
import re
import signal
import socket
import subprocess
import sys
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path

import pytest

from proxy.cli import main
from proxy.demo import programs

ROOT = Path(__file__).parent.parent.parent
PATIENCE = 30.0
"""Seconds for a process to end; only a fault takes as long."""


@contextmanager
def started(*options: str, code: str = "") -> Iterator[subprocess.Popen[str]]:
    """The command in a session of its own, so that all its processes can be told by it."""
    command = [sys.executable, *(["-c", code] if code else ["-m", "proxy"]), "demo", *options]
    with subprocess.Popen(
        command,
        cwd=ROOT,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
    ) as process:
        yield process
        process.kill()


@pytest.fixture
def demo() -> Iterator[subprocess.Popen[str]]:
    with started("--port", "0") as process:
        yield process


def printed(demo: subprocess.Popen[str]) -> str:
    """What it prints up to the last line of its greeting."""
    assert demo.stdout is not None
    lines: list[str] = []
    for line in demo.stdout:
        lines.append(line)
        if "Ctrl-C" in line:
            break
    return "".join(lines)


def children_of(demo: subprocess.Popen[str]) -> list[str]:
    """The command lines of the processes that it has started."""
    command = ["ps", "-A", "-ww", "-o", "ppid=,args="]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    lines = [line.split(None, 1) for line in done.stdout.splitlines()]
    return [command for parent, command in lines if parent == str(demo.pid)]


def folder_of(demo: subprocess.Popen[str]) -> Path:
    """The folder of its PostgreSQL, from the arguments of the keeper."""
    [keeper] = children_of(demo)
    found = re.search(r'"folder": "([^"]*)"', keeper)
    assert found is not None
    return Path(found[1])


def test_it_prints_the_page_first_and_then_what_else_runs(demo: subprocess.Popen[str]) -> None:
    text = printed(demo)
    assert re.match(r"Open http://localhost:\d+ in a browser\.\n", text)
    ports = re.findall(r"(?:localhost|127\.0\.0\.1):(\d+)", text)
    assert len(set(ports)) == 5
    for port in ports:
        socket.create_connection(("127.0.0.1", int(port))).close()


def test_without_a_database_none_is_started() -> None:
    with started("--port", "0", "--no-database") as demo:
        text = printed(demo)
        assert len(set(re.findall(r":(\d+)", text))) == 4
        assert "PostgreSQL" not in text
        assert children_of(demo) == []


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM], ids=["Ctrl-C", "TERM"])
def test_a_signal_ends_it_and_leaves_nothing_behind(
    demo: subprocess.Popen[str], number: signal.Signals
) -> None:
    ports = re.findall(r":(\d+)", printed(demo))
    folder = folder_of(demo)
    assert folder.is_dir()
    demo.send_signal(number)
    _, errors = demo.communicate(timeout=PATIENCE)
    assert (demo.returncode, errors) == (0, "")
    assert_nothing_is_left(ports, folder)


@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGHUP], ids=["KILL", "HUP"])
def test_a_death_leaves_nothing_behind(demo: subprocess.Popen[str], number: signal.Signals) -> None:
    ports = re.findall(r":(\d+)", printed(demo))
    folder = folder_of(demo)
    lock = os.open(folder / "lock", os.O_RDWR)
    demo.send_signal(number)
    # The keeper is the last that holds it.
    fcntl.flock(lock, fcntl.LOCK_EX)
    os.close(lock)
    assert_nothing_is_left(ports, folder)


def assert_nothing_is_left(ports: list[str], folder: Path) -> None:
    assert not folder.exists()
    for port in ports:
        with pytest.raises(ConnectionRefusedError):
            socket.create_connection(("127.0.0.1", int(port)))


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM], ids=["Ctrl-C", "TERM"])
def test_a_signal_while_it_starts_ends_it_as_well(number: signal.Signals) -> None:
    """Sent by itself when PostgreSQL is asked for, so that it is always at the same moment."""
    code = (
        "import os, sys; from proxy.demo import postgres; from proxy.cli import main\n"
        "start = postgres.Postgres.start\n"
        f"postgres.Postgres.start = lambda self: (os.kill(os.getpid(), {number}), start(self))\n"
        "sys.exit(main(sys.argv[1:]))"
    )
    with started("--port", "0", code=code) as demo:
        _, errors = demo.communicate(timeout=PATIENCE)
    assert (demo.returncode, errors) == (0, "")


def test_without_postgresql_it_says_why_and_how_to_go_on(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(programs, "_WHEEL", "a_wheel_that_is_not_installed")
    monkeypatch.setattr(programs, "SYSTEM_FOLDERS", ())
    monkeypatch.setenv("PATH", "")
    assert main(["demo", "--port", "0"]) == 1
    said = capsys.readouterr()
    assert said.out == ""
    assert "pip install 'gatelodge[demo]'" in said.err
    assert "gatelodge demo --no-database" in said.err


def test_a_port_that_is_taken_is_named(capsys: pytest.CaptureFixture[str]) -> None:
    with closing(socket.create_server(("127.0.0.1", 0))) as other:
        port = other.getsockname()[1]
        assert main(["demo", "--no-database", "--port", str(port)]) == 1
    assert f"port {port} cannot be used" in capsys.readouterr().err


@pytest.mark.parametrize("port", ["x", "-1", "65536", "٣", ""])
def test_what_is_no_port_is_a_usage_error(port: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["demo", "--port", port]) == 2
    assert "--port" in capsys.readouterr().err
