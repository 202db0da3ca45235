"""An endpoint that is a process of its own: it can be killed, stopped, hung, slowed and restarted,
and what it has had to do with each request is on record.

    async with EndpointProcess(tmp_path, "a") as endpoint:
        endpoint.mode = "slow"
        ...
        assert endpoint.record.executed["/api/7"] == 1

Each line of the record is written at once, by one write: `begun METHOD TARGET` when the head of a
request has come, `executed ...` when all of it has, before a byte of an answer leaves, and
`died POINT METHOD TARGET` where the mode is "dying". So it tells also what a dead one held.
"""

from __future__ import annotations

import asyncio
import os
import signal
import socket
import struct
import subprocess
import sys
from collections import Counter
from dataclasses import dataclass, field
from itertools import cycle
from pathlib import Path
from types import TracebackType
from typing import Final, Self

from tests.support.ports import free_port
from tests.support.service import Service

ROOT: Final = Path(__file__).resolve().parents[2]
SLOW: Final = 0.2
"""Seconds that an answer takes in the mode "slow"."""
_EVERY: Final = 4
"""Of so many requests one dies, in the mode "dying"."""
POINTS: Final = (
    *("before the head", "in the head", "after the head", "in the body"),
    *("between chunks", "in a chunk", "after the answer"),
)
"""Where an answer ends, one after the other."""
_WHOLE: Final = ("after the answer",)
_GRACE: Final = 1.0
"""Seconds for which idle connections outlive TERM."""


@dataclass(frozen=True, slots=True)
class Record:
    """What endpoints have noted: targets of requests, and how often."""

    begun: Counter[str] = field(default_factory=Counter)
    executed: Counter[str] = field(default_factory=Counter)
    died: dict[str, str] = field(default_factory=dict)

    def add(self, text: str) -> None:
        """Take in what one of them has written."""
        for line in text.splitlines():
            words = line.split(" ")
            if words[0] == "died":
                self.died[words[-1]] = " ".join(words[1:-2])
            else:
                (self.begun if words[0] == "begun" else self.executed)[words[-1]] += 1


class EndpointProcess:
    """One endpoint. Its address stays the same when it is started again."""

    def __init__(self, folder: Path, name: str, host: str = "127.0.0.1", port: int = 0) -> None:
        self.name = name
        self.file, self._mode = folder / f"{name}.record", folder / f"{name}.mode"
        self.file.touch()
        self._mode.write_text("well")
        self._process: subprocess.Popen[bytes] | None = None
        self.host, self.port = host, port or free_port(host)

    def __repr__(self) -> str:
        return f"<EndpointProcess {self.name} {self.url}>"

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
        return f"http://{f'[{self.host}]' if ':' in self.host else self.host}:{self.port}"

    @property
    def mode(self) -> str:
        """How it answers: "well", "slow", "mute" (never) or "dying" (one of four breaks off)."""
        return self._mode.read_text()

    @mode.setter
    def mode(self, mode: str) -> None:
        new = self._mode.with_suffix(".new")
        new.write_text(mode)
        new.replace(self._mode)

    @property
    def record(self) -> Record:
        """What it has noted, in all its lives."""
        record = Record()
        record.add(self.file.read_text())
        return record

    async def start(self) -> None:
        """Start it, and wait until it listens."""
        self.port = await asyncio.to_thread(self._spawn)

    def _spawn(self) -> int:
        words = (self.name, self.host, str(self.port), str(self.file), str(self._mode))
        self._process = subprocess.Popen(
            [sys.executable, "-m", "tests.support.endpoint", *words],
            cwd=ROOT,
            stdout=subprocess.PIPE,
        )
        assert self._process.stdout is not None
        return int(self._process.stdout.readline())

    def signal(self, number: signal.Signals) -> None:
        """Send it a signal."""
        assert self._process is not None
        self._process.send_signal(number)

    async def terminate(self) -> None:
        """Let it finish what it has, and wait for its end."""
        self.signal(signal.SIGTERM)
        await self._wait()

    async def kill(self) -> None:
        """End it at once, stopped or not."""
        self.signal(signal.SIGKILL)
        await self._wait()

    async def _wait(self) -> None:
        assert self._process is not None
        await asyncio.to_thread(self._process.wait)
        assert self._process.stdout is not None
        self._process.stdout.close()


class _Program(Service):
    """What runs in the process."""

    def __init__(self, name: str, where: tuple[str, int], record: int, mode: Path) -> None:
        super().__init__(name, *where)
        self._record, self._mode = record, mode
        self._count = 0
        self._points = cycle(POINTS)
        self._ending = False

    def _note(self, *words: str) -> None:
        os.write(self._record, " ".join(words).encode() + b"\n")

    async def begun(self, method: str, target: str) -> None:
        self._note("begun", method, target)

    async def reply(
        self, method: str, target: str, body: bytes, writer: asyncio.StreamWriter
    ) -> bool:
        self._note("executed", method, target)
        self._count += 1
        mode = self._mode.read_text()
        if mode == "mute":
            await asyncio.Event().wait()
        if mode == "slow":
            await asyncio.sleep(SLOW)
        if mode == "dying" and self._count % _EVERY == 0:
            point = next(self._points)
            self._note("died", point, method, target)
            await _die(point, body, writer)
            return True
        close = b"Connection: close\r\n" if self._ending else b""
        head = b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n%s\r\n" % (len(body), close)
        writer.write(head + body)
        return self._ending

    async def run(self) -> None:
        """Serve until TERM, and then finish what there is."""
        ended = asyncio.Event()
        asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, ended.set)
        async with self:
            print(self.url.rpartition(":")[2], flush=True)
            await ended.wait()
            self._ending = True
            assert self._server is not None
            self._server.close()
            await asyncio.sleep(_GRACE)


async def _die(point: str, body: bytes, writer: asyncio.StreamWriter) -> None:
    """Send an answer up to `point`, and no more."""
    chunk = b"%x\r\n%s\r\n" % (len(body), body)
    if "chunk" in point:
        whole = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n" + chunk
        sent = whole if point == "between chunks" else whole[:-4]
    else:
        head = b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n" % len(body)
        ends = {"before the head": 0, "in the head": 25, "after the head": len(head)}
        sent = (head + body)[: ends.get(point, len(head) + len(body) // 2)]
        if point == "after the answer":
            sent = head + body
    writer.write(sent)
    await writer.drain()
    if point not in _WHOLE:
        # A reset would overtake what was sent: the other end must have had the time to read it.
        await asyncio.sleep(0.01)
        writer.get_extra_info("socket").setsockopt(
            socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0)
        )
    writer.close()


def main(arguments: list[str]) -> None:
    """Run, with the name, the address, the record and the mode."""
    name, host, port, record, mode = arguments
    descriptor = os.open(record, os.O_WRONLY | os.O_APPEND)
    asyncio.run(_Program(name, (host, int(port)), descriptor, Path(mode)).run())


if __name__ == "__main__":
    main(sys.argv[1:])
