"""Nothing that could have been served fails: real processes under continuous load.

These are short. To run them at full length (a minute each):

    GATELODGE_NEVER_DROPS=1 pytest -s tests/e2e/test_never_drops.py
"""

from __future__ import annotations

import asyncio
import os
import re
import signal
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any, Final

import aiohttp
import pytest
import pytest_asyncio
import yaml

from tests.support.balancers import Balancer
from tests.support.gateway import GatewayProcess
from tests.support.load import Load, Plan
from tests.support.ports import free_port
from tests.support.processes import children_of, ports_of, state_of, stopped
from tests.support.service import Service
from tests.support.worker import settings, signed_in

pytestmark = pytest.mark.slow

FULL: Final = bool(os.environ.get("GATELODGE_NEVER_DROPS"))
RATE: Final = 200.0 if FULL else 60.0
RELOADS: Final = 50 if FULL else 8
"""Every fifth is a bad one beside these."""
WARM: Final = 5
"""Reloads after which every endpoint has been used once."""
KILLS: Final = 60 if FULL else 3
ROUNDS: Final = 2 if FULL else 1
PLAN: Final = Plan(rate=RATE, sockets=3, headers=signed_in() + "\r\n")


@pytest_asyncio.fixture
async def services() -> AsyncIterator[list[Service]]:
    async with Service("a") as a, Service("b") as b, Service("c") as c:
        yield [a, b, c]


def text_of(services: list[Service], **sections: Any) -> str:
    config = settings(*(each.url for each in services), **sections)
    config["log"]["access"] = False
    config["health_path"] = "/healthz"
    return yaml.safe_dump(config, sort_keys=False)


async def reloaded(gateway: GatewayProcess) -> int:
    async with aiohttp.ClientSession() as session:
        url = f"http://127.0.0.1:{gateway.admin_port}/-/reload"
        async with session.post(url, headers={"X-Gatelodge-Admin": "1"}) as answer:
            return answer.status


def numbered(text: str, number: int, services: list[Service]) -> str:
    """Return the configuration with another set of endpoints, and other routes."""
    config = yaml.safe_load(text)
    chosen = [services[number % 3], services[(number + 1) % 3]][: 1 + number % 2]
    config["upstreams"]["api"] = {"endpoints": [each.url for each in chosen]}
    more = {"path": f"/gen-{number}/**", "upstream": "api", "auth": "public"}
    config["routes"].insert(number % 4, more)
    return yaml.safe_dump(config, sort_keys=False)


def files_of(pid: int) -> int:
    return len(os.listdir(f"/proc/{pid}/fd"))


def rss(pid: int) -> int:
    return int(Path(f"/proc/{pid}/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE") >> 20


def told(gateway: GatewayProcess) -> dict[int, tuple[int, int]]:
    """Return open files and MiB of each process."""
    pids = [gateway.process.pid, *children_of(gateway.process.pid)]
    return {pid: (files_of(pid), rss(pid)) for pid in pids}


@pytest.mark.parametrize("workers", [1, 2] if FULL else [2])
async def test_reloads(services: list[Service], tmp_path: Path, workers: int) -> None:
    text = text_of(services[:1], workers=workers)
    async with GatewayProcess(text, tmp_path) as gateway:
        async with Load(gateway.port, PLAN) as load:
            await load.reach(20)
            before = told(gateway)
            for number in range(RELOADS):
                if number == WARM:
                    before = told(gateway)
                if number % 5 == 0:
                    gateway.config_file.write_text("upstreams: {api: {endpoints: [nonsense]}}\n")
                    assert await reloaded(gateway) == 422
                gateway.config_file.write_text(numbered(text, number, services))
                assert await reloaded(gateway) == 200
                await load.reach(int(RATE) if FULL else 10)
            after = told(gateway)
        print(f"\nreloads, workers {workers}: {load.report}\n{before} -> {after}")
        assert load.failed == []
        assert not load.lost
        assert load.counts["idle connection closed"] == 0
        # What was opened for a generation is closed with it: endpoints come and go, so a few more.
        assert before.keys() == after.keys()
        assert all(after[pid][0] < before[pid][0] + 60 for pid in before)


def serving_of(gateway: GatewayProcess) -> list[int]:
    """Return the workers that serve, not those that still start."""
    lines = [line for line in gateway.log_lines() if line["event"] == "worker serves"]
    living = set(children_of(gateway.process.pid))
    return [line["pid"] for line in lines if line["pid"] in living]


@pytest.mark.parametrize("workers", [2, 3])
async def test_workers_that_are_killed(
    services: list[Service], tmp_path: Path, workers: int
) -> None:
    text = text_of(services, workers=workers)
    async with GatewayProcess(text, tmp_path) as gateway:
        await gateway.wait_for_log(lambda line: line.get("event") == "worker serves")
        supervisor = gateway.process.pid
        before = told(gateway)
        async with Load(gateway.port, PLAN) as load:
            await load.reach(20)
            killed = 0
            for number in range(KILLS):
                serving = serving_of(gateway)
                if serving:
                    victim = serving[number % len(serving)]
                    killed += 1
                    await stopped(victim)
                    load.doom(ports_of(victim))
                    os.kill(victim, signal.SIGKILL)
                await asyncio.sleep(1)
            await load.reach(50)
        while len(children_of(supervisor)) < workers:  # noqa: ASYNC110 - nobody tells
            await asyncio.sleep(0.05)
        after = told(gateway)
        print(f"\n{killed} kills, workers {workers}: {load.report}\nlost: {len(load.lost)}")
        print(f"{before} -> {after}; log lines {len(gateway.log_lines())}")
        assert load.failed == []
        assert not any(state_of(pid) == "Z" for pid in children_of(supervisor))
        assert after[supervisor][0] <= before[supervisor][0] + 2


HAPROXY: Final = """\
defaults
    mode http
    timeout connect 5s
    timeout check 10s
    timeout client 60s
    timeout server 60s
    timeout tunnel 1h
    option redispatch 1
    retries 3
frontend front
    bind 127.0.0.1:@PORT@
    default_backend back
backend back
    option httpchk
    http-check send meth GET uri /healthz
    default-server check inter 100ms fall 1 rise 1
    server one 127.0.0.1:{0}
    server two 127.0.0.1:{1}
"""
NGINX: Final = """\
events {{ worker_connections 4096; }}
http {{
    access_log off;
    client_body_temp_path body; proxy_temp_path proxy;
    fastcgi_temp_path fastcgi; uwsgi_temp_path uwsgi; scgi_temp_path scgi;
    map $http_upgrade $connection_of {{ default upgrade; "" ""; }}
    upstream gateways {{
        server 127.0.0.1:{0} max_fails=1 fail_timeout=1s;
        server 127.0.0.1:{1} max_fails=1 fail_timeout=1s;
        keepalive 32;
    }}
    server {{
        listen 127.0.0.1:@PORT@;
        location / {{
            proxy_pass http://gateways;
            proxy_http_version 1.1;
            proxy_set_header Host $host;
            proxy_set_header Upgrade $http_upgrade;
            proxy_set_header Connection $connection_of;
            proxy_next_upstream error timeout http_503;
            proxy_connect_timeout 2s;
        }}
    }}
}}
"""


BALANCED: Final = [("haproxy", 1), ("haproxy", 2), ("nginx", 1), ("nginx", 2)]


@pytest.mark.parametrize(("kind", "workers"), BALANCED if FULL else BALANCED[1:3])
async def test_rolling_restart(
    services: list[Service], tmp_path: Path, kind: str, workers: int
) -> None:
    ports = [free_port(), free_port()]
    drain = {"delay": "1s" if kind == "haproxy" else "0s", "timeout": "20s"}
    texts = [
        text_of(services, workers=workers, listen=f"127.0.0.1:{port}", drain=drain)
        for port in ports
    ]

    async def start(at: int) -> GatewayProcess:
        return await GatewayProcess(texts[at], tmp_path, name=f"gateway-{at}").__aenter__()

    gateways = [await start(0), await start(1)]
    make = Balancer.haproxy if kind == "haproxy" else Balancer.nginx
    text = (HAPROXY if kind == "haproxy" else NGINX).format(*ports)
    try:
        async with make(text, tmp_path) as balancer, Load(balancer.port, PLAN) as load:
            await load.reach(50)
            for number in range(2 * ROUNDS):
                at = number % 2
                assert await gateways[at].terminate() == 0
                await load.reach(20)
                gateways[at] = await start(at)
                await served(gateways[at], load)
        print(f"\n{kind}, workers {workers}: {load.report}")
        assert load.failed == [], balancer.log_text()
    finally:
        for gateway in gateways:
            await gateway.__aexit__(None, None, None)


async def served(gateway: GatewayProcess, load: Load) -> None:
    """Wait until the load balancer sends requests to a gateway again."""
    wanted = re.compile(r"^gatelodge_requests_total\{.*\} [1-9]", re.MULTILINE)
    async with aiohttp.ClientSession() as session:
        while True:
            async with session.get(f"http://127.0.0.1:{gateway.admin_port}/metrics") as answer:
                if wanted.search(await answer.text()):
                    return
            await load.reach(5)
