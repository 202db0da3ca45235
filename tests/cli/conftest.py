"""The command line in this process, in a folder of its own and without the machine's variables."""

from __future__ import annotations

import os
import signal
import socket
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from proxy.cli import main
from tests.cli.listeners import Listen, Listener


@dataclass(frozen=True)
class Said:
    """What a command did."""

    code: int
    out: str
    err: str


Gatelodge = Callable[..., Said]


@pytest.fixture(autouse=True)
def _own_signals() -> Iterator[None]:
    """Give the test's process back what `run` changes for its own."""
    before = signal.getsignal(signal.SIGTERM)
    blocked = signal.pthread_sigmask(signal.SIG_BLOCK, ())
    yield
    signal.signal(signal.SIGTERM, before)
    signal.pthread_sigmask(signal.SIG_SETMASK, blocked)


@pytest.fixture
def gatelodge(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> Gatelodge:
    """Return what runs a command and tells what it said."""
    monkeypatch.chdir(tmp_path)
    for name in list(os.environ):
        if name.startswith(("GATELODGE_", "AUTH_", "NEXTAUTH_")):
            monkeypatch.delenv(name)

    def run(*words: str) -> Said:
        code = main(words)
        captured = capsys.readouterr()
        return Said(code, captured.out, captured.err)

    return run


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
