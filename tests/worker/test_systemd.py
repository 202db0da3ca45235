"""proxy/worker/systemd.py: sockets that are handed over, and what the manager is told."""

from __future__ import annotations

import asyncio
import os
import socket
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from proxy.worker.systemd import Notifier, keep_alive, take_sockets

HAND_OVER = """
import os, socket, sys
from proxy.worker.systemd import take_sockets
given = socket.create_server(("127.0.0.1", 0))
os.dup2(given.fileno(), 3)
os.environ.update(LISTEN_FDS="1", LISTEN_PID=sys.argv[1] or str(os.getpid()), LISTEN_FDNAMES="main")
taken = take_sockets(os.environ)
left = [name for name in os.environ if name.startswith("LISTEN_")]
print([one.getsockname() == given.getsockname() for one in taken], os.get_inheritable(3), left)
"""


def handed_over(pid: str) -> str:
    command = [sys.executable, "-c", HAND_OVER, pid]
    return subprocess.run(command, check=True, capture_output=True, text=True).stdout.strip()


def test_sockets_that_are_handed_over_are_taken_and_not_passed_on() -> None:
    assert handed_over("") == "[True] False []"


def test_sockets_of_another_process_are_left_alone() -> None:
    assert handed_over("1").startswith("[] ")


@pytest.mark.parametrize(
    "env", [{}, {"LISTEN_FDS": "1"}, {"LISTEN_FDS": "x", "LISTEN_PID": str(os.getpid())}]
)
def test_without_the_variables_there_are_none(env: dict[str, str]) -> None:
    assert take_sockets(dict(env)) == []


class Manager:
    """Listens as a service manager does."""

    def __init__(self, name: str) -> None:
        self._socket = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        self._socket.bind(name)
        self._socket.settimeout(10)

    def __enter__(self) -> Manager:
        return self

    def __exit__(self, *_: object) -> None:
        self._socket.close()

    def hear(self) -> str:
        return self._socket.recv(4096).decode()


@pytest.mark.parametrize("kind", ["path", "abstract"])
def test_the_manager_is_told(tmp_path: Path, kind: str) -> None:
    name = str(tmp_path / "notify") if kind == "path" else f"\0gatelodge-{os.getpid()}"
    env = {"NOTIFY_SOCKET": name.replace("\0", "@")}
    with Manager(name) as manager:
        notifier = Notifier(env)
        assert env == {}
        notifier.ready()
        assert manager.hear() == "READY=1"
        notifier.reloading()
        first, second = manager.hear().split("\n")
        assert first == "RELOADING=1"
        assert second.partition("=")[0] == "MONOTONIC_USEC"
        notifier.stopping()
        assert manager.hear() == "STOPPING=1"


def test_a_manager_that_has_gone_is_told_nothing_more(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    notifier = Notifier({"NOTIFY_SOCKET": str(tmp_path / "gone")})
    notifier.ready()
    notifier.stopping()
    assert [record.message for record in caplog.records] == ["the service manager cannot be told"]


@pytest.mark.parametrize(
    ("env", "seconds"),
    [
        ({}, 0),
        ({"WATCHDOG_USEC": "3000000"}, 1.5),
        ({"WATCHDOG_USEC": "3000000", "WATCHDOG_PID": str(os.getpid())}, 1.5),
        ({"WATCHDOG_USEC": "3000000", "WATCHDOG_PID": "1"}, 0),
        ({"WATCHDOG_USEC": "soon"}, 0),
    ],
)
def test_the_watchdog_is_fed_at_half_of_its_patience(env: dict[str, str], seconds: float) -> None:
    assert Notifier(dict(env)).interval == seconds


async def test_it_is_fed_until_the_end(tmp_path: Path) -> None:
    name = str(tmp_path / "notify")
    with Manager(name) as manager:
        notifier = Notifier({"NOTIFY_SOCKET": name, "WATCHDOG_USEC": "20000"})
        feeding = asyncio.ensure_future(keep_alive(notifier))
        heard: list[Any] = [await asyncio.to_thread(manager.hear) for _ in range(3)]
        feeding.cancel()
    assert heard == ["WATCHDOG=1"] * 3


async def test_without_a_watchdog_nothing_is_fed() -> None:
    await keep_alive(Notifier({}))
