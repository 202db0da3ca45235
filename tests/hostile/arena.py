"""Where attacks take place: a gateway before a recording upstream.

After every attack comes the *fence*: an innocent request through the same gateway. When its answer
is back, everything that the gateway sent upstream before it has been recorded, since both pass
through the same two event loops in order; and it shows that the gateway still serves others, from a
pool that the attack has not poisoned. No case passes without it, so nothing that is not there, or
does not forward, can pass one.
"""

from __future__ import annotations

import asyncio
import re
import time
from collections.abc import Iterator, Mapping
from contextlib import AsyncExitStack, contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

from proxy.demo.postgres import Postgres, running
from tests.hostile.cases import Case, Read, Resolve, Send, Sleep, fill
from tests.hostile.outcome import NotAsExpected, Outcome, demand
from tests.hostile.profiles import FENCE, HOST, render
from tests.hostile.scripts import Scripts
from tests.hostile.tokens import AUTHJS, PEER, Kind, resolver
from tests.support.adapters import ADAPTERS
from tests.support.answers import Answer, Answers
from tests.support.client import RawClient, exchange
from tests.support.gateway import GatewayProcess
from tests.support.postgres import Database, make_database
from tests.support.upstream import Recorded, StubUpstream

HASTE: Final = 1 / 20
"""How much shorter the deadlines of the gateway `hasty` are, and the pauses of slow senders."""

PATIENCE: Final = 5.0
"""Seconds for an answer, or for the end of a connection, that does not come."""

_STARTING: Final = 2
"""Gateways that start at the same time: importing keeps a processor busy."""

_CLOSE: Final = re.compile(rb"\r\nConnection:[^\r\n]*\bclose\b[^\r\n]*\r\n", re.IGNORECASE)


@dataclass(slots=True)
class Place:
    """A gateway at `host` and `port`, and its upstream.

    `process` is the gateway when we have started it, None when it is somebody else's, of which we
    see nothing but its sockets. `own_errors`: its errors must look as ours do. `pace` is how much
    of its pauses a slow sender makes.
    """

    upstream: StubUpstream
    scripts: Scripts
    port: int
    host: str = "127.0.0.1"
    process: GatewayProcess | None = None
    database: Database | None = None
    kind: Kind = AUTHJS
    pace: float = 1.0
    own_errors: bool = True
    patience: float = PATIENCE
    peer: str = PEER
    _fences: int = field(default=0, init=False)

    @property
    def deadline(self) -> float:
        """Seconds until what takes several steps has failed."""
        return 2 * self.patience

    @property
    def gateway(self) -> GatewayProcess:
        """The process, in those cases that need one."""
        assert self.process is not None, "this case needs a gateway that we have started"
        return self.process

    def client(self, *, window: int | None = None, port: int | None = None) -> RawClient:
        """Return a connection to the gateway, not open yet."""
        return RawClient(port or self.port, host=self.host, window=window)

    def resolver(self, variant: str = "") -> Resolve:
        """Return what a placeholder's name stands for here."""
        return resolver(variant, self.kind, self.peer)

    def session(self, claims: Mapping[str, Any]) -> str:
        """Return a session of these claims that the gateway accepts."""
        return self.kind.session(claims)

    async def ask(self, request: str) -> Answer:
        """Send one request on a connection of its own; return its answer.

        Raises NotAsExpected when there is none.
        """
        try:
            return await exchange(
                self.port, request.encode(), host=self.host, deadline=self.deadline
            )
        except (AssertionError, TimeoutError) as error:
            raise NotAsExpected(f"no answer: {error}") from None

    async def fence(self) -> bool:
        """Send the innocent request; return whether it got its own answer."""
        self._fences += 1
        target = f"{FENCE}?{self._fences}"
        try:
            answer = await self.ask(
                f"GET {target} HTTP/1.1\r\nHost: {HOST}\r\nConnection: close\r\n\r\n"
            )
            return answer.status == 200 and bool(answer.json()["target"] == target)
        except (NotAsExpected, OSError, LookupError, TypeError, ValueError):
            return False

    def cpu_or_clock(self) -> float:
        """Return seconds: the CPU time of our own process, or what the clock says."""
        return time.monotonic() if self.process is None else self.process.cpu_seconds()

    @contextmanager
    def bounded_memory(self, limit: int) -> Iterator[None]:
        """Hold that the gateway takes less than `limit` bytes more inside. Raises NotAsExpected.

        Nothing is known about the memory of a process that is not ours.
        """
        if self.process is None:
            yield
            return
        before = self.process.forget_peak()
        yield
        grown = self.process.peak_rss() - before
        demand(grown < limit, f"took {grown >> 20} MiB more memory, not less than {limit >> 20}")

    async def outcome(self, answers: Answers, *, closed: bool, asked_to_close: bool) -> Outcome:
        """Put up the fence and return what has come of the attack."""
        alive = await self.fence()
        upstream = self.upstream
        requests = [request for request in upstream.requests if not _is_fence(request)]
        received = upstream.received
        for request in upstream.requests:
            if _is_fence(request):
                received = received.replace(bytes(request.raw), b"")
        return Outcome(
            answers=answers,
            closed=closed,
            asked_to_close=asked_to_close,
            requests=requests,
            upstream_bytes=received,
            violations=list(upstream.violations),
            alive=alive and (self.process is None or self.process.running),
        )


def _is_fence(request: Recorded) -> bool:
    return request.path == FENCE


async def _stored(server: Postgres) -> Database:
    """Return a database with the sessions that the cases speak of."""
    adapter = ADAPTERS["pg"]
    database = await make_database(server)
    await database.set_up(adapter)
    end = time.time() + 3600
    owners = {"DB_VALID": None, "DB_DELETED": None, "DB_ORPHAN": "7"}
    for name, owner in owners.items():
        token = resolver()(name).decode()
        await database.run(adapter.insert_session(token, end, user=owner))
    return database


class Arena:
    """The places by name of our own gateway, which starts when it is first asked for."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._stack = AsyncExitStack()
        self._starting = asyncio.Semaphore(_STARTING)
        self.places: dict[str, Place] = {}

    async def place(self, name: str) -> Place:
        """Return the place of the gateway `name`. Raises GatewayFailed when it does not start."""
        if name in self.places:
            return self.places[name]
        async with self._starting:
            upstream = await self._stack.enter_async_context(StubUpstream())
            scripts = Scripts(upstream)
            database = None
            if name == "stored":
                database = await _stored(self._stack.enter_context(running()))
            env = {} if database is None else {"DATABASE_URL": database.url}
            config = render(name, upstream.url)
            process = GatewayProcess(config, self._folder, name=name, env=env)
            await self._stack.enter_async_context(process)
            self.places[name] = Place(
                upstream,
                scripts,
                process.port,
                process=process,
                database=database,
                pace=HASTE if name == "hasty" else 1.0,
            )
        return self.places[name]

    async def aclose(self) -> None:
        """Stop everything, the gateways all at once."""
        await asyncio.gather(*(place.gateway.terminate() for place in self.places.values()))
        await self._stack.aclose()


async def attack(place: Place, case: Case, variant: str = "") -> Outcome:
    """Play the steps of `case` on one connection and return what came of them.

    `Outcome.milliseconds` is the CPU time that our own gateway took: on a busy machine the clock
    says nothing about the gateway, and the cases that limit the time are about work that an
    attacker causes. Of somebody else's gateway there is only the clock; see `engine.py`.
    """
    place.upstream.forget()
    port = place.gateway.admin_port if case.profile == "admin" else place.port
    resolve = place.resolver(variant)
    # Before the clock runs: minting a token can take longer than the case allows the gateway.
    steps = [fill(s.template, resolve) if isinstance(s, Send) else s for s in case.steps]
    before = place.cpu_or_clock()
    async with place.client(port=port) as client:
        asked = await _play(place, client, steps)
        until_closed = asked or "conn_close" in case.answer_asserts
        end = await _await_end(place, client, until_closed=until_closed)
        answers, closed = client.answers(), client.eof
    outcome = await place.outcome(answers, closed=closed, asked_to_close=asked)
    outcome.milliseconds = (end - before) * 1000
    return outcome


async def _play(place: Place, client: RawClient, steps: list[bytes | Read | Sleep]) -> bool:
    """Send what there is to send; return whether the last of it asks to close the connection."""
    read = 0
    asked = False
    for step in steps:
        match step:
            case bytes(data):
                asked = _CLOSE.search(data) is not None
                await client.send(data, deadline=place.deadline)
            case Read(count):
                read += count
                await client.read_answers(read, deadline=place.patience)
            case Sleep(seconds):
                # A pause ends early when the gateway has had enough.
                with suppress(TimeoutError):
                    await client.wait(lambda: client.eof, deadline=seconds * place.pace)
    return asked


async def _await_end(place: Place, client: RawClient, *, until_closed: bool) -> float:
    """Wait until the gateway has said everything; return CPU time or clock when it had.

    On a connection that may stay open, that is when an answer is whole and a fence later nothing
    follows it.
    """

    def answered() -> bool:
        answers = client.answers()
        return client.eof or answers.settled or answers.garbage

    with suppress(TimeoutError):
        await client.wait(answered, deadline=place.patience)
    said = place.cpu_or_clock()
    if until_closed:
        with suppress(TimeoutError):
            await client.wait(lambda: client.eof, deadline=place.patience)
    if not client.eof:
        await place.fence()
    return said if place.process is None else place.cpu_or_clock()


async def at_once(place: Place, requests: list[bytes]) -> Answers:
    """Send each request on a connection of its own, all together; return the answers in order."""
    async with AsyncExitStack() as stack:
        clients = [await stack.enter_async_context(place.client()) for _ in requests]
        for client, request in zip(clients, requests, strict=True):
            client.post(request)
        reads = [client.read_until_closed(deadline=place.deadline) for client in clients]
        await asyncio.gather(*reads)
        return Answers([answer for client in clients for answer in client.answers().all])
