"""One server process that the benchmark started, from its start to its certain end.

Law: signals go only to the process group that was made here, and only while its leader is not
reaped, so that its number cannot have passed to somebody else.
"""

from __future__ import annotations

import atexit
import os
import signal
import socket
import subprocess
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from types import TracebackType
from typing import Final

from bench.errors import BenchError

START_TIMEOUT: Final = 20.0
STOP_TIMEOUT: Final = 5.0
_LOOK_AGAIN: Final = 0.02
_LOG_TAIL: Final = 2000


class Child:
    """A process in a session of its own, so that everything it starts can be found by `session`."""

    def __init__(
        self, name: str, argv: Sequence[str], folder: Path, env: Mapping[str, str] | None = None
    ) -> None:
        self.name = name
        self._log = folder / f"{name}.log"
        with self._log.open("wb") as log:
            self._process = subprocess.Popen(
                argv,
                cwd=folder,
                env=env,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                start_new_session=True,
            )
        atexit.register(self.stop)  # whatever happens before somebody enters the context

    @property
    def session(self) -> int:
        """The session's number: that of the process which leads it."""
        return self._process.pid

    def __repr__(self) -> str:
        return f"<Child {self.name} {self.session}>"

    def __enter__(self) -> Child:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.stop()

    def log(self) -> str:
        """Return what it has written so far."""
        return self._log.read_text(errors="replace")

    def wait_for(self, what: str, found: Callable[[], int | None]) -> int:
        """Return what `found` finds, asking again until it does.

        Raises BenchError when the process ends first or START_TIMEOUT passes.
        """
        deadline = time.monotonic() + START_TIMEOUT
        while (value := found()) is None:
            if self._has_ended():
                raise BenchError(f"{self.name} ended at its start:\n{self.log()[-_LOG_TAIL:]}")
            if time.monotonic() > deadline:
                raise BenchError(f"{self.name}: no {what} in time:\n{self.log()[-_LOG_TAIL:]}")
            time.sleep(_LOOK_AGAIN)
        return value

    def wait_for_port(self, port: int) -> int:
        """Return `port` once it accepts connections. Raises BenchError as `wait_for` does."""
        return self.wait_for(f"listener on port {port}", lambda: _accepting(port))

    def stop(self) -> None:
        """End the process and all that it started; the second call does nothing."""
        if self._process.returncode is not None:
            return
        os.killpg(self.session, signal.SIGTERM)
        deadline = time.monotonic() + STOP_TIMEOUT
        while not self._has_ended() and time.monotonic() < deadline:
            time.sleep(_LOOK_AGAIN)
        os.killpg(self.session, signal.SIGKILL)
        self._process.wait()

    def _has_ended(self) -> bool:
        # WNOWAIT leaves it unreaped: its group's number stays ours until `stop` is done.
        options = os.WEXITED | os.WNOHANG | os.WNOWAIT
        return os.waitid(os.P_PID, self._process.pid, options) is not None


def free_port() -> int:
    """Return a loopback port that nobody listens on."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        port: int = server.getsockname()[1]
        return port


def _accepting(port: int) -> int | None:
    try:
        socket.create_connection(("127.0.0.1", port), timeout=1).close()
    except OSError:
        return None
    return port
