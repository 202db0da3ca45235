"""Real servers that close idle connections: gunicorn after 2 s, uvicorn and Node after 5 s.

Whoever sends on a kept connection in the very moment in which the server closes it gets nothing,
and a POST cannot be sent again. So clients pause at random, every second time for about as long as
the server keeps a connection, and none of their requests may fail. Each client has an upstream of
its own, and so a connection that nobody else uses meanwhile. IDLE_REQUESTS says how many requests
there are for each server; the more there are, the more moments are met.
"""

from __future__ import annotations

import asyncio
import os
import random
import re
import subprocess
import sys
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from tests.support.client import RawClient
from tests.support.gateway import GatewayProcess
from tests.support.worker import request

HERE = Path(__file__).parent / "backends"
REQUESTS = int(os.environ.get("IDLE_REQUESTS", "600"))
CLIENTS = min(200, REQUESTS // 6)
CONFIG = """
listen: 127.0.0.1:0
admin: 127.0.0.1:0
upstreams: {{{upstreams}}}
routes: [{routes}]
log: {{format: json, level: info}}
drain: {{delay: 0s, timeout: 5s}}
"""
SERVERS = {
    # Threads, because gunicorn's default worker keeps no connection at all.
    "gunicorn": (
        [
            *(sys.executable, "-m", "gunicorn", "--bind", "127.0.0.1:0", "--worker-class"),
            *("gthread", "--threads", "64", "--keep-alive", "2", "wsgi_app:app"),
        ],
        2.0,
    ),
    "uvicorn": ([sys.executable, "-m", "uvicorn", "--port", "0", "asgi_app:app"], 5.0),
    "node": (["node", "node_app.mjs"], 5.0),
}


def config(url: str) -> str:
    """Return a configuration with an upstream for each client, all of them the same server."""
    upstreams = ", ".join(f'u{at}: {{endpoints: ["{url}"]}}' for at in range(CLIENTS))
    routes = ", ".join(
        f"{{path: /{at}/**, upstream: u{at}, auth: public}}" for at in range(CLIENTS)
    )
    return CONFIG.format(upstreams=upstreams, routes=routes)


@contextmanager
def serving(command: list[str], folder: Path) -> Iterator[tuple[str, Path]]:
    """Run a server; yield its address and the file with the POSTs that it has acted on."""
    notes, log = folder / "notes", folder / "server.log"
    notes.touch()
    with log.open("wb") as output:
        process = subprocess.Popen(
            command,
            cwd=HERE,
            env=os.environ | {"NOTES": str(notes)},
            stdout=output,
            stderr=subprocess.STDOUT,
        )
        try:
            yield _address(process, log), notes
        finally:
            process.terminate()
            process.wait(timeout=30)


def _address(process: subprocess.Popen[bytes], log: Path) -> str:
    while True:
        running = process.poll() is None
        found = re.search(r"http://127\.0\.0\.1:\d+", log.read_text(encoding="utf-8"))
        if found is not None:
            return found[0]
        assert running, log.read_text(encoding="utf-8")


class Clients:
    """Ask at random pauses; `statuses` counts what they got."""

    def __init__(self, port: int, keep_alive: float) -> None:
        self._port = port
        self._keep_alive = keep_alive
        self._left = REQUESTS
        self.statuses: Counter[int] = Counter()

    async def run(self, seed: int) -> None:
        chance = random.Random(seed)
        while self._left > 0:
            self._left -= 1
            await self._ask(f"/{seed}/x", chance, self._left)
            await asyncio.sleep(self._pause(chance))

    def _pause(self, chance: random.Random) -> float:
        if chance.random() < 0.5:
            return chance.uniform(0, 1.9)
        return self._keep_alive + chance.uniform(-0.01, 0.01)

    async def _ask(self, path: str, chance: random.Random, number: int) -> None:
        method = chance.choice(["GET", "POST"])
        body = b"%d" % number if method == "POST" else None
        async with RawClient(self._port) as client:
            await client.send(request(method, path, body=body))
            [answer] = await client.read_answers()
        self.statuses[answer.status] += 1


@pytest.mark.parametrize("server", SERVERS)
async def test_no_request_meets_a_connection_that_is_being_closed(
    server: str, tmp_path: Path
) -> None:
    command, keep_alive = SERVERS[server]
    with serving(command, tmp_path) as (url, notes):
        async with GatewayProcess(config(url), tmp_path) as gateway:
            clients = Clients(gateway.port, keep_alive)
            await asyncio.gather(*(clients.run(seed) for seed in range(CLIENTS)))
            lines = [line for line in gateway.log_lines() if line.get("event") == "request"]
        executed = Counter(notes.read_text(encoding="ascii").split())
    failed = [line for line in lines if line["status"] != 200]
    assert failed == []
    assert clients.statuses == {200: len(lines)}
    assert max(executed.values()) == 1
    assert set(executed.values()) == {1}
    assert len(executed) == sum(line["method"] == "POST" for line in lines)
