"""A backend as a process of its own, which can be killed, stopped, made to hang and restarted.

    async with Backend(tmp_path, "one") as backend:
        ... backend.url ...
        backend.signal(signal.SIGSTOP)

As a program (`python backend.py HOST PORT FILE`) it answers every request with 200 and writes the
value of its `X-Number` to FILE before it answers. USR1 makes it hang: it takes requests, notes them
and says nothing; USR2 makes it slow. Only the standard library is used, so that it starts at once.
"""

from __future__ import annotations

import asyncio
import os
import re
import signal
import socket
import subprocess
import sys
from pathlib import Path
from types import TracebackType
from typing import Final, Self

_SLOW: Final = 0.15
"""Seconds that an answer takes while the backend is slow."""
_NUMBER: Final = re.compile(rb"(?i)\r\nx-number: *([0-9]+)")
_LENGTH: Final = re.compile(rb"(?i)\r\ncontent-length: *([0-9]+)")


class Backend:
    """One backend. Its port stays the same when it is started again."""

    def __init__(self, folder: Path, name: str, *, host: str = "127.0.0.1", port: int = 0) -> None:
        self._file = folder / f"{name}.log"
        self._file.touch()
        self._process: subprocess.Popen[bytes] | None = None
        self._host = host
        self.port = port

    async def __aenter__(self) -> Self:
        await self.start()
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        await self.kill()

    @property
    def url(self) -> str:
        """Its address, as the configuration of an endpoint."""
        return f"http://{self._host}:{self.port}"

    @property
    def numbers(self) -> list[int]:
        """The numbers of the requests that it has acted on."""
        return [int(line) for line in self._file.read_text(encoding="ascii").split()]

    async def start(self) -> None:
        """Start it, and wait until it listens."""
        self.port = await asyncio.to_thread(self._spawn)

    def _spawn(self) -> int:
        command = [sys.executable, "-S", __file__, self._host, str(self.port), str(self._file)]
        self._process = subprocess.Popen(command, stdout=subprocess.PIPE)
        assert self._process.stdout is not None
        return int(self._process.stdout.readline())

    def signal(self, number: signal.Signals) -> None:
        """Send it a signal."""
        assert self._process is not None
        self._process.send_signal(number)

    async def kill(self) -> None:
        """End it at once, stopped or not."""
        assert self._process is not None
        self._process.kill()
        await asyncio.to_thread(self._process.wait)
        assert self._process.stdout is not None
        self._process.stdout.close()


class _Program:
    """What runs in the process."""

    def __init__(self, file: int) -> None:
        self._file = file
        self._hangs = False
        self._slow = False

    async def run(self, host: str, port: int) -> None:
        loop = asyncio.get_running_loop()
        loop.add_signal_handler(signal.SIGUSR1, lambda: setattr(self, "_hangs", True))
        loop.add_signal_handler(signal.SIGUSR2, lambda: setattr(self, "_slow", True))
        listener = socket.create_server((host, port), backlog=512)
        server = await asyncio.start_server(self._serve, sock=listener)
        print(listener.getsockname()[1], flush=True)
        await server.serve_forever()

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            while True:
                head = await reader.readuntil(b"\r\n\r\n")
                length = _LENGTH.search(head)
                if length is not None:
                    await reader.readexactly(int(length[1]))
                number = _NUMBER.search(head)
                if number is not None:
                    os.write(self._file, number[1] + b"\n")
                if self._hangs:
                    await asyncio.Event().wait()
                if self._slow:
                    await asyncio.sleep(_SLOW)
                writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok")
        except (asyncio.IncompleteReadError, ConnectionError):
            writer.close()


if __name__ == "__main__":
    descriptor = os.open(sys.argv[3], os.O_WRONLY | os.O_APPEND)
    asyncio.run(_Program(descriptor).run(sys.argv[1], int(sys.argv[2])))
