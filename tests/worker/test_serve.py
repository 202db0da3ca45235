"""proxy/worker/serve.py: the process and its signals, with real processes."""

from __future__ import annotations

import asyncio
import signal
import socket
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import yaml

from tests.support.certificates import Authority
from tests.support.client import RawClient, exchange
from tests.support.gateway import ROOT, GatewayProcess
from tests.support.scripts import silent
from tests.support.upstream import StubUpstream
from tests.support.worker import OTHER_SECRET, SECRET, request, settings, signed_in

pytestmark = pytest.mark.slow


def text_of(*endpoints: str, **sections: Any) -> str:
    return yaml.safe_dump(settings(*(endpoints or ("http://127.0.0.1:1",)), **sections))


def events(gateway: GatewayProcess) -> list[Any]:
    return [line.get("event") for line in gateway.log_lines()]


async def test_a_term_drains_and_exits_0(tmp_path: Path) -> None:
    async with GatewayProcess(text_of(), tmp_path) as gateway:
        assert await gateway.terminate() == 0
        assert "draining" in events(gateway)


async def test_an_int_drains(tmp_path: Path) -> None:
    async with GatewayProcess(text_of(), tmp_path) as gateway:
        gateway.process.send_signal(signal.SIGINT)
        assert await gateway.wait() == 0
        assert "draining" in events(gateway)


async def status_of(port: int, path: str, *lines: str) -> int:
    return (await exchange(port, request("GET", path, *lines))).status


async def test_a_hup_reads_the_file_and_its_secrets_anew(tmp_path: Path) -> None:
    secret = tmp_path / "secret"
    secret.write_text(SECRET)
    async with StubUpstream() as upstream:
        config = text_of(upstream.url, sessions={"web": {"secret": {"file": str(secret)}}})
        async with GatewayProcess(config, tmp_path) as gateway:
            assert await status_of(gateway.port, "/api/x", signed_in()) == 200
            secret.write_text(OTHER_SECRET)
            gateway.process.send_signal(signal.SIGHUP)
            await gateway.wait_for_log(lambda line: line.get("generation") == 2)
            assert await status_of(gateway.port, "/api/x", signed_in()) == 401
            gateway.config_file.write_text("routes: [")
            gateway.process.send_signal(signal.SIGHUP)
            told = await gateway.wait_for_log(lambda line: "problem" in line)
            assert told["problem"].startswith(f"{gateway.config_file}:1:")
            assert await status_of(gateway.port, "/public/x") == 200
        assert SECRET not in gateway.log_text()


async def test_a_hup_before_the_start_has_ended_is_not_lost(tmp_path: Path) -> None:
    async with StubUpstream() as upstream:
        gateway = GatewayProcess(text_of(upstream.url), tmp_path)
        gateway.spawn()
        try:
            await gateway.wait_for_log(lambda line: line.get("listener") == "admin")
            gateway.process.send_signal(signal.SIGHUP)
            await gateway.wait_for_log(lambda line: line.get("generation") == 2)
        finally:
            gateway.kill()


async def test_a_watched_file_is_read_when_it_changes(tmp_path: Path) -> None:
    secret = tmp_path / "secret"
    secret.write_text(SECRET)
    async with StubUpstream() as upstream:
        sessions = {"web": {"secret": {"file": str(secret)}}}
        config = text_of(upstream.url, watch=True, sessions=sessions)
        async with GatewayProcess(config, tmp_path) as gateway:
            secret.write_text(OTHER_SECRET)
            await gateway.wait_for_log(lambda line: line.get("generation") == 2)
            assert await status_of(gateway.port, "/api/x", signed_in()) == 401
            gateway.config_file.write_text(config.replace("watch: true", "watch: false"))
            await gateway.wait_for_log(lambda line: line.get("generation") == 3)


@pytest.mark.parametrize("workers", [1, 2])
@pytest.mark.parametrize(("number", "code"), [(signal.SIGTERM, 143), (signal.SIGINT, 130)])
async def test_a_start_that_waits_is_given_up(
    tmp_path: Path, workers: int, number: signal.Signals, code: int
) -> None:
    with socket.create_server(("127.0.0.1", 0)) as silent_database:
        silent_database.settimeout(60)
        url = f"postgres://u:p@127.0.0.1:{silent_database.getsockname()[1]}/db"
        sessions = {"web": {"database": {"url": url, "timeouts": {"connect": "60s"}}}}
        config = text_of(workers=workers, sessions=sessions, drain={"delay": "60s"})
        gateway = GatewayProcess(config, tmp_path)
        gateway.spawn()
        try:
            asked, _ = await asyncio.to_thread(silent_database.accept)
            with asked:
                gateway.process.send_signal(number)
                assert await gateway.wait() == code
            assert [line for line in gateway.log_lines() if line["level"] != "info"] == []
        finally:
            gateway.kill()


def test_a_process_does_not_wait_for_a_thread_that_does_not_end() -> None:
    """As one in which the name of a database is looked up."""
    program = """
import asyncio, threading
from proxy.worker.serve import run_process
async def main():
    asyncio.get_running_loop().run_in_executor(None, threading.Event().wait)
    return 7
raise SystemExit(run_process(main()))
"""
    ended = subprocess.run([sys.executable, "-c", program], cwd=ROOT, timeout=60, check=False)
    assert ended.returncode == 7


async def test_a_second_int_exits_at_once(tmp_path: Path) -> None:
    async with StubUpstream() as upstream:
        upstream.script("/public/x", silent)
        config = text_of(upstream.url, drain={"delay": "0s", "timeout": "60s"})
        async with GatewayProcess(config, tmp_path) as gateway, RawClient(gateway.port) as client:
            await client.send(request("GET", "/public/x"))
            await upstream.wait(lambda: bool(upstream.requests))
            gateway.process.send_signal(signal.SIGINT)
            await gateway.wait_for_log(lambda line: line.get("event") == "draining")
            gateway.process.send_signal(signal.SIGINT)
            assert await gateway.wait(deadline=20.0) == 130


async def test_an_address_in_use_is_one_clear_line(tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        address = f"127.0.0.1:{taken.getsockname()[1]}"
        gateway = GatewayProcess(text_of(listen=address), tmp_path)
        gateway.spawn()
        assert await gateway.wait() == 1
    [line] = [line for line in gateway.log_lines() if line["level"] == "error"]
    assert line["event"] == "cannot start"
    assert f"cannot listen on {address}: " in line["reason"]
    assert "Traceback" not in gateway.log_text()


async def test_a_broken_key_file_ends_the_start(tmp_path: Path) -> None:
    cert, key = Authority(tmp_path).issue("localhost")
    key.write_text("nothing", encoding="ascii")
    listen = {"address": "127.0.0.1:0", "tls": {"cert": str(cert), "key": str(key)}}
    gateway = GatewayProcess(text_of(listen=listen), tmp_path)
    gateway.spawn()
    assert await gateway.wait() == 1
    assert "Traceback" not in gateway.log_text()
