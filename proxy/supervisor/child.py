"""The process of one worker: `python -m proxy.supervisor.child`, with three descriptors: of the
channel, of the loans and of the listening socket.

It does what the supervisor asks. TERM drains it, as does the end of the supervisor; INT is the
supervisor's, since a terminal sends it to all.
"""

from __future__ import annotations

import asyncio
import signal
import socket
import sys
from collections.abc import Coroutine
from typing import TYPE_CHECKING, Any

from proxy.supervisor import messages
from proxy.supervisor.channel import Answerer, open_channel
from proxy.supervisor.loans import take
from proxy.telemetry import logs
from proxy.telemetry.figures import figures_of
from proxy.worker import FixedSource, Worker
from proxy.worker.accepting import OWN
from proxy.worker.reload import told
from proxy.worker.serve import run_process

if TYPE_CHECKING:
    from proxy.config.model import Config
    from proxy.gateway.snapshot import Snapshot


class Child:
    """One worker, which serves `listener` once it has been told to begin, and then to accept.

    `loans` is where sockets of others come.
    """

    def __init__(self, listener: socket.socket, loans: socket.socket) -> None:
        self._listener = listener
        self._loans = loans
        self._next: Snapshot | None = None
        self.worker: Worker | None = None
        self.ending = asyncio.Event()
        """Set when it is to drain."""

    def __repr__(self) -> str:
        return f"<Child {self.worker!r}>"

    async def answer(self, question: messages.Question) -> object:
        """Do what is asked; return the answer."""
        match question:
            case messages.Begin() | messages.Accept() | messages.Prepare() | messages.Borrow():
                return await _outcome(self._try(question))
            case messages.Commit():
                self._begun.commit(self._taken())
            case messages.Abandon():
                await self._begun.abandon(self._taken())
            case messages.GiveBack(number):
                self._begun.accepting.remove(number)
            case messages.Depart(delay):
                self._begun.depart(delay)
            case messages.Drain():
                self.ending.set()
            case messages.Report():
                return self._report()
        return ""

    async def _try(
        self, question: messages.Begin | messages.Accept | messages.Prepare | messages.Borrow
    ) -> None:
        """Do what may fail. Raises OSError, ValueError and RuntimeError."""
        match question:
            case messages.Begin(config, number):
                logs.set_up(config.log.level, config.log.format, worker=number)
                await self._begin(config)
            case messages.Accept():
                await self._begun.accepting.add(OWN, self._listener)
            case messages.Prepare(config):
                await self._prepare(config)
            case messages.Borrow(number):
                await self._borrow(number)

    async def _begin(self, config: Config) -> None:
        worker = Worker(config, FixedSource(config))
        await worker.start(listens=False)
        self.worker = worker

    async def _prepare(self, config: Config) -> None:
        self._next = await self._begun.prepare(config)

    async def _borrow(self, number: int) -> None:
        """Accept from a socket that has been sent; of several, from the last one."""
        taken = take(self._loans)
        wanted = taken.pop(number, None)
        for other in taken.values():  # of questions that ended before they were answered
            other.close()
        if wanted is None:
            raise OSError("the socket has not come")
        await self._begun.accepting.add(number, wanted)

    def _report(self) -> messages.State:
        worker = self._begun
        return messages.State(
            *worker.state.ready(), figures_of(worker.metrics), worker.state.status()
        )

    @property
    def _begun(self) -> Worker:
        if self.worker is None:
            raise RuntimeError("asked before it has begun")
        return self.worker

    def _taken(self) -> Snapshot:
        prepared, self._next = self._next, None
        if prepared is None:
            raise RuntimeError("nothing was prepared")
        return prepared


async def _outcome(doing: Coroutine[Any, Any, None]) -> str:
    """Return why something could not be done, "" if it was."""
    try:
        await doing
    except (OSError, ValueError, RuntimeError) as error:
        return told(error)
    return ""


async def run(end: socket.socket, loans: socket.socket, listener: socket.socket) -> int:
    """Be a worker until told to end; return the exit code of the process."""
    child = Child(listener, loans)
    loop = asyncio.get_running_loop()
    loop.add_signal_handler(signal.SIGTERM, child.ending.set)
    answerer = Answerer(await open_channel(end), child.answer)
    asked = loop.create_task(answerer.serve())
    ended = loop.create_task(child.ending.wait())
    await asyncio.wait({asked, ended}, return_when=asyncio.FIRST_COMPLETED)
    if child.worker is not None:
        drained = loop.create_task(child.worker.drain())
        deaf = loop.create_task(child.worker.deaf.wait())
        await asyncio.wait({drained, deaf}, return_when=asyncio.FIRST_COMPLETED)
        await answerer.tell(messages.Deaf())
        await drained
        deaf.cancel()
    for task in (asked, ended):
        task.cancel()
    return 0


def main(arguments: list[str]) -> int:
    """Run with the descriptors of the channel, of the loans and of the listening socket."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    signal.signal(signal.SIGHUP, signal.SIG_IGN)
    end, loans, listener = (socket.socket(fileno=int(number)) for number in arguments)
    for inherited in (end, loans, listener):
        inherited.set_inheritable(False)
        inherited.setblocking(False)
    return run_process(run(end, loans, listener))


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
