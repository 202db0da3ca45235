"""Whether endpoints, databases and the Redis of a configuration can be reached, by the gateway's
own ways of connecting.
"""

from __future__ import annotations

import asyncio
from contextlib import asynccontextmanager
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING

from proxy.errors import LimitStoreDown, ProxyError, SessionStoreDown
from proxy.upstream.deadlines import Deadlines
from proxy.upstream.handshake import hear
from proxy.upstream.pool import Pool

if TYPE_CHECKING:
    import ssl
    from collections.abc import AsyncIterator, Callable, Mapping

    from proxy.config.model import Config, UpstreamConfig
    from proxy.config.model import Endpoint as Address
    from proxy.session.database import PostgresStore
    from proxy.upstream.endpoint import Endpoint


@dataclass(frozen=True, slots=True)
class Reached:
    """An endpoint, and why it cannot be reached: "" if it can."""

    upstream: str
    endpoint: str
    problem: str


async def connect_all(config: Config) -> list[Reached]:
    """Connect to every endpoint at the same time, TLS included, those that DNS names too; nothing
    is sent.
    """
    loop = asyncio.get_running_loop()
    deadlines = Deadlines(loop)
    try:
        tries, unknown = [], []
        for name, upstream in config.upstreams.items():
            pool = Pool(name, upstream, loop, deadlines)
            await pool.prepare()
            for endpoint in pool.endpoints:
                address = endpoint.address
                heard = None if pool.tls is None else _hearing(address, upstream, pool.tls)
                tries.append(_connect(name, endpoint, upstream.timeouts.connect, heard))
            if upstream.dns is not None and not pool.endpoints:
                unknown.append(Reached(name, str(upstream.dns.name), pool.problem))
        return [*unknown, *await asyncio.gather(*tries)]
    finally:
        deadlines.stop()


@dataclass(frozen=True, slots=True)
class Asked:
    """The database of a session: where in it the sessions are, and why it cannot be asked, "" if it
    can. `advice` is what its owner should do.
    """

    session: str
    tables: str
    problem: str
    advice: str = ""


@asynccontextmanager
async def stores_of(config: Config) -> AsyncIterator[Mapping[str, PostgresStore]]:
    """Connect to every database; those that cannot be asked say so when they are."""
    from proxy.session.database import PostgresStore

    stores = {
        name: PostgresStore(name, session.database, lambda *_: None)
        for name, session in config.sessions.items()
        if session.database is not None
    }
    try:
        for store in stores.values():
            try:
                await store.start()
            except ValueError:
                pass  # its state says what does not fit
        yield stores
    finally:
        for store in stores.values():
            await store.stop()


async def ask_all(config: Config) -> list[Asked]:
    """Connect to every database and find its tables; nothing is changed."""
    async with stores_of(config) as stores:
        return [await _ask(name, store) for name, store in stores.items()]


async def ask_redis(config: Config) -> str | None:
    """Return why the server that counts requests cannot be asked, "" if it can; None where there is
    none. Nothing is counted.
    """
    if config.redis is None:
        return None
    # Memory that a command which asks no such server has no use for.
    from proxy.limits.server import RedisServer
    from proxy.limits.shared import CONNECT

    try:
        server = RedisServer(config.redis)
    except (ValueError, OSError) as error:
        return str(error)
    try:
        async with asyncio.timeout(CONNECT):
            await server.ask([], [])
    except LimitStoreDown as error:
        return error.reason
    except TimeoutError:
        return "no answer in time"
    finally:
        await server.close()
    return ""


async def _ask(session: str, store: PostgresStore) -> Asked:
    from proxy.core.statement import index_hint

    state = store.state()
    if state.problem or store.layout is None:
        return Asked(session, state.tables, state.problem)
    try:
        slow = await store.lacks_index()
    except SessionStoreDown as error:
        return Asked(session, state.tables, error.reason)
    advice = f"no index on the token: {index_hint(store.layout)}" if slow else ""
    return Asked(session, state.tables, "", advice)


def _hearing(
    address: Address, upstream: UpstreamConfig, context: ssl.SSLContext
) -> Callable[[], None] | None:
    """Return what finds out whether an https endpoint takes our certificate."""
    if address.scheme != "https":
        return None
    name = upstream.tls.server_name if upstream.tls is not None else None
    return partial(
        hear, address.host, address.port, context, name or address.host, upstream.timeouts.connect
    )


async def _connect(
    upstream: str, endpoint: Endpoint, timeout: float, heard: Callable[[], None] | None
) -> Reached:
    try:
        connection = await endpoint.connect(timeout)
        connection.abort()
        if heard is not None:
            await asyncio.to_thread(heard)
    except ProxyError as error:
        return Reached(upstream, endpoint.name, error.reason or error.detail)
    return Reached(upstream, endpoint.name, "")
