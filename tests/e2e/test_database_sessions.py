"""Real gateway, real PostgreSQL: what clients see while the database dies and comes back, and what
the database sees of clients.
"""

from __future__ import annotations

import asyncio
import itertools
import time
from collections import Counter
from collections.abc import AsyncIterator, Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

import pytest

from proxy.demo.postgres import Postgres, running
from tests.support.adapters import ADAPTERS
from tests.support.client import exchange
from tests.support.gateway import GatewayProcess
from tests.support.postgres import ZONE, Database, make_database
from tests.support.upstream import StubUpstream

pytestmark = pytest.mark.slow

ADAPTER: Final = ADAPTERS["prisma"]
KNOWN: Final = [f"known-{number}" for number in range(20)]
COLD: Final = 6000
POOL: Final = 6
CALLERS: Final = 8
PATIENCE: Final = 60.0
"""Seconds for what takes less than one on an idle machine."""


@pytest.fixture(scope="module")
def server() -> Iterator[Postgres]:
    """A server that says in its log what it is asked, and that may be killed."""
    with running({"timezone": ZONE, "log_statement": "all"}) as server:
        yield server


@pytest.fixture
async def database(server: Postgres) -> Database:
    made = await make_database(server)
    await made.set_up(ADAPTER)
    end = time.time() + 3600
    await made.run(
        *(ADAPTER.insert_session(token, end) for token in KNOWN),
        "insert into \"Session\" select gen_random_uuid()::text, 'cold-' || n, "
        f"'{ADAPTER.user_id}', {ADAPTER.end(end)} from generate_series(1, {COLD}) n",
    )
    return made


@pytest.fixture
async def upstream() -> AsyncIterator[StubUpstream]:
    async with StubUpstream() as server:
        yield server


def config_of(url: str, upstream: int) -> str:
    return f"""
        listen: 127.0.0.1:0
        admin: 127.0.0.1:0
        log: {{format: json, access: false}}
        drain: {{delay: 0s}}
        sessions:
          web:
            database: {{url: "{url}", connections: {POOL}}}
            cache: {{ttl: 10m}}
        upstreams:
          api: {{endpoints: ["http://127.0.0.1:{upstream}"], connections: 2000}}
        routes:
          - {{path: /public/**, upstream: api, auth: public}}
          - {{path: /**, upstream: api}}
    """


@pytest.fixture
async def gateway(
    database: Database, upstream: StubUpstream, tmp_path: Path
) -> AsyncIterator[GatewayProcess]:
    async with GatewayProcess(config_of(database.url, upstream.port), tmp_path) as process:
        yield process


@dataclass(frozen=True, slots=True)
class Seen:
    """What one request got."""

    status: int
    code: str
    retry_after: str | None


async def ask(gateway: GatewayProcess, token: str, path: str = "/x") -> Seen:
    request = (
        f"GET {path} HTTP/1.1\r\nHost: api.example.test\r\n"
        f"Cookie: authjs.session-token={token}\r\nConnection: close\r\n\r\n"
    )
    answer = await exchange(gateway.port, request.encode())
    code = "" if answer.status == 200 else str(answer.json()["code"])
    return Seen(answer.status, code, answer.get("retry-after"))


async def ready(gateway: GatewayProcess) -> tuple[int, str]:
    request = b"GET /-/ready HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n"
    answer = await exchange(gateway.admin_port, request)
    return answer.status, answer.body.decode().strip()


async def until(holds: Callable[[], bool]) -> None:
    async with asyncio.timeout(PATIENCE):
        while not holds():  # noqa: ASYNC110 - the counts of a running load tell nobody
            await asyncio.sleep(0.01)


@dataclass(slots=True)
class Load:
    """Requests without a pause: every other with a known token, the others each with a new one."""

    gateway: GatewayProcess
    known: Counter[Seen] = field(default_factory=Counter)
    cold: Counter[Seen] = field(default_factory=Counter)
    _tokens: Iterator[int] = field(default_factory=lambda: itertools.count(1))
    _stopped: bool = False
    _callers: list[asyncio.Task[None]] = field(default_factory=list)

    async def __aenter__(self) -> Load:
        self._callers = [asyncio.create_task(self._call()) for _ in range(CALLERS)]
        return self

    async def __aexit__(self, *_: object) -> None:
        self._stopped = True
        await asyncio.gather(*self._callers)

    async def _call(self) -> None:
        while not self._stopped:
            number = next(self._tokens)
            self.known[await ask(self.gateway, KNOWN[number % len(KNOWN)])] += 1
            self.cold[await ask(self.gateway, f"cold-{number}")] += 1

    def forget(self) -> None:
        """Count anew."""
        self.known.clear()
        self.cold.clear()


FINE: Final = Seen(200, "", None)
DOWN: Final = Seen(503, "session_store_down", "1")


async def test_kill_and_restart_under_load(
    server: Postgres, database: Database, gateway: GatewayProcess
) -> None:
    assert [await ask(gateway, token) for token in KNOWN] == [FINE] * len(KNOWN)
    async with Load(gateway) as load:
        await until(lambda: load.cold[FINE] >= 50)
        assert set(load.known) | set(load.cold) == {FINE}

        await asyncio.to_thread(server.kill)
        await until(lambda: load.cold[DOWN] >= 50)
        # Known sessions are served, unknown ones are 503; nobody gets 401 or anything else.
        assert set(load.known) == {FINE}
        assert set(load.cold) == {FINE, DOWN}
        load.forget()
        await until(lambda: load.cold[DOWN] >= 100)
        assert (set(load.known), set(load.cold)) == ({FINE}, {DOWN})
        assert await ask(gateway, "no-such-session") == DOWN
        assert await ask(gateway, "cold-1", "/public/x") == FINE
        assert await ready(gateway) == (503, "no session store: web: connection refused")

        await asyncio.to_thread(server.start)
        back = time.monotonic()
        load.forget()
        await until(lambda: load.cold[FINE] > 0)
        waited = time.monotonic() - back
        await until(lambda: load.cold[FINE] >= 100)
        assert set(load.known) == {FINE}
        assert set(load.cold) <= {FINE, DOWN}
        load.forget()
        await until(lambda: load.cold[FINE] >= 50)
        assert (set(load.known), set(load.cold)) == ({FINE}, {FINE})
    print(f"served again {waited:.3f} s after the database")
    assert waited < PATIENCE / 6
    assert await ready(gateway) == (200, "ready")
    open_now = await database.value(
        "select count(*) from pg_stat_activity where application_name = 'gatelodge'"
    )
    assert 1 <= open_now <= POOL
    events = [line for line in gateway.log_lines() if line["event"].startswith("session store")]
    assert [line["event"].rpartition(" ")[2] for line in events][:2] == ["up", "down"]
    assert events[-1]["event"] == "session store is up"
    password = database.url.split(":")[2].partition("@")[0]
    assert password not in gateway.log_text()
    assert "Traceback" not in gateway.log_text()


async def test_a_gateway_starts_without_its_database_and_finds_it_later(
    server: Postgres, database: Database, upstream: StubUpstream, tmp_path: Path
) -> None:
    await asyncio.to_thread(server.stop)
    try:
        gateway = GatewayProcess(config_of(database.url, upstream.port), tmp_path)
        await gateway.__aenter__()
        seen = await ask(gateway, KNOWN[0]), await ready(gateway)
    finally:
        await asyncio.to_thread(server.start)
    assert seen == (DOWN, (503, "no session store: web: connection refused"))
    await gateway.wait_for_log(lambda line: line["event"] == "session store is up")
    assert await ask(gateway, KNOWN[0]) == FINE
    assert await ready(gateway) == (200, "ready")
    assert await gateway.terminate() == 0


def queries(server: Postgres, token: str) -> int:
    """Return how often the database was asked about a token."""
    log = (server.folder / "log").read_text(encoding="utf-8", errors="replace")
    asked = [line for line in log.splitlines() if f"'{token}'" in line and "DETAIL" in line.upper()]
    return len(asked)


async def test_a_thousand_requests_with_one_cold_token_make_one_query(
    server: Postgres, gateway: GatewayProcess
) -> None:
    token = f"cold-{COLD}"
    answers = await asyncio.gather(*(ask(gateway, token) for _ in range(1000)))
    assert Counter(answers) == {FINE: 1000}
    assert queries(server, token) == 1


async def test_hostile_tokens_are_401_and_never_reach_the_database(
    server: Postgres, gateway: GatewayProcess
) -> None:
    refused = Seen(401, "session_invalid", None)
    hostile = ["abc%00def", "%ED%A0%80hostile", "a%20b-hostile", "%27hostile", "h" * 256, "%FFhos"]
    assert [await ask(gateway, token) for token in hostile] == [refused] * len(hostile)
    log = (server.folder / "log").read_text(encoding="utf-8", errors="replace")
    assert [word for word in ("hostile", "h" * 200, "abc") if word in log] == []
    assert await ask(gateway, KNOWN[0].upper()) == refused
    assert queries(server, KNOWN[0].upper()) == 1
