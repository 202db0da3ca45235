"""Running a gateway as several processes: who owns the sockets, and decides for all workers."""

from __future__ import annotations

import asyncio
import logging
import os
from time import monotonic
from typing import TYPE_CHECKING, Any, Final

from proxy import __version__
from proxy.admin.app import serve_admin
from proxy.supervisor.channel import ChannelClosed
from proxy.supervisor.cores import usable_cores
from proxy.supervisor.slot import Slot
from proxy.supervisor.state import SupervisorState
from proxy.telemetry import logs
from proxy.telemetry.metrics import Metrics
from proxy.worker.reload import Reloader, told
from proxy.worker.serve import ending, has_started, on_hangup, run_process, run_until
from proxy.worker.sockets import announce, bind, bind_group, refuse_useless
from proxy.worker.systemd import Notifier, take_sockets
from proxy.worker.watch import Watch

if TYPE_CHECKING:
    import socket
    from collections.abc import Callable, Coroutine, Iterable, Sequence

    from proxy.config.model import Config
    from proxy.supervisor.process import WorkerProcess
    from proxy.worker.source import ConfigSource

_log = logging.getLogger("gatelodge.supervisor")

_REPORTS: Final = 1.0
"""Seconds that operators wait for all workers."""
_LEND_AGAIN: Final = 1.0
"""Seconds before a worker is lent again what it could not take, as when it had no files left."""


def supervise(config: Config, source: ConfigSource) -> int:
    """Run a gateway of several workers until a signal ends it; return the exit code of the process.

    The signals are those of a single worker.
    """
    logs.set_up(config.log.level, config.log.format)
    return run_process(_supervise(config, source))


async def _supervise(config: Config, source: ConfigSource) -> int:
    ended = ending()  # before anybody can learn that there is something to end
    notifier = Notifier(os.environ)
    supervisor = Supervisor(config, source, take_sockets(os.environ), notifier)
    on_hangup(supervisor.reloader.ask)
    try:
        serves = await has_started(supervisor.start(), ended)
    except (OSError, ValueError, RuntimeError) as error:
        if not ended.done():
            _log.error("cannot start", extra={"reason": told(error)})
            await supervisor.stop()
            return 1
        serves = False  # systemd tells all of our processes to end, also one that starts
    if not serves and not supervisor.serves:
        await supervisor.stop()
        return ended.result()
    return await run_until(ended, supervisor, notifier)


class Supervisor:
    """The slots of all workers, and the one admin listener."""

    def __init__(
        self,
        config: Config,
        source: ConfigSource,
        given: Sequence[socket.socket],
        notifier: Notifier,
    ) -> None:
        self.config = config
        """What every worker should serve by."""
        self.generation = 1
        self.slots: list[Slot] = []
        self.addresses: dict[str, str] = {}
        self.metrics = Metrics()
        """What is the supervisor's own: the reloads."""
        self.reloader = Reloader(source, self._use, self.metrics, config, notifier)
        self.state = SupervisorState(self, __version__)
        self._source = source
        self._given = given
        self._watch: asyncio.Task[None] | None = None
        self._closes_at: float | None = None
        self._closes = False
        self._lending: set[asyncio.Task[None]] = set()
        self._lending_again: set[WorkerProcess] = set()
        self._end_admin: Callable[[], Coroutine[None, None, None]] | None = None
        self._admin_socket: socket.socket | None = None

    def __repr__(self) -> str:
        return f"<Supervisor {self.slots}>"

    async def start(self) -> None:
        """Open the listeners and start all workers. Raises OSError and ValueError."""
        config, loop = self.config, asyncio.get_running_loop()
        count = usable_cores() if config.workers == "auto" else config.workers
        refuse_useless(self._given, config)
        listeners = bind_group(config.listen.address, count, self._given)
        self.slots = [Slot(number, listener, self) for number, listener in enumerate(listeners, 1)]
        self._admin_socket = admin = bind(config.admin, self._given)
        problems = await asyncio.gather(*(slot.start() for slot in self.slots))
        for problem in filter(None, problems):
            raise ValueError(problem)
        self._end_admin = await serve_admin(self.state, admin)
        self.addresses["admin"] = announce("admin", admin)
        self.addresses["main"] = announce("main", listeners[0])
        watch = Watch(self._source, lambda: self.config.watch, self.reloader.ask)
        self._watch = loop.create_task(watch.run())
        self.state.phase = "ready"
        self.settle()
        self.reloader.begin()

    @property
    def serves(self) -> bool:
        """Whether there is a worker that accepts connections."""
        return any(slot.worker is not None for slot in self.slots)

    async def _use(self, config: Config) -> int:
        """Let every worker build the next generation, one after the other, and then all use it.

        When one cannot, none does: raises ValueError.
        """
        prepared: list[WorkerProcess] = []
        for slot in self.slots:
            worker = slot.worker
            if worker is None:
                continue  # the next one begins by what is wanted then
            problem = await _prepare(worker, config)
            if problem is None:
                continue
            if problem:
                await _all(each.abandon() for each in prepared)
                raise ValueError(f"worker {slot.number}: {problem}")
            prepared.append(worker)
        if config.log != self.config.log:
            logs.set_up(config.log.level, config.log.format)
        self.config = config
        self.generation += 1
        await _all(each.commit(config) for each in prepared)
        await self._catch_up(config)
        return self.generation

    async def _catch_up(self, config: Config) -> None:
        """See to the workers that began by the configuration before, just before it was one."""
        for worker in [slot.worker for slot in self.slots if slot.worker is not None]:
            if worker.config is config:
                continue
            problem = await _prepare(worker, config)
            if problem == "":
                await _all([worker.commit(config)])
            elif problem:
                _log.error("worker cannot follow", extra={"pid": worker.pid, "reason": problem})
                await worker.kill()  # and the next one begins by it

    async def gather(self) -> None:
        """Let every worker report how it is; of one that stands still, what it said last stays."""
        await self._soon(process.report() for slot in self.slots for process in slot.processes)

    async def _soon(self, doings: Iterable[Coroutine[Any, Any, None]]) -> None:
        """Do all at once, and do not wait for a worker that stands still."""
        try:
            async with asyncio.timeout(_REPORTS):
                await _all(doings)
        except TimeoutError:
            pass

    def settle(self) -> None:
        """Lend the sockets that nobody accepts from to all workers there are."""
        if self.state.phase == "starting" or self._closes:
            return
        for worker in [slot.worker for slot in self.slots if slot.worker is not None]:
            task = asyncio.get_running_loop().create_task(self._lend(worker))
            self._lending.add(task)
            task.add_done_callback(self._lending.discard)

    async def _lend(self, worker: WorkerProcess) -> None:
        while not self._closes:
            try:
                await worker.borrow(lambda: self._unserved(worker))
            except ChannelClosed:
                return  # the others do
            except OSError as error:
                extra = {"pid": worker.pid, "reason": told(error)}
                _log.warning("worker cannot accept for another one", extra=extra)
            else:
                return
            if worker in self._lending_again:
                return
            self._lending_again.add(worker)
            await asyncio.sleep(_LEND_AGAIN)
            self._lending_again.discard(worker)

    def _unserved(self, borrower: WorkerProcess) -> dict[int, socket.socket]:
        """Return the sockets that nobody accepts from, or one who stands still, by the numbers of
        their slots; without that of `borrower`.
        """
        slots = [slot for slot in self.slots if slot.listener.fileno() >= 0]
        if len({os.fstat(slot.listener.fileno()).st_ino for slot in slots}) < 2:
            return {}  # they are one and the same
        return {
            slot.number: slot.listener
            for slot in slots
            if slot.worker is not borrower and (slot.worker is None or slot.worker.is_slow)
        }

    def departs_in(self) -> float | None:
        """Return in how many seconds workers should let their clients go; None: not at all."""
        return None if self._closes_at is None else max(0.0, self._closes_at - monotonic())

    async def depart(self) -> None:
        """Withdraw readiness, and let clients go elsewhere after `drain.delay`. The second time
        nothing happens.
        """
        if self._closes_at is not None:
            return
        delay = self.config.drain.delay
        self._closes_at = monotonic() + delay
        self.state.phase = "draining"
        _log.info("draining", extra={"workers": len(self.slots)})
        await self._soon(process.depart(delay) for slot in self.slots for process in slot.processes)

    async def drain(self) -> None:
        """End without losing a request. Until connections close, workers are replaced as ever."""
        await self.depart()
        await asyncio.sleep(self.departs_in() or 0.0)
        self._closes = True  # whoever has a socket on loan closes it in a drain of its own
        await self._stop_changes()
        await asyncio.gather(*(slot.drain() for slot in self.slots))
        await self.stop()

    async def stop(self) -> None:
        """End now."""
        await self._stop_changes()
        for lending in tuple(self._lending):
            lending.cancel()
        await asyncio.gather(*(slot.stop() for slot in self.slots))
        if self._end_admin is not None:
            await self._end_admin()
        if self._admin_socket is not None:
            self._admin_socket.close()
        self.state.phase = "stopped"

    async def _stop_changes(self) -> None:
        if self._watch is not None:
            self._watch.cancel()
        await self.reloader.stop()


async def _prepare(worker: WorkerProcess, config: Config) -> str | None:
    """Return why a worker cannot use a configuration, "" if it can, None if it has ended."""
    try:
        return await worker.prepare(config)
    except ChannelClosed:
        return None


async def _all(doings: Iterable[Coroutine[Any, Any, None]]) -> None:
    """Do all at once; a worker that has ended has nothing to do any more."""
    for outcome in await asyncio.gather(*doings, return_exceptions=True):
        if isinstance(outcome, BaseException) and not isinstance(outcome, ChannelClosed):
            raise outcome
