"""Where attacks take place: gateways, each before a recording upstream of its own.

After every attack comes the *fence*: an innocent request through the same gateway. When its answer
is back, everything that the gateway sent upstream before it has been recorded, since both pass
through the same two event loops in order; and it shows that the gateway still serves others, from a
pool that the attack has not poisoned.
"""

from __future__ import annotations

import asyncio
import re
import time
from contextlib import AsyncExitStack, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

from proxy.demo.postgres import Postgres, running
from tests.hostile.cases import Case, Read, Send, Sleep, fill
from tests.hostile.outcome import Outcome
from tests.hostile.profiles import FENCE, HOST, render
from tests.hostile.scripts import Scripts
from tests.hostile.tokens import resolver
from tests.support.adapters import ADAPTERS
from tests.support.answers import Answers
from tests.support.client import RawClient, exchange
from tests.support.gateway import GatewayProcess
from tests.support.postgres import Database, make_database
from tests.support.upstream import Recorded, StubUpstream

HASTE: Final = 1 / 20
"""How much shorter the deadlines of the gateway `hasty` are, and the pauses of slow senders."""

_PATIENCE: Final = 5.0
"""Seconds for an answer, or for the end of a connection, that does not come."""

_STARTING: Final = 2
"""Gateways that start at the same time: importing keeps a processor busy."""

_CLOSE: Final = re.compile(rb"\r\nConnection:[^\r\n]*\bclose\b[^\r\n]*\r\n", re.IGNORECASE)


@dataclass(slots=True)
class Place:
    """One gateway and its upstream."""

    gateway: GatewayProcess
    upstream: StubUpstream
    scripts: Scripts
    hasty: bool
    database: Database | None = None
    _fences: int = field(default=0, init=False)

    async def fence(self) -> bool:
        """Send the innocent request; return whether it got its own answer."""
        self._fences += 1
        target = f"{FENCE}?{self._fences}"
        request = f"GET {target} HTTP/1.1\r\nHost: {HOST}\r\nConnection: close\r\n\r\n"
        try:
            answer = await exchange(self.gateway.port, request.encode())
            return answer.status == 200 and bool(answer.json()["target"] == target)
        except (AssertionError, OSError, ValueError):
            return False

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
            alive=alive and self.gateway.running,
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
    """The places by name of their gateway, which starts when it is first asked for."""

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
            gateway = GatewayProcess(config, self._folder, name=name, env=env)
            await self._stack.enter_async_context(gateway)
            place = Place(gateway, upstream, scripts, hasty=name == "hasty", database=database)
            self.places[name] = place
        return self.places[name]

    async def aclose(self) -> None:
        """Stop everything, the gateways all at once."""
        await asyncio.gather(*(place.gateway.terminate() for place in self.places.values()))
        await self._stack.aclose()


async def attack(place: Place, case: Case, variant: str = "") -> Outcome:
    """Play the steps of `case` on one connection and return what came of them.

    `Outcome.milliseconds` is the CPU time that the gateway took: on a busy machine the wall clock
    says nothing about the gateway, and the cases that limit the time are about work that an
    attacker causes.
    """
    place.upstream.forget()
    port = place.gateway.admin_port if case.profile == "admin" else place.gateway.port
    before = place.gateway.cpu_seconds()
    async with RawClient(port) as client:
        asked = await _play(place, client, case, variant)
        await _await_end(place, client, until_closed=asked or "conn_close" in case.answer_asserts)
        answers, closed = client.answers(), client.eof
    milliseconds = (place.gateway.cpu_seconds() - before) * 1000
    outcome = await place.outcome(answers, closed=closed, asked_to_close=asked)
    outcome.milliseconds = milliseconds
    return outcome


async def _play(place: Place, client: RawClient, case: Case, variant: str) -> bool:
    """Send what there is to send; return whether the last of it asks to close the connection."""
    resolve = resolver(variant)
    read = 0
    asked = False
    for step in case.steps:
        match step:
            case Send(template):
                data = fill(template, resolve)
                asked = _CLOSE.search(data) is not None
                await client.send(data)
            case Read(count):
                read += count
                await client.read_answers(read, deadline=_PATIENCE)
            case Sleep(seconds):
                # A pause ends early when the gateway has had enough.
                with suppress(TimeoutError):
                    pause = seconds * (HASTE if place.hasty else 1)
                    await client.wait(lambda: client.eof, deadline=pause)
    return asked


async def _await_end(place: Place, client: RawClient, *, until_closed: bool) -> None:
    """Wait until the gateway has said everything.

    On a connection that may stay open, that is when an answer is whole and a fence later nothing
    follows it.
    """

    def over() -> bool:
        answers = client.answers()
        return client.eof or (not until_closed and (answers.settled or answers.garbage))

    with suppress(TimeoutError):
        await client.wait(over, deadline=_PATIENCE)
    if not client.eof:
        await place.fence()


async def at_once(place: Place, requests: list[bytes]) -> Answers:
    """Send each request on a connection of its own, all together; return the answers in order."""
    async with AsyncExitStack() as stack:
        clients = [await stack.enter_async_context(RawClient(place.gateway.port)) for _ in requests]
        for client, request in zip(clients, requests, strict=True):
            client.post(request)
        await asyncio.gather(*(client.read_until_closed() for client in clients))
        return Answers([answer for client in clients for answer in client.answers().all])
