"""Scenario database: every request brings a session that the gateway has not seen yet, so each is
one look-up in PostgreSQL.

It shows what the first request of each user costs, and how many of those a gateway and a database
on one machine get done in a second; afterwards the same sessions again, from the cache.
"""

from __future__ import annotations

import argparse
import os
import select
import socket
import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import asyncpg
from uvloop import run

from bench import contestants, hot, machine, measure
from bench.child import Child
from bench.contestants import Server
from bench.errors import BenchError
from bench.load import STALL, is_whole
from proxy.demo.postgres import Postgres, running
from proxy.demo.programs import PostgresError

COOKIE: Final = "__Secure-authjs.session-token"
_ROOT: Final = Path(__file__).parent.parent
_MAX_ANSWER: Final = 64 * 1024

# As the Drizzle adapter makes them.
_TABLES: Final = """
create table "user" (id text primary key not null, name text, email text unique,
  "emailVerified" timestamp, image text, role text);
create table "session" ("sessionToken" text primary key not null,
  "userId" text not null references "user"(id) on delete cascade, expires timestamp not null);
insert into "user" (id, name, email, role)
  select 'u-' || n, 'User ' || n, 'user-' || n || '@example.com', 'user'
  from generate_series(1, $users$) n;
insert into "session" select gen_random_uuid()::text, 'u-' || n, now() + interval '30 days'
  from generate_series(1, $users$) n;
analyze;
"""


@dataclass(frozen=True, slots=True)
class Pass:
    """One pass over all sessions: how long it took, each answer's seconds, and the gateway's CPU
    seconds.
    """

    name: str
    seconds: float
    latencies: Sequence[float]
    gateway: float

    def row(self) -> tuple[str, ...]:
        """Return the cells of the pass in the table."""
        count, ordered = len(self.latencies), sorted(self.latencies)
        return (
            self.name,
            f"{count / self.seconds:,.0f}",
            f"{1000 * ordered[count // 2]:.1f}",
            f"{1000 * ordered[count * 99 // 100]:.1f}",
            f"{1e6 * self.gateway / count:.0f}",
        )


_HEAD: Final = (
    *("pass", "requests/s", "median ms", "p99 ms", "CPU µs per request of the gateway"),
)


def table(passes: Sequence[Pass], facts: dict[str, str]) -> str:
    """Return the passes as a Markdown table, and below it what the numbers belong to."""
    rows = [_HEAD, ("---", *["---:"] * (len(_HEAD) - 1)), *(each.row() for each in passes)]
    lines = [f"| {' | '.join(cells)} |" for cells in rows]
    return "\n".join([*lines, "", *(f"- {name}: {value}" for name, value in facts.items()), ""])


def main(options: argparse.Namespace, folder: Path) -> str:
    """Run the scenario and return its table. Raises BenchError."""
    facts = machine.facts()
    facts["run"] = (
        f"database, {options.sessions} sessions, {options.connections} connections to the "
        f"gateway, {options.pool} to PostgreSQL 18 on the same machine"
    )
    try:
        with ExitStack() as stack:
            server = stack.enter_context(running({"shared_buffers": "128MB"}))
            return table(_passes(options, folder, server, stack), facts)
    except PostgresError as error:
        raise BenchError(f"{error} `make setup` installs its programs.") from error


def _passes(
    options: argparse.Namespace, folder: Path, server: Postgres, stack: ExitStack
) -> list[Pass]:
    tokens = run(_fill(server.url(), options.sessions))
    (folder / "upstream").mkdir()
    upstream = contestants.start_upstream(folder / "upstream", hot.BODY)
    stack.enter_context(upstream.child)
    gateway = _start_gateway(folder, upstream.port, server.url(), options.pool)
    stack.enter_context(gateway.child)
    requests = [hot.request((COOKIE, token)) for token in tokens]
    return [
        _pass(name, gateway, requests, options.connections)
        for name in ("cold: one look-up each", "known: from the cache")
    ]


async def _fill(url: str, sessions: int) -> list[str]:
    connection = await asyncpg.connect(url)
    try:
        await connection.execute(_TABLES.replace("$users$", str(sessions)))
        rows = await connection.fetch('select "sessionToken" from "session" order by random()')
        return [row[0] for row in rows]
    finally:
        await connection.close()


def _start_gateway(folder: Path, upstream: int, url: str, pool: int) -> Server:
    values = {"UPSTREAM": str(upstream), "POOL": str(pool)}
    template = (_ROOT / "bench" / "configs" / "gatelodge-database.yaml").read_text()
    file = folder / "gatelodge.yaml"
    file.write_text(contestants.fill(template, values))
    env = {key: value for key, value in os.environ.items() if not key.startswith("GATELODGE_")}
    env |= {"PYTHONPATH": str(_ROOT), "DATABASE_URL": url}
    command = [sys.executable, "-m", "proxy", "run", "--config", str(file)]
    child = Child("gatelodge", command, folder, env)
    port = child.wait_for("listener", lambda: contestants.listening_port(child.log(), "main"))
    return Server(child, port)


def _pass(name: str, gateway: Server, requests: Sequence[bytes], connections: int) -> Pass:
    before = measure.usage(gateway.child.session)
    started = time.perf_counter()
    latencies = exchange(gateway.port, requests, connections)
    seconds = time.perf_counter() - started
    after = measure.usage(gateway.child.session)
    spent = after.user + after.system - before.user - before.system
    return Pass(name, seconds, latencies, spent)


def exchange(port: int, requests: Sequence[bytes], connections: int) -> list[float]:
    """Send each request once, one in flight on each connection; return the seconds of each.

    Raises BenchError unless every answer is a 200 with the upstream's body.
    """
    with ExitStack() as stack:
        try:
            clients = [stack.enter_context(_connect(port)) for _ in range(connections)]
            return _exchange({client.fileno(): client for client in clients}, iter(requests))
        except OSError as error:
            raise BenchError(f"the connection broke: {error}") from error


def _connect(port: int) -> socket.socket:
    client = socket.create_connection(("127.0.0.1", port), timeout=STALL)
    client.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    return client


def _exchange(clients: dict[int, socket.socket], waiting: Iterator[bytes]) -> list[float]:
    begun: dict[int, float] = {}
    partial: dict[int, bytes] = {}
    latencies: list[float] = []

    def begin(fd: int) -> None:
        request = next(waiting, None)
        if request is not None:
            begun[fd] = time.perf_counter()
            clients[fd].sendall(request)

    for fd in clients:
        begin(fd)
    while begun:
        ready, _, _ = select.select(list(begun), [], [], STALL)
        if not ready:
            raise BenchError(f"{len(begun)} requests got no answer for {STALL:g} s")
        for fd in ready:
            answer = partial.pop(fd, b"") + clients[fd].recv(_MAX_ANSWER)
            if not is_whole(answer, hot.BODY):
                partial[fd] = answer
                continue
            latencies.append(time.perf_counter() - begun.pop(fd))
            begin(fd)
    return latencies
