"""The real gateway as a child process: `python -m proxy run -c FILE`."""

from __future__ import annotations

import asyncio
import json
import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from types import TracebackType
from typing import Any, Final, Self

ROOT: Final = Path(__file__).resolve().parents[2]

_POLL: Final = 0.01
"""Seconds between two looks at the log; a file tells nobody that it has grown."""
_START: Final = 60.0
"""Seconds for Python, imports and key derivation on a machine with better things to do."""


class GatewayFailed(AssertionError):
    """The gateway did not start, or did not stop; the message holds what it said."""


class GatewayProcess:
    """One gateway. `async with GatewayProcess(config, tmp_path) as gateway:`.

    `config` is the text of the configuration file; `listen: 127.0.0.1:0`, `admin: 127.0.0.1:0` and
    `log: {format: json}` are what `.port`, `.admin_port` and `.log_lines()` rely on. Everything
    that it writes, to stderr and stdout, goes into one file, so that a test that looks away cannot
    block it. It may have `open_files` files open, if that is given, and sees the file `hosts` as
    /etc/hosts (Linux, root).
    """

    def __init__(
        self,
        config: str,
        folder: Path,
        *,
        name: str = "gateway",
        env: Mapping[str, str] | None = None,
        open_files: int | None = None,
        hosts: Path | None = None,
    ) -> None:
        self._hosts = hosts
        self.config_file = folder / f"{name}.yaml"
        self.log_file = folder / f"{name}.log"
        self.config_file.write_text(config, encoding="utf-8")
        self._open_files = open_files
        self._env = {**os.environ, "PYTHONPATH": str(ROOT), **(env or {})}
        self._process: subprocess.Popen[bytes] | None = None
        self._ports: dict[str, int] = {}

    async def __aenter__(self) -> Self:
        self.spawn()
        try:
            await self.wait_for_log(lambda line: self._note_port(line) and len(self._ports) == 2)
        except GatewayFailed:
            self.kill()
            raise
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        if self.running:
            await self.terminate()

    def spawn(self) -> None:
        """Start the process without waiting for it to listen."""
        command = [sys.executable, "-m", "proxy", "run", "-c", str(self.config_file)]
        if self._open_files is not None:
            most = f'ulimit -n {self._open_files}; exec "$@"'
            command = ["sh", "-c", most, "sh", *command]
        if self._hosts is not None:
            mounted = 'mount --bind "$1" /etc/hosts; shift; exec "$@"'
            command = ["unshare", "--mount", "sh", "-ec", mounted, "sh", str(self._hosts), *command]
        with self.log_file.open("wb") as log:
            self._process = subprocess.Popen(
                command, cwd=ROOT, env=self._env, stdin=subprocess.DEVNULL, stdout=log, stderr=log
            )

    @property
    def process(self) -> subprocess.Popen[bytes]:
        """The child."""
        assert self._process is not None, "not started"
        return self._process

    @property
    def running(self) -> bool:
        """Whether the process lives."""
        return self._process is not None and self._process.poll() is None

    @property
    def port(self) -> int:
        """The port that clients connect to."""
        return self._ports["main"]

    @property
    def admin_port(self) -> int:
        """The port of health, metrics and status."""
        return self._ports["admin"]

    def _note_port(self, line: dict[str, Any]) -> bool:
        if line.get("event") != "listening":
            return False
        self._ports[str(line["listener"])] = int(str(line["address"]).rpartition(":")[2])
        return True

    def log_text(self) -> str:
        """Return everything that it has written; an incomplete last line too."""
        return self.log_file.read_text(encoding="utf-8", errors="backslashreplace")

    def log_lines(self) -> list[dict[str, Any]]:
        """Return the log as objects. Raises AssertionError for a line that is not a JSON object."""
        return [_parse_line(line) for line in self.log_text().split("\n")[:-1]]

    async def wait_for_log(
        self, wanted: Callable[[dict[str, Any]], bool], *, deadline: float = _START
    ) -> dict[str, Any]:
        """Return the first log line for which `wanted` holds. Raises GatewayFailed."""
        end = time.monotonic() + deadline
        while True:
            running = self.running
            for text in self.log_text().split("\n")[:-1]:
                if text.startswith("{") and wanted(line := _parse_line(text)):
                    return line
            if not running or time.monotonic() > end:
                state = "is still running" if running else f"exited with {self.process.returncode}"
                raise GatewayFailed(f"waited in vain; the gateway {state}:\n{self.log_text()}")
            await asyncio.sleep(_POLL)

    async def terminate(self, *, deadline: float = _START) -> int:
        """Send SIGTERM, wait, return the exit code. Raises GatewayFailed when it stays."""
        if self.running:
            self.process.send_signal(signal.SIGTERM)
        return await self.wait(deadline=deadline)

    async def wait(self, *, deadline: float = _START) -> int:
        """Wait for its end and return the exit code. Raises GatewayFailed when it stays."""
        end = time.monotonic() + deadline
        while (code := self.process.poll()) is None:
            if time.monotonic() > end:
                self.kill()
                raise GatewayFailed(f"did not end:\n{self.log_text()}")
            await asyncio.sleep(_POLL)
        return code

    def kill(self) -> None:
        """End it at once."""
        self.process.kill()
        self.process.wait()

    def rss(self) -> int:
        """Return its resident memory in bytes (proc(5), statm)."""
        pages = (self._proc / "statm").read_text(encoding="ascii").split()[1]
        return int(pages) * os.sysconf("SC_PAGE_SIZE")

    def forget_peak(self) -> int:
        """Begin to measure `peak_rss` anew (proc(5), clear_refs); return `rss()`."""
        (self._proc / "clear_refs").write_text("5", encoding="ascii")
        return self.rss()

    def peak_rss(self) -> int:
        """Return the most memory in bytes that was resident since `forget_peak`."""
        status = (self._proc / "status").read_text(encoding="ascii")
        [kilobytes] = re.findall(r"VmHWM:\s+([0-9]+) kB", status)
        return int(kilobytes) * 1024

    @property
    def _proc(self) -> Path:
        return Path(f"/proc/{self.process.pid}")

    def cpu_seconds(self) -> float:
        """Return the CPU time that it has used, which no other load on the machine makes longer.

        The clock id is what clock_getcpuclockid(3) makes of a process id on Linux.
        """
        return time.clock_gettime((~self.process.pid << 3) | 2)


def _parse_line(line: str) -> dict[str, Any]:
    try:
        parsed = json.loads(line)
    except ValueError:
        raise AssertionError(f"a log line that is not JSON: {line!r}") from None
    assert isinstance(parsed, dict), f"a log line that is not an object: {line!r}"
    return parsed
