"""How the gateway is started: by a file or by flags, and in a real process."""

from __future__ import annotations

import asyncio
import os
import signal
import sys
from pathlib import Path

import aiohttp
import pytest

import proxy.worker
from proxy.config.model import Config
from proxy.worker import ConfigSource
from tests.cli.conftest import Gatelodge
from tests.cli.example import CONFIG, SECRET
from tests.support.fifo import wait_for_reader
from tests.support.gateway import GatewayProcess

FLAGS = ["--upstream", "http://127.0.0.1:8000"]


@pytest.fixture
def served(monkeypatch: pytest.MonkeyPatch) -> list[Config]:
    """Return what the worker is asked to serve; it returns at once, with exit code 7."""
    configs: list[Config] = []

    def serve(config: Config, _source: ConfigSource) -> int:
        configs.append(config)
        return 7

    monkeypatch.setattr(proxy.worker, "serve", serve)
    return configs


def test_a_file_is_served(gatelodge: Gatelodge, served: list[Config], tmp_path: Path) -> None:
    (tmp_path / "x.yaml").write_text(CONFIG, encoding="utf-8")
    assert gatelodge("run", "-c", "x.yaml").code == 7
    assert served[0].health_path == "/healthz"


@pytest.mark.parametrize(("variable", "code"), [("127.0.0.1:9090", 7), ("127.0.0.1:9091", 2)])
def test_variable_of_the_healthcheck_may_say_what_the_file_says(
    gatelodge: Gatelodge,
    served: list[Config],
    monkeypatch: pytest.MonkeyPatch,
    tmp_path: Path,
    variable: str,
    code: int,
) -> None:
    (tmp_path / "x.yaml").write_text(CONFIG, encoding="utf-8")
    monkeypatch.setenv("GATELODGE_ADMIN", variable)
    assert gatelodge("run", "-c", "x.yaml").code == code
    assert bool(served) is (code == 7)


def test_flags_are_served(
    gatelodge: Gatelodge, served: list[Config], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("AUTH_SECRET", SECRET)
    origins = ["--origin", "https://a.example.com", "--origin", "https://b.example.com"]
    listen = ["--listen", "127.0.0.1:1", "--admin", "127.0.0.1:2"]
    assert gatelodge("run", *FLAGS, *origins, *listen).code == 7
    [config] = served
    assert [str(each.url) for each in config.upstreams["api"].endpoints] == [
        "http://127.0.0.1:8000"
    ]
    assert config.cors is not None
    assert config.cors.origins == ("https://a.example.com", "https://b.example.com")
    assert (str(config.listen.address), str(config.admin)) == ("127.0.0.1:1", "127.0.0.1:2")


def test_variables_are_served(
    gatelodge: Gatelodge, served: list[Config], monkeypatch: pytest.MonkeyPatch
) -> None:
    for name, value in {
        "NEXTAUTH_SECRET": SECRET,
        "GATELODGE_UPSTREAM": "unix:/run/api.sock",
        "GATELODGE_ORIGIN": "https://a.example.com, https://b.example.com",
        "GATELODGE_LISTEN": "127.0.0.1:1",
    }.items():
        monkeypatch.setenv(name, value)
    assert gatelodge("run").code == 7
    [config] = served
    assert config.cors is not None
    assert len(config.cors.origins) == 2
    assert str(config.listen.address) == "127.0.0.1:1"


@pytest.mark.parametrize(
    ("words", "variables", "named"),
    [
        (["--listen", "127.0.0.1:1"], {}, "--listen"),
        (["--origin", "https://a.example.com", *FLAGS], {}, "--origin and --upstream"),
        ([], {"GATELODGE_ADMIN": "127.0.0.1:1"}, "GATELODGE_ADMIN"),
        (["--admin", "x"], {"GATELODGE_UPSTREAM": "x"}, "--admin and GATELODGE_UPSTREAM"),
    ],
)
def test_a_file_and_flags_are_not_mixed(
    gatelodge: Gatelodge,
    served: list[Config],
    monkeypatch: pytest.MonkeyPatch,
    tmp_path: Path,
    words: list[str],
    variables: dict[str, str],
    named: str,
) -> None:
    (tmp_path / "gatelodge.yaml").write_text(CONFIG, encoding="utf-8")
    for name, value in variables.items():
        monkeypatch.setenv(name, value)
    said = gatelodge("run", *words)
    assert (said.code, said.out) == (2, "")
    assert f"the configuration is gatelodge.yaml, so {named} must not be given too" in said.err
    assert served == []


def test_nothing_at_all_is_told_both_ways(gatelodge: Gatelodge, served: list[Config]) -> None:
    said = gatelodge("run")
    assert (said.code, said.out, served) == (2, "", [])
    for way in ("gatelodge.yaml", "-c FILE", "GATELODGE_CONFIG", "--upstream", "AUTH_SECRET"):
        assert way in said.err


def test_flags_that_are_wrong_are_named(gatelodge: Gatelodge, served: list[Config]) -> None:
    said = gatelodge("run", "--listen", "127.0.0.1:1")
    assert (said.code, served) == (1, [])
    assert "--upstream: is missing" in said.err
    assert "AUTH_SECRET: is not set" in said.err


RUNNING = """\
listen: 127.0.0.1:0
admin: 127.0.0.1:0
log: {format: json}
drain: {delay: 0s, timeout: 1s}
upstreams: {api: {endpoints: ["unix:/nowhere.sock"]}}
routes: [{path: /**, upstream: api, auth: public}]
"""


async def healthcheck(admin: str) -> tuple[int | None, str]:
    command = [sys.executable, "-m", "proxy", "healthcheck", "--admin", admin]
    process = await asyncio.create_subprocess_exec(*command, stderr=asyncio.subprocess.PIPE)
    _, said = await process.communicate()
    return process.returncode, said.decode()


@pytest.mark.slow
async def test_a_real_process_tells_how_it_is_until_it_ends(tmp_path: Path) -> None:
    async with GatewayProcess(RUNNING, tmp_path) as gateway:
        admin = f"127.0.0.1:{gateway.admin_port}"
        assert await healthcheck(admin) == (0, "")
        async with aiohttp.ClientSession(f"http://{admin}") as session:
            for path in ("/-/ready", "/metrics", "/-/status", "/-/config", "/-/help"):
                async with session.get(path) as response:
                    assert response.status == 200, path
            async with session.get("/-/status.json") as response:
                status = await response.json()
        assert (status["state"], status["version"]) == ("ready", proxy.__version__)
        assert await gateway.terminate() == 0
        code, said = await healthcheck(admin)
        assert code == 1
        assert said.startswith(f"gatelodge healthcheck: {admin} cannot be asked: ")


@pytest.mark.slow
async def test_a_process_that_starts_ends_by_a_handler_of_its_own(tmp_path: Path) -> None:
    """As process 1 of a container it would not end by the kernel's (code -15)."""
    gateway = GatewayProcess(RUNNING, tmp_path)
    gateway.config_file.unlink()
    os.mkfifo(gateway.config_file)
    gateway.spawn()
    try:
        writer = await wait_for_reader(gateway.config_file, lambda: gateway.running)
        gateway.process.send_signal(signal.SIGTERM)
        # A signal that comes just before a read is handled when the read returns.
        os.close(writer)
        assert (await gateway.wait(), gateway.log_text()) == (143, "")
    finally:
        gateway.kill()


@pytest.mark.slow
@pytest.mark.parametrize("workers", [1, 2])
async def test_a_hup_while_the_configuration_is_read_reloads(tmp_path: Path, workers: int) -> None:
    gateway = GatewayProcess(RUNNING, tmp_path)
    gateway.config_file.unlink()
    os.mkfifo(gateway.config_file)
    gateway.spawn()
    try:
        writer = await wait_for_reader(gateway.config_file, lambda: gateway.running)
        gateway.process.send_signal(signal.SIGHUP)
        text = f"{RUNNING}workers: {workers}\n"
        gateway.config_file.unlink()
        gateway.config_file.write_text(text, encoding="utf-8")
        os.write(writer, text.encode())
        os.close(writer)
        await gateway.wait_for_log(lambda line: line.get("generation") == 2)
        assert await gateway.terminate() == 0
    finally:
        gateway.kill()
