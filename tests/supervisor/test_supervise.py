"""proxy/supervisor/supervise.py: several processes, as operators and clients see them."""

from __future__ import annotations

import asyncio
import os
import re
import resource
import signal
import socket
import subprocess
import sys
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import aiohttp
import pytest
import yaml

from tests.support.certificates import Authority
from tests.support.client import RawClient, exchange
from tests.support.gateway import ROOT, GatewayProcess
from tests.support.processes import children_of, state_of, stopped, words_of
from tests.support.scripts import Held
from tests.support.upstream import StubUpstream
from tests.support.valkey import Valkey
from tests.support.worker import request, settings

pytestmark = pytest.mark.slow


def text_of(*endpoints: str, **sections: Any) -> str:
    config = settings(*(endpoints or ("http://127.0.0.1:1",)), workers=2, **sections)
    return yaml.safe_dump(config, sort_keys=False)


class Admin:
    """What a gateway's operator asks it."""

    def __init__(self, gateway: GatewayProcess, session: aiohttp.ClientSession) -> None:
        self._session = session
        self.gateway = gateway

    async def text(self, path: str) -> tuple[int, str]:
        async with self._session.get(path) as response:
            return response.status, await response.text()

    async def status(self) -> dict[str, Any]:
        async with self._session.get("/-/status.json") as response:
            status: dict[str, Any] = await response.json()
            return status

    async def post(self, path: str) -> tuple[int, dict[str, Any]]:
        headers = {"X-Gatelodge-Admin": "1"}
        async with self._session.post(path, headers=headers) as response:
            return response.status, await response.json(content_type=None)

    async def reload(self) -> tuple[int, dict[str, Any]]:
        return await self.post("/-/reload")

    async def pids(self) -> dict[int, int]:
        """Return worker -> process, of those that serve."""
        rows = (await self.status())["workers"]
        return {row["number"]: row["pid"] for row in rows if row["state"] == "ready"}

    async def requests(self) -> float:
        _, text = await self.text("/metrics")
        return sum(map(float, re.findall(r"^gatelodge_requests_total\S* (\S+)$", text, re.M)))

    async def until(self, holds: Callable[[dict[str, Any]], bool]) -> dict[str, Any]:
        """Wait for a status for which `holds`."""
        async with asyncio.timeout(60):
            while True:
                status = await self.status()
                if holds(status):
                    return status
                await asyncio.sleep(0.02)


@asynccontextmanager
async def running(config: str, folder: Path) -> AsyncIterator[Admin]:
    async with (
        GatewayProcess(config, folder) as gateway,
        aiohttp.ClientSession(f"http://127.0.0.1:{gateway.admin_port}") as session,
    ):
        yield Admin(gateway, session)


def is_whole(status: dict[str, Any]) -> bool:
    return [row["state"] for row in status["workers"]] == ["ready", "ready"]


async def test_two_workers_are_one_gateway(tmp_path: Path) -> None:
    async with StubUpstream() as upstream, running(text_of(upstream.url), tmp_path) as admin:
        for number in range(40):
            assert (await ask(admin, f"/public/{number}")).status == 200
        assert await admin.requests() == 40
        status = await admin.status()
        assert is_whole(status)
        assert status["requests"] == 40
        # The kernel spreads connections by a hash of their addresses.
        assert all(row["requests"] for row in status["workers"])
        assert len(status["upstreams"][0]["endpoints"]) == 1
        assert await admin.text("/-/ready") == (200, "ready\n")


async def test_operators_do_not_wait_for_a_worker_that_stands_still(tmp_path: Path) -> None:
    async with running(text_of(), tmp_path) as admin:
        pid = (await admin.pids())[1]
        os.kill(pid, signal.SIGSTOP)
        try:
            assert is_whole(await admin.status())
            assert await admin.requests() == 0
        finally:
            os.kill(pid, signal.SIGCONT)


async def ask(admin: Admin, path: str) -> Any:
    return await exchange(admin.gateway.port, request("GET", path))


async def test_what_a_killed_worker_did_not_hold_is_not_lost(tmp_path: Path) -> None:
    held = Held()
    async with StubUpstream() as upstream, running(text_of(upstream.url), tmp_path) as admin:
        upstream.script("/public/held", held)
        clients = [RawClient(admin.gateway.port) for _ in range(16)]
        for client in clients:
            await client.__aenter__()
            await client.send(request("GET", "/public/held", "Connection: close"))
        await upstream.wait(lambda: len(upstream.requests) == 16)
        rows = (await admin.status())["workers"]
        holds = {row["number"]: row["requests_in_flight"] for row in rows}
        assert sum(holds.values()) == 16
        os.kill(rows[0]["pid"], signal.SIGKILL)
        # New connections are taken all the while, also by the socket of the one that is gone.
        answers = await asyncio.gather(*(ask(admin, f"/public/{n}") for n in range(40)))
        assert {answer.status for answer in answers} == {200}
        held.go.set()
        lost = 0
        for client in clients:
            await client.read_until_closed()
            lost += not client.received
            await client.__aexit__(None, None, None)
        assert lost == holds[rows[0]["number"]]
        status = await admin.until(is_whole)
        assert [row["restarts"] for row in status["workers"]] == [1, 0]
        assert "killed by SIGKILL" in admin.gateway.log_text()


@asynccontextmanager
async def killing_all_but(survivor: int, supervisor: int) -> AsyncIterator[None]:
    """Kill each child of `supervisor` as soon as it is there, but one."""

    async def keep_killing() -> None:
        while True:
            for pid in children_of(supervisor):
                if pid != survivor:
                    os.kill(pid, signal.SIGKILL)
            await asyncio.sleep(0.01)

    killing = asyncio.create_task(keep_killing())
    try:
        yield
    finally:
        killing.cancel()
        await asyncio.wait({killing})


async def test_others_accept_for_one_that_cannot_come_back(tmp_path: Path) -> None:
    """Its successors are killed while they start, which would have who waits for one wait long."""
    async with StubUpstream() as upstream, running(text_of(upstream.url), tmp_path) as admin:
        pids = await admin.pids()
        async with killing_all_but(pids[2], admin.gateway.process.pid):
            await admin.until(lambda status: "down" in [row["state"] for row in status["workers"]])
            answers = await asyncio.gather(*(ask(admin, f"/public/{n}") for n in range(60)))
            assert {answer.status for answer in answers} == {200}
        status = await admin.until(is_whole)
        assert [row["restarts"] > 0 for row in status["workers"]] == [True, False]
        # Its socket is its own again.
        before = {row["number"]: row["requests"] for row in status["workers"]}
        while (await admin.status())["workers"][0]["requests"] == before[1]:
            assert (await ask(admin, "/public/x")).status == 200


async def test_others_accept_for_one_that_stands_still(tmp_path: Path) -> None:
    async with StubUpstream() as upstream, running(text_of(upstream.url), tmp_path) as admin:
        pids = await admin.pids()
        os.kill(pids[1], signal.SIGSTOP)
        try:
            # Those of the first ones that it would have had to accept wait two seconds or so.
            answers = await asyncio.gather(*(ask(admin, f"/public/{n}") for n in range(60)))
            assert {answer.status for answer in answers} == {200}
            assert await admin.pids() == pids  # it has not been killed: it comes back
        finally:
            os.kill(pids[1], signal.SIGCONT)
        before = (await admin.status())["workers"][0]["requests"]
        while (await admin.status())["workers"][0]["requests"] == before:
            assert (await ask(admin, "/public/x")).status == 200


async def test_counters_never_go_back(tmp_path: Path) -> None:
    async with StubUpstream() as upstream, running(text_of(upstream.url), tmp_path) as admin:
        for number in range(20):
            await ask(admin, f"/public/{number}")
        assert await admin.requests() == 20
        for pid in (await admin.pids()).values():
            os.kill(pid, signal.SIGKILL)
        await admin.until(lambda s: sum(row["restarts"] for row in s["workers"]) == 2)
        assert await admin.requests() == 20
        await admin.until(is_whole)
        await ask(admin, "/public/x")
        assert await admin.requests() == 21


async def test_a_shared_limit_is_one_for_all_workers(tmp_path: Path, valkey: Valkey) -> None:
    sections = {
        "rate_limit": [{"by": "ip", "rate": "15/h"}, {"by": "ip", "rate": "99/h", "shared": False}],
        "redis": {"url": valkey.url, "timeout": "30s"},
    }
    async with (
        StubUpstream() as upstream,
        running(text_of(upstream.url, **sections), tmp_path) as admin,
    ):
        found = [(await ask(admin, f"/public/{number}")).status for number in range(40)]
        assert sorted(found) == [200] * 15 + [429] * 25
        status = await admin.status()
        _, text = await admin.text("/metrics")
    assert status["limit_store"] == {"up": True, "problem": None}
    assert [row["limit"] for row in status["rate_limits"]] == [
        "15/h by ip (burst 15), of all routes",
        "99/h by ip (burst 99), of all routes",
    ]
    assert 'gatelodge_rate_limited_total{by="ip",rate="15/h",scope="-"} 25.0' in text
    assert "gatelodge_limit_store_up 1.0" in text


async def test_a_reload_reaches_every_worker(tmp_path: Path) -> None:
    async with StubUpstream() as upstream, running(text_of(upstream.url), tmp_path) as admin:
        strict = text_of(upstream.url, routes=[{"path": "/**", "upstream": "api"}])
        admin.gateway.config_file.write_text(strict)
        assert await admin.reload() == (200, {"generation": 2})
        answers = await asyncio.gather(*(ask(admin, f"/public/{n}") for n in range(40)))
        assert {answer.status for answer in answers} == {401}
        # And those that come later.
        for pid in (await admin.pids()).values():
            os.kill(pid, signal.SIGKILL)
        answers = await asyncio.gather(*(ask(admin, f"/public/{n}") for n in range(40)))
        assert {answer.status for answer in answers} == {401}
        assert (await admin.status())["generation"] == 2


async def test_a_reload_that_is_refused_reaches_none(tmp_path: Path) -> None:
    async with StubUpstream() as upstream, running(text_of(upstream.url), tmp_path) as admin:
        authority = tmp_path / "ca.pem"
        authority.write_text("-----BEGIN CERTIFICATE-----\n")  # which only a worker finds out
        tls = {"tls": {"ca": str(authority)}}
        for bad in ("routes: [", text_of("https://127.0.0.1:1", upstream=tls)):
            admin.gateway.config_file.write_text(bad)
            status, told = await admin.reload()
            assert (status, told["generation"], len(told["problems"])) == (422, 1, 1)
            answers = await asyncio.gather(*(ask(admin, f"/public/{n}") for n in range(20)))
            assert {answer.status for answer in answers} == {200}
        assert await admin.text("/-/ready") == (
            200,
            "ready, with a configuration that is older than its file; see /-/status\n",
        )


async def test_a_hup_reloads(tmp_path: Path) -> None:
    async with StubUpstream() as upstream, running(text_of(upstream.url), tmp_path) as admin:
        admin.gateway.process.send_signal(signal.SIGHUP)
        await admin.gateway.wait_for_log(lambda line: line.get("generation") == 2)


async def test_a_drain_finishes_what_every_worker_has(tmp_path: Path) -> None:
    held = Held()
    async with StubUpstream() as upstream, running(text_of(upstream.url), tmp_path) as admin:
        upstream.script("/public/held", held)
        asked = [asyncio.ensure_future(ask(admin, "/public/held")) for _ in range(12)]
        await upstream.wait(lambda: len(upstream.requests) == 12)
        pids = (await admin.pids()).values()
        admin.gateway.process.send_signal(signal.SIGTERM)
        await admin.until(lambda status: status["state"] == "draining")
        assert (await admin.text("/-/ready"))[0] == 503
        held.go.set()
        assert {answer.status for answer in await asyncio.gather(*asked)} == {200}
        assert await admin.gateway.wait() == 0
        assert [pid for pid in pids if is_alive(pid)] == []


async def test_clients_are_sent_elsewhere_before_the_end(tmp_path: Path) -> None:
    """`POST /-/drain`; a worker that dies after it is replaced by one that knows."""
    config = text_of(drain={"delay": "0s", "timeout": "20s"})
    async with running(config, tmp_path) as admin:
        for _ in range(2):
            assert await admin.post("/-/drain") == (200, {"state": "draining"})
        assert (await admin.text("/-/ready"))[0] == 503
        os.kill((await admin.status())["workers"][0]["pid"], signal.SIGKILL)
        for _ in range(20):
            answer = await ask(admin, "/nowhere")
            assert (answer.status, answer.get("Connection")) == (404, "close")
        await admin.until(
            lambda status: [row["state"] for row in status["workers"]] == ["draining"] * 2
        )
        for _ in range(20):
            answer = await ask(admin, "/nowhere")
            assert (answer.status, answer.get("Connection")) == (404, "close")
        assert await admin.gateway.terminate() == 0


async def test_workers_are_replaced_until_connections_close(tmp_path: Path) -> None:
    config = text_of(drain={"delay": "20s", "timeout": "20s"})
    async with running(config, tmp_path) as admin:
        pids = await admin.pids()
        admin.gateway.process.send_signal(signal.SIGTERM)
        await admin.until(lambda status: status["state"] == "draining")
        os.kill(pids[1], signal.SIGKILL)
        await admin.until(
            lambda status: (
                (row := status["workers"][0])["state"] == "draining" and row["pid"] != pids[1]
            )
        )
        for _ in range(20):
            assert (await ask(admin, "/nowhere")).status == 404
        admin.gateway.process.send_signal(signal.SIGINT)
        assert await admin.gateway.wait() == 130


def is_alive(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    return True


async def test_a_second_int_ends_all_at_once(tmp_path: Path) -> None:
    held = Held()
    async with StubUpstream() as upstream:
        upstream.script("/public/held", held)
        config = text_of(upstream.url, drain={"delay": "0s", "timeout": "60s"})
        async with running(config, tmp_path) as admin, RawClient(admin.gateway.port) as client:
            await client.send(request("GET", "/public/held"))
            await upstream.wait(lambda: bool(upstream.requests))
            pids = (await admin.pids()).values()
            admin.gateway.process.send_signal(signal.SIGINT)
            await admin.gateway.wait_for_log(lambda line: line.get("event") == "draining")
            admin.gateway.process.send_signal(signal.SIGINT)
            assert await admin.gateway.wait() == 130
            assert [pid for pid in pids if is_alive(pid)] == []


async def test_workers_do_not_outlive_their_supervisor(tmp_path: Path) -> None:
    async with StubUpstream() as upstream, running(text_of(upstream.url), tmp_path) as admin:
        pids = (await admin.pids()).values()
        admin.gateway.kill()
        async with asyncio.timeout(60):
            while any(map(is_alive, pids)):  # noqa: ASYNC110 - not our children
                await asyncio.sleep(0.02)
        with pytest.raises(ConnectionRefusedError):
            await ask(admin, "/public/x")


async def test_a_start_that_fails_is_one_clear_line_and_an_end(tmp_path: Path) -> None:
    cert, key = Authority(tmp_path).issue("localhost")
    key.write_text("-----BEGIN PRIVATE KEY-----\n", encoding="ascii")
    listen = {"address": "127.0.0.1:0", "tls": {"cert": str(cert), "key": str(key)}}
    gateway = GatewayProcess(text_of(listen=listen), tmp_path)
    gateway.spawn()
    assert await gateway.wait() == 1
    assert [line["event"] for line in gateway.log_lines()].count("cannot start") == 1
    assert "Traceback" not in gateway.log_text()


def workers_of(gateway: GatewayProcess) -> list[int]:
    """Return the children whose own program has begun."""
    children = children_of(gateway.process.pid)
    return [each for each in children if "proxy.supervisor.child" in words_of(each)]


async def test_an_end_while_a_worker_starts_finishes_what_the_others_have(tmp_path: Path) -> None:
    """systemd sends TERM to every process of a service."""
    held = Held()
    with socket.create_server(("127.0.0.1", 0)) as probe:
        port = probe.getsockname()[1]
    async with StubUpstream() as upstream:
        upstream.script("/public/held", held)
        gateway = GatewayProcess(text_of(upstream.url, listen=f"127.0.0.1:{port}"), tmp_path)
        gateway.spawn()
        # Not before its own program has begun: until then the supervisor waits for just that.
        while len(workers := workers_of(gateway)) < 2:  # noqa: ASYNC110 - nobody tells
            await asyncio.sleep(0.01)
        await stopped(starts := workers[1])
        await gateway.wait_for_log(lambda line: line["event"] == "worker serves")
        asked = asyncio.ensure_future(exchange(port, request("GET", "/public/held")))
        await upstream.wait(lambda: len(upstream.requests) == 1)
        gateway.process.send_signal(signal.SIGTERM)
        for number in (signal.SIGTERM, signal.SIGCONT):
            os.kill(starts, number)
        await gateway.wait_for_log(lambda line: line["event"] == "draining")
        held.go.set()
        assert (await asked).status == 200
        assert await gateway.wait() == 0


async def test_what_a_worker_could_not_take_on_loan_is_lent_again(tmp_path: Path) -> None:
    async with StubUpstream() as upstream, running(text_of(upstream.url), tmp_path) as admin:
        still, other = (await admin.pids()).values()
        limit = resource.prlimit(other, resource.RLIMIT_NOFILE)
        resource.prlimit(other, resource.RLIMIT_NOFILE, (3, limit[1]))  # it has more than these
        await stopped(still)
        told = "worker cannot accept for another one"
        await admin.gateway.wait_for_log(lambda line: line["event"] == told)
        resource.prlimit(other, resource.RLIMIT_NOFILE, limit)
        answers = await asyncio.gather(*(ask(admin, f"/public/{n}") for n in range(20)))
        assert {answer.status for answer in answers} == {200}
        assert state_of(still) == "T"  # none of them has waited for its end
        os.kill(still, signal.SIGCONT)


async def test_an_address_in_use_ends_the_start(tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        address = f"127.0.0.1:{taken.getsockname()[1]}"
        gateway = GatewayProcess(text_of(listen=address), tmp_path)
        gateway.spawn()
        assert await gateway.wait() == 1
    [line] = [line for line in gateway.log_lines() if line["level"] == "error"]
    assert f"cannot listen on {address}: " in line["reason"]


ACTIVATE = """
import os, socket, sys
sockets = [socket.socket(fileno=int(number)) for number in sys.argv[1].split(",")]
for place, each in enumerate(sockets, 20):
    os.dup2(each.fileno(), place)
for place in range(len(sockets)):
    os.dup2(20 + place, 3 + place)
os.environ.update(LISTEN_FDS=str(len(sockets)), LISTEN_PID=str(os.getpid()))
os.execv(sys.executable, [sys.executable, "-m", "proxy", "run", "-c", sys.argv[2]])
"""


@pytest.mark.parametrize("workers", [1, 2])
async def test_systemd_s_sockets_survive_a_restart(tmp_path: Path, workers: int) -> None:
    """What comes between two processes waits in the queue of the socket."""
    notify = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
    notify.bind(str(tmp_path / "notify"))
    notify.settimeout(60)
    with socket.create_server(("127.0.0.1", 0)) as main, notify:
        port = main.getsockname()[1]
        file = tmp_path / "gatelodge.yaml"
        async with StubUpstream() as upstream:
            config = settings(upstream.url, listen=f"127.0.0.1:{port}", workers=workers)
            file.write_text(yaml.safe_dump(config))
            command = [sys.executable, "-c", ACTIVATE, str(main.fileno()), str(file)]
            env = {**os.environ, "NOTIFY_SOCKET": str(tmp_path / "notify"), "PYTHONPATH": str(ROOT)}
            for _ in range(2):
                early = asyncio.ensure_future(exchange(port, request("GET", "/public/x")))
                child = subprocess.Popen(  # noqa: ASYNC220 - it is its parent's sockets that count
                    command, env=env, pass_fds=[main.fileno()]
                )
                try:
                    assert (await asyncio.to_thread(notify.recv, 99)) == b"READY=1"
                    assert (await early).status == 200
                    child.send_signal(signal.SIGHUP)
                    told = [await asyncio.to_thread(notify.recv, 99) for _ in range(2)]
                    assert [each.partition(b"\n")[0] for each in told] == [
                        b"RELOADING=1",
                        b"READY=1",
                    ]
                    child.terminate()
                    assert (await asyncio.to_thread(notify.recv, 99)) == b"STOPPING=1"
                    assert await asyncio.to_thread(child.wait, 60) == 0
                finally:
                    child.kill()
                    child.wait()
