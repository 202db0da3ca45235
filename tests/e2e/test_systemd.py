"""The gateway under a real systemd, by the units of deploy/systemd: nothing that could have been
served fails while it restarts.

These are short. To run them at full length:

    GATELODGE_NEVER_DROPS=1 pytest -s tests/e2e/test_systemd.py
"""

from __future__ import annotations

import asyncio
import json
import os
import re
import signal
import ssl
import subprocess
import sys
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any, Final

import pytest
import yaml

from tests.support.certificates import Authority
from tests.support.gateway import ROOT
from tests.support.load import Load, Plan
from tests.support.ports import free_port
from tests.support.processes import ports_of, stopped
from tests.support.service import Service
from tests.support.systemd import Systemd, missing
from tests.support.worker import settings, signed_in

LACK = missing()

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(bool(LACK), reason=LACK),
]

FULL: Final = bool(os.environ.get("GATELODGE_NEVER_DROPS"))
PLAN: Final = Plan(rate=200 if FULL else 60, sockets=3, headers=signed_in() + "\r\n")
RESTARTS: Final = 10 if FULL else 1
CRASHES: Final = 12 if FULL else 2
FAST: Final = "RestartSec=100ms\n[Unit]\nStartLimitBurst=1\n"
"""Would make systemd give up at the second start, did the unit not forbid it."""
UNITS: Final = ROOT / "deploy" / "systemd"
SERVICE: Final = "gatelodge.service"
SOCKET: Final = "gatelodge.socket"


class Installed:
    """The units as they are shipped, and beside them what a machine with another Python, another
    place for the configuration and other ports needs.
    """

    def __init__(self, folder: Path, config: dict[str, Any], service: str = "") -> None:
        self.folder = folder
        self.config_file = folder / "gatelodge.yaml"
        self.log_file = folder / "gateway.log"
        self.port, self.admin_port = free_port(), free_port()
        self.config = {
            **config,
            "listen": f"0.0.0.0:{self.port}",
            "admin": f"127.0.0.1:{self.admin_port}",
            "drain": {"delay": "0s", "timeout": "30s"},
        }
        self.config["log"]["access"] = False
        self.configure(self.config)
        local = f"""\
[Service]
ExecStart=
ExecStart={sys.executable} -P -m proxy run -c {self.config_file}
Environment=PYTHONPATH={ROOT}
StandardOutput=append:{self.log_file}
StandardError=append:{self.log_file}
ReadWritePaths={folder}
# The test's files are root's, and below /tmp or a home.
User=root
PrivateTmp=no
ProtectHome=no
{service}"""
        text = (UNITS / SOCKET).read_text(encoding="utf-8")
        self.units = {
            SERVICE: (UNITS / SERVICE).read_text(encoding="utf-8"),
            f"{SERVICE}.d/local.conf": local,
            SOCKET: text.replace("8080", str(self.port)).replace("9090", str(self.admin_port)),
        }

    def configure(self, config: Mapping[str, Any]) -> None:
        self.config_file.write_text(yaml.safe_dump(dict(config), sort_keys=False))

    def log(self) -> list[dict[str, Any]]:
        if not self.log_file.exists():
            return []
        lines = self.log_file.read_text(encoding="utf-8").split("\n")[:-1]
        return [json.loads(line) for line in lines]

    async def logged(self, event: str, count: int = 1) -> None:
        while sum(line["event"] == event for line in self.log()) < count:  # noqa: ASYNC110
            await asyncio.sleep(0.02)

    @asynccontextmanager
    async def running(self) -> AsyncIterator[Systemd]:
        """A systemd that has started the service."""
        async with Systemd(self.folder, self.units) as systemd:
            await systemd.systemctl("start", SOCKET, SERVICE)
            yield systemd


@pytest.fixture
async def service() -> AsyncIterator[Service]:
    async with Service("a") as one:
        yield one


async def asked(port: int, path: str, **how: Any) -> int:
    """Ask on a new connection; return the status."""
    reader, writer = await asyncio.open_connection("127.0.0.1", port, **how)
    return await _status(reader, writer, path)


async def _status(reader: asyncio.StreamReader, writer: asyncio.StreamWriter, path: str) -> int:
    head = f"GET {path} HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n"
    writer.write(head.encode())
    try:
        line = await asyncio.wait_for(reader.readline(), 60)
    finally:
        writer.close()
    return int(line.split()[1])


async def test_a_start_waits_until_it_serves(service: Service, tmp_path: Path) -> None:
    installed = Installed(tmp_path, settings(service.url))
    async with Systemd(tmp_path, installed.units) as systemd:
        await systemd.systemctl("start", SOCKET)
        starting = asyncio.ensure_future(systemd.systemctl("start", SERVICE))
        await systemd.until(SERVICE, "ActiveState", "activating")
        await starting
        assert await systemd.show(SERVICE, "ActiveState") == "active"
        assert [line["listener"] for line in installed.log() if line["event"] == "listening"]


@pytest.mark.parametrize("workers", [1, 2] if FULL else [2])
async def test_a_restart_fails_nobody(service: Service, tmp_path: Path, workers: int) -> None:
    installed = Installed(tmp_path, settings(service.url, workers=workers))
    async with installed.running() as systemd:
        operators: list[int] = []
        async with Load(installed.port, PLAN) as load:
            await load.reach(30)
            for _ in range(RESTARTS):
                restart = asyncio.ensure_future(systemd.systemctl("restart", SERVICE))
                while not restart.done():
                    operators.append(await asked(installed.admin_port, "/-/healthy"))
                    await asyncio.sleep(0.05)
                await restart
                await load.reach(30)
        print(f"\n{RESTARTS} restarts, workers {workers}: {load.report}")
        assert load.failed == []
        assert not load.lost
        assert load.counts["websocket told to come back"] >= RESTARTS
        assert set(operators) == {200}
        assert await systemd.show(SERVICE, "NRestarts") == "0"  # of those that nobody asked for
        await systemd.systemctl("stop", SERVICE)
        assert await systemd.show(SERVICE, "Result") == "success"


async def test_a_reload_is_done_in_place(service: Service, tmp_path: Path) -> None:
    installed = Installed(tmp_path, settings(service.url))
    async with installed.running() as systemd:
        main = await systemd.show(SERVICE, "MainPID")
        async with Load(installed.port, PLAN) as load:
            await load.reach(20)
            assert await asked(installed.port, "/new/x") == 404
            route = {"path": "/new/**", "upstream": "api", "auth": "public"}
            installed.configure(
                {**installed.config, "routes": [*installed.config["routes"], route]}
            )
            await systemd.systemctl("reload", SERVICE)
            await installed.logged("configuration reloaded")
            assert await asked(installed.port, "/new/x") == 200
            installed.config_file.write_text("upstreams: nonsense\n")
            await systemd.systemctl("reload", SERVICE)
            await installed.logged("configuration cannot be used")
            assert await asked(installed.port, "/new/x") == 200
            await load.reach(20)
        assert load.failed == []
        await systemd.until(SERVICE, "SubState", "running")
        assert await systemd.show(SERVICE, "MainPID") == main


async def halted(systemd: Systemd, load: Load) -> int:
    """Let the main process stand still, and return its id; what it holds will be lost."""
    main = (await systemd.processes(SERVICE))[0]
    await stopped(main)
    load.doom(ports_of(main))
    return main


@pytest.mark.parametrize("workers", [1, 2])
async def test_a_crash_costs_what_was_under_way(
    service: Service, tmp_path: Path, workers: int
) -> None:
    """The crash of a supervisor costs nothing: its workers finish what they have."""
    installed = Installed(tmp_path, settings(service.url, workers=workers), FAST)
    async with installed.running() as systemd:
        async with Load(installed.port, PLAN) as load:
            for number in range(CRASHES):
                await load.reach(20)
                os.kill(await halted(systemd, load), signal.SIGKILL)
                await systemd.until(SERVICE, "NRestarts", str(number + 1))
                await systemd.until(SERVICE, "ActiveState", "active")
            await load.reach(20)
        print(f"\n{CRASHES} crashes, workers {workers}: {load.report}\nlost: {len(load.lost)}")
        assert load.failed == []
        assert workers == 1 or not load.lost


WATCHED: Final = "WatchdogSec=3\nExecStopPost=/bin/sh -c 'echo $SERVICE_RESULT >>{}/result'\n"


async def test_who_stands_still_is_restarted(service: Service, tmp_path: Path) -> None:
    installed = Installed(tmp_path, settings(service.url), WATCHED.format(tmp_path))
    async with installed.running() as systemd:
        async with Load(installed.port, PLAN) as load:
            await load.reach(20)
            await halted(systemd, load)
            await systemd.until(SERVICE, "NRestarts", "1")
            await load.reach(20)
        print(f"\nwatchdog: {load.report}\nlost: {len(load.lost)}")
        assert load.failed == []
        assert (tmp_path / "result").read_text() == "watchdog\n"


async def test_callers_wait_for_a_configuration_that_can_be_used(
    service: Service, tmp_path: Path
) -> None:
    installed = Installed(tmp_path, settings(service.url), FAST)
    installed.config_file.write_text("upstreams: nonsense\n")
    async with Systemd(tmp_path, installed.units) as systemd:
        await systemd.systemctl("start", SOCKET)
        asking = asyncio.ensure_future(asked(installed.port, "/public/x"))
        while int(await systemd.show(SERVICE, "NRestarts")) < CRASHES:  # noqa: ASYNC110
            await asyncio.sleep(0.05)
        installed.configure(installed.config)
        assert await asking == 200


KINDS: Final = [(kind, workers) for kind in ("all", "unix", "tls") for workers in (1, 2)]


@pytest.mark.parametrize(("kind", "workers"), KINDS if FULL else [KINDS[0], *KINDS[3::2]])
async def test_what_comes_to_any_socket_waits(
    service: Service, tmp_path: Path, kind: str, workers: int
) -> None:
    installed = Installed(tmp_path, settings(service.url, workers=workers))
    how: dict[str, Any] = {}
    stream = f"0.0.0.0:{installed.port}"
    other = {"all": str(installed.port), "unix": str(tmp_path / "s"), "tls": stream}
    text = installed.units[SOCKET].replace(f"={stream}\n", f"={other[kind]}\n")
    if kind == "unix":
        installed.config["listen"] = f"unix:{other[kind]}"
    if kind == "tls":
        authority = Authority(tmp_path)
        cert, key = authority.issue("localhost")
        tls = {"cert": str(cert), "key": str(key)}
        installed.config["listen"] = {"address": stream, "tls": tls}
        how["ssl"] = ssl.create_default_context(cafile=str(authority.ca))
    installed.units[SOCKET] = text
    installed.configure(installed.config)

    async def ask() -> int:
        if kind != "unix":
            return await asked(installed.port, "/public/x", **how)
        return await _status(*await asyncio.open_unix_connection(other[kind]), "/public/x")

    async with Systemd(tmp_path, installed.units) as systemd:
        await systemd.systemctl("start", SOCKET)
        assert await ask() == 200  # which starts the service
        restart = asyncio.ensure_future(systemd.systemctl("restart", SERVICE))
        statuses: list[int] = []
        while not restart.done():
            statuses.append(await ask())
        await restart
        assert set(statuses) <= {200}
        await systemd.systemctl("stop", SERVICE)
        assert await ask() == 200  # which starts it again: the socket unit is as it was


async def test_a_socket_for_nobody_ends_the_start(service: Service, tmp_path: Path) -> None:
    installed = Installed(tmp_path, settings(service.url), "Restart=no\n")
    port = free_port()
    installed.units[SOCKET] += f"\n[Socket]\nListenStream=127.0.0.1:{port}\n"
    async with Systemd(tmp_path, installed.units) as systemd:
        await systemd.systemctl("start", SOCKET)
        await systemd.systemctl("start", "--no-block", SERVICE)
        await installed.logged("cannot start")
        [line] = [line for line in installed.log() if line["event"] == "cannot start"]
        assert f"it is at 127.0.0.1:{port}, where neither listen " in line["reason"]


def test_the_units_are_what_systemd_understands(tmp_path: Path) -> None:
    for name in (SERVICE, SOCKET):
        text = (UNITS / name).read_text(encoding="utf-8")
        (tmp_path / name).write_text(text.replace("/usr/local/bin/gatelodge", "/bin/true"))
    done = subprocess.run(
        ["systemd-analyze", "verify", str(tmp_path / SERVICE), str(tmp_path / SOCKET)],
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")


def test_the_documented_lines_are_those_of_the_units() -> None:
    text = (ROOT / "docs" / "operations.md").read_text(encoding="utf-8")
    section = text.partition("\n## systemd\n")[2].partition("\n## ")[0]
    shown = re.findall(r"^```ini\n(.*?)^```", section, re.MULTILINE | re.DOTALL)
    assert len(shown) == 2
    for name, block in zip((SERVICE, SOCKET), shown, strict=True):
        lines = (UNITS / name).read_text(encoding="utf-8").splitlines()
        assert [line for line in block.splitlines() if line and line not in lines] == []
