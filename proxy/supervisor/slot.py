"""A place for one worker: its listening socket, and the process that serves it at the moment.

The socket belongs to the slot and outlives every process that serves it: closing one of several
sockets on a port would reset the connections that wait in its queue (SO_REUSEPORT, socket(7)). What
comes while a worker is being replaced is for the other workers, who have the socket on loan, and
waits for the next one where there are none.
"""

from __future__ import annotations

import asyncio
import logging
import signal
import socket
from time import monotonic
from typing import TYPE_CHECKING, Final, Protocol

from proxy.supervisor.channel import ChannelClosed
from proxy.supervisor.process import WorkerProcess
from proxy.telemetry.figures import added, counters_of
from proxy.worker.reload import told
from proxy.worker.sockets import has_callers

if TYPE_CHECKING:
    from proxy.config.model import Config
    from proxy.telemetry.figures import Figures

_log = logging.getLogger("gatelodge.supervisor")

_STEADY: Final = 10.0
"""Seconds after which a worker that ends is no sign of one that cannot live."""
_PAUSES: Final = (0.0, 0.1, 0.5, 1.0, 2.0, 5.0, 10.0)
"""Seconds before a worker is started anew, by how many before it have ended early."""
_SERVED: Final = 2
"""The most of these that one counts for which has served: where it was the only one, connections
wait for its successor.
"""
_START: Final = 60.0
"""Seconds within which a worker must serve, on a machine with better things to do."""
_POLL: Final = 1.0
"""Seconds between two reports: the most that is missing of the counters of a worker that is
killed.
"""

_LATE: Final = 5.0
"""Seconds beyond `drain.timeout` that a worker has for its end, on a machine with better things to
do; one that stands still would never come to it.
"""
_PROMPT: Final = 2.0
"""Seconds for a report after which others accept for a worker, too."""
PATIENCE: Final = 15.0
"""Seconds for a report. A worker that has not made one in twice that serves nobody."""


class Owner(Protocol):
    """Who has slots, and says what their workers should do."""

    @property
    def config(self) -> Config:
        """What a worker should serve by."""

    def departs_in(self) -> float | None:
        """Return in how many seconds workers should let their clients go; None: not at all."""

    def settle(self) -> None:
        """See to it that every socket is served: there is a worker, or none any more."""


class Slot:
    """Keeps one worker alive."""

    def __init__(self, number: int, listener: socket.socket, owner: Owner) -> None:
        self.number = number
        self.listener = listener
        """The socket, which is closed when the slot ends."""
        self._owner = owner
        self.worker: WorkerProcess | None = None
        """The process that accepts connections, if one does."""
        self.processes: set[WorkerProcess] = set()
        """It, and those that only finish what they have."""
        self.departed: Figures = {}
        """The counters of those that have ended."""
        self.restarts = 0
        self._early = 0
        self._stopped: set[WorkerProcess] = set()
        self._keeper: asyncio.Task[None] | None = None
        self._followers: set[asyncio.Task[None]] = set()

    def __repr__(self) -> str:
        return f"<Slot {self.number} worker={self.worker} restarts={self.restarts}>"

    async def start(self) -> str:
        """Start the first worker, and from then on one in the place of each that ends; return why
        it cannot serve, "" when it does.
        """
        problem = await self._start()
        if not problem:
            self._keeper = asyncio.get_running_loop().create_task(self._keep())
        return problem

    async def _start(self) -> str:
        worker = await WorkerProcess.spawn(self.listener)
        try:
            async with asyncio.timeout(_START):
                problem = await self._begin(worker) or await self._accept(worker)
        except TimeoutError:
            problem = f"it does not serve within {_START:g} s"
        except ChannelClosed:
            problem = f"it ended while it started: {_end_of(await asyncio.shield(worker.ended))}"
        except asyncio.CancelledError:
            await self._give_up(worker)
            raise
        if problem:
            await self._give_up(worker)
            return problem
        follower = asyncio.get_running_loop().create_task(self._follow(worker))
        self._followers.add(follower)
        follower.add_done_callback(self._followers.discard)
        self._owner.settle()
        _log.info("worker serves", extra={"number": self.number, "pid": worker.pid})
        return ""

    async def _begin(self, worker: WorkerProcess) -> str:
        """Let it get ready for what is wanted when it is; return why it cannot."""
        problem = await worker.begin(self._owner.config, self.number)
        departs = False
        while not problem:
            if worker.config is not (config := self._owner.config):
                problem = await worker.prepare(config)
                if not problem:
                    await worker.commit(config)
            elif not departs and (delay := self._owner.departs_in()) is not None:
                departs = True
                await worker.depart(delay)
            else:
                break
        return problem

    async def _accept(self, worker: WorkerProcess) -> str:
        """Let it accept connections, none of which it may answer by a configuration that a reload
        has ended: it is told of reloads before it accepts. Return why it cannot.
        """
        self.worker = worker
        self.processes.add(worker)
        return await worker.accept()

    async def _give_up(self, worker: WorkerProcess) -> None:
        await worker.kill()
        self.processes.discard(worker)
        if self.worker is worker:
            self.worker = None
            self._owner.settle()

    async def _keep(self) -> None:
        """Start a worker whenever there is none that accepts connections."""
        while True:
            if self.worker is not None:
                await self._attend(self.worker)
            self.restarts += 1
            await asyncio.sleep(_PAUSES[min(self._early, len(_PAUSES) - 1)])
            if not await self._restart():
                self._early += 1

    async def _restart(self) -> bool:
        """Start a worker; return whether one serves."""
        try:
            problem = await self._start()
        except OSError as error:
            problem = told(error)
        if problem:
            extra = {"number": self.number, "reason": problem}
            _log.error("worker cannot start", extra=extra)
        return not problem

    async def _attend(self, worker: WorkerProcess) -> None:
        """Wait until it accepts no more connections."""
        started = monotonic()
        await worker.stand()
        self.worker = None
        self._owner.settle()
        steady = monotonic() - started >= _STEADY
        self._early = 0 if steady else min(self._early + 1, _SERVED)
        if not worker.ended.done():  # else who follows it says so
            _log.info("worker drains", extra={"number": self.number, "pid": worker.pid})

    async def _follow(self, worker: WorkerProcess) -> None:
        """Ask it again and again how it is, and keep what it has counted."""
        while not worker.ended.done():
            if not await self._reports(worker):
                extra = {"number": self.number, "pid": worker.pid}
                _log.error("worker does not answer, and is killed", extra=extra)
                await worker.kill()
            await asyncio.wait({worker.ended}, timeout=_POLL)
        code = worker.ended.result()
        if (code or not worker.deaf.is_set()) and worker not in self._stopped:
            extra = {"number": self.number, "pid": worker.pid}
            _log.error("worker has ended", extra={**extra, "reason": _end_of(code)})
        if worker.state is not None:
            self.departed = added([self.departed, counters_of(worker.state.figures)])
        self.processes.discard(worker)

    async def _reports(self, worker: WorkerProcess) -> bool:
        """Let it report; return whether it has, or has ended. If it takes its time, others accept
        for it meanwhile.
        """
        reporting = asyncio.get_running_loop().create_task(_report(worker))
        try:
            # Twice, since once may be because we stood still ourselves.
            for patience in (_PROMPT, PATIENCE, PATIENCE):
                await asyncio.wait({reporting}, timeout=patience)
                if reporting.done():
                    return True
                self._note_pace(worker, is_slow=True)
            return False
        finally:
            reporting.cancel()
            self._note_pace(worker, is_slow=False)

    def _note_pace(self, worker: WorkerProcess, *, is_slow: bool) -> None:
        if worker.is_slow != is_slow:
            worker.is_slow = is_slow
            self._owner.settle()

    async def drain(self) -> None:
        """Let every process end without losing a request; the listening socket closes with the
        last one that has it, which does so when nobody waits in its queue.
        """
        await self._stop_keeping()
        # Who waits for the next one waits in vain otherwise.
        if not self._is_served and has_callers(self.listener):
            await self._restart()
        self.listener.close()
        await asyncio.gather(*(self._drain(process) for process in self.processes))

    async def _drain(self, process: WorkerProcess) -> None:
        try:
            async with asyncio.timeout(self._owner.config.drain.timeout + _LATE):
                await process.drain()
        except TimeoutError:
            extra = {"number": self.number, "pid": process.pid}
            _log.error("worker does not end, and is killed", extra=extra)
            await process.kill()

    @property
    def _is_served(self) -> bool:
        """Whether there is a worker that accepts, as far as one can know."""
        worker = self.worker
        return worker is not None and not worker.deaf.is_set() and not worker.ended.done()

    async def stop(self) -> None:
        """End every process now."""
        await self._stop_keeping()
        self.listener.close()
        self._stopped.update(each for each in self.processes if not each.ended.done())
        await asyncio.gather(*(process.kill() for process in tuple(self.processes)))
        await asyncio.gather(*self._followers)

    async def _stop_keeping(self) -> None:
        if self._keeper is not None:
            self._keeper.cancel()
            await asyncio.wait({self._keeper})


async def _report(worker: WorkerProcess) -> None:
    try:
        await worker.report()
    except ChannelClosed:
        pass  # it has ended, or is about to


def _end_of(code: int) -> str:
    """Return how a process ended, in words."""
    if code >= 0:
        return f"exit code {code}"
    try:
        return f"killed by {signal.Signals(-code).name}"
    except ValueError:
        return f"killed by signal {-code}"
