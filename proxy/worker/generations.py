"""One configuration after the other: built beside the one in use, then in its place.

A request keeps the generation that it began with. So nothing that a generation needs ends before
its last exchange has no more use for it: a store that the next one does not take over is stopped
when all of its decisions have been made.
"""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

from proxy.gateway.snapshot import Snapshot, take_snapshot

if TYPE_CHECKING:
    from collections.abc import Coroutine, Iterable

    from proxy.config.model import Config
    from proxy.session.store import Store
    from proxy.telemetry.metrics import Metrics
    from proxy.upstream.deadlines import Deadlines


class Generations:
    """Makes the snapshots of a gateway, and ends what only an earlier one had."""

    def __init__(
        self, loop: asyncio.AbstractEventLoop, deadlines: Deadlines, metrics: Metrics
    ) -> None:
        self._loop = loop
        self._deadlines = deadlines
        self._metrics = metrics
        self._left: set[Store] = set()
        self._endings: set[asyncio.Task[None]] = set()

    def __repr__(self) -> str:
        return f"<Generations left={len(self._left)}>"

    async def build(self, config: Config, before: Snapshot | None = None) -> Snapshot:
        """Return the snapshot to use for `config` from now on, with what it asks started: stores,
        limits, and the first addresses of its endpoints.

        Rules are compiled in a thread, as requests of the generation `before` are under way. Raises
        OSError, and ValueError for rules or a store that cannot be used; nothing has changed then.
        """
        generation = 1 if before is None else before.generation + 1
        snapshot = await asyncio.to_thread(
            take_snapshot, config, generation, self._loop, self._deadlines, self._metrics, before
        )
        stores, limiter = _others(snapshot, before), before.limiter if before else None
        await _start_all(stores)
        try:
            await snapshot.limiter.start(limiter)
            await asyncio.gather(*(pool.prepare() for pool in snapshot.pools.values()))
        except BaseException:
            await snapshot.limiter.stop(limiter)
            await _stop_all(stores)
            raise
        return snapshot

    def begin(self, first: Snapshot) -> None:
        """Look after the endpoints of the first generation."""
        for pool in first.pools.values():
            pool.start()

    async def abandon(self, snapshot: Snapshot, before: Snapshot) -> None:
        """End what a snapshot that was built and not used does not share with `before`."""
        for pool in snapshot.pools.values():
            await pool.stop()
        await _stop_all(_others(snapshot, before))
        await snapshot.limiter.stop(before.limiter)

    def retire(self, before: Snapshot, after: Snapshot) -> None:
        """Hand over to `after`, which has taken its place, and end what it does not share."""
        after.limiter.take_over(before.limiter)
        before.lane.close()
        for name, pool in after.pools.items():
            if name in before.pools:
                pool.take_over(before.pools[name])
            pool.start()
        self._end(self._stop_pools(before))
        self._left.update(alone := _others(before, after))
        self._end(self._stop_unused(before, after, alone))

    def _end(self, work: Coroutine[None, None, None]) -> None:
        task = self._loop.create_task(work)
        self._endings.add(task)
        task.add_done_callback(self._endings.discard)

    async def _stop_pools(self, snapshot: Snapshot) -> None:
        for pool in snapshot.pools.values():
            await pool.stop()

    async def stop(self, last: Snapshot) -> None:
        """End the generation in use, and whatever earlier ones have left."""
        await self._stop_pools(last)
        for ending in tuple(self._endings):
            ending.cancel()
        await asyncio.gather(*self._endings, return_exceptions=True)
        await _stop_all({*last.stores.values(), *self._left})
        await last.limiter.stop()

    async def _stop_unused(self, before: Snapshot, after: Snapshot, stores: list[Store]) -> None:
        await before.deciding.over()
        await before.limiter.stop(after.limiter)
        await _stop_all(stores)
        self._left.difference_update(stores)


def _others(snapshot: Snapshot, than: Snapshot | None) -> list[Store]:
    """Return the stores of `snapshot` that the other one does not have."""
    known = () if than is None else tuple(than.stores.values())
    return [store for store in snapshot.stores.values() if store not in known]


async def _start_all(stores: Iterable[Store]) -> None:
    """Start all, or none. Raises ValueError for one that cannot be used."""
    started: list[Store] = []
    try:
        for store in stores:
            await store.start()
            started.append(store)
    except BaseException:
        await _stop_all(started)
        raise


async def _stop_all(stores: Iterable[Store]) -> None:
    for store in stores:
        await store.stop()
