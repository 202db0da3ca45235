"""The command behind `make conformance`."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from proxy.config.load import loads
from tests.hostile import commands
from tests.hostile.commands import config, main, run_target
from tests.hostile.profiles import GATEWAYS, UPSTREAM, render
from tests.hostile.report import Report
from tests.hostile.target import Address, CannotRun, Target
from tests.support.gateway import GatewayProcess
from tests.support.upstream import StubUpstream


@pytest.mark.slow
async def test_a_gateway_that_is_only_a_target_passes(tmp_path: Path) -> None:
    async with StubUpstream() as free:
        upstream = Address("127.0.0.1", free.port)
    gateway = GatewayProcess(render("base", f"http://{upstream}"), tmp_path)
    async with gateway:
        profiles = tuple(name for name in GATEWAYS["base"] if name != "admin")
        target = Target(Address("localhost", gateway.port), upstream, profiles, own_errors=True)
        report = await run_target(target)
    assert [(verdict.name, verdict.problems) for verdict in report.failed] == []
    assert report.good


@pytest.mark.parametrize("gateway", GATEWAYS)
def test_the_configuration_that_is_printed_is_one(
    gateway: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["config", gateway]) == 0
    text = capsys.readouterr().out
    loaded = loads(text, "printed.yaml", {"DATABASE_URL": "postgres://u@127.0.0.1/app"}).config
    assert (loaded.listen.address.host, loaded.listen.address.port) == ("127.0.0.1", 8080)
    assert f"PROFILES={','.join(GATEWAYS[gateway])}" in text
    assert text == config(gateway, commands.LISTEN, UPSTREAM)


def test_a_session_is_printed(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["token", "USER"]) == 0
    assert capsys.readouterr().out.count(".") == 4
    assert main(["token", "USER", "--tokens", "hs256"]) == 0
    assert capsys.readouterr().out.count(".") == 2


def test_a_session_that_nobody_knows_is_an_error(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["token", "TK28", "--tokens", "hs256"]) == 2
    assert "no session is called 'TK28'; there are ADMIN, " in capsys.readouterr().err


WRONG = {
    "profile": (["--profiles", "basse"], "unknown: basse; there are base, "),
    "no-profile": (["--profiles", ","], "none named; there are base, "),
    "target": (["--target", "8080"], "'8080' is not HOST:PORT"),
    "tokens": (["--tokens", "jwt"], "invalid choice: 'jwt'"),
}


@pytest.mark.parametrize("name", WRONG)
def test_wrong_options_are_told(name: str, capsys: pytest.CaptureFixture[str]) -> None:
    options, message = WRONG[name]
    with pytest.raises(SystemExit) as error:
        main(["run", *options])
    assert error.value.code == 2
    assert message in capsys.readouterr().err


def fake(monkeypatch: pytest.MonkeyPatch, result: Report | Exception) -> None:
    async def run(_target: Target) -> Report:
        if isinstance(result, Exception):
            raise result
        return result

    monkeypatch.setattr(commands, "run_target", run)


def test_a_target_that_cannot_be_run_is_an_error(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    fake(monkeypatch, CannotRun("it is not there"))
    assert main(["run", "--target", "localhost:1"]) == 2
    assert capsys.readouterr().err == "conformance: it is not there\n"


def test_a_target_that_fails_is_told_by_the_exit_status(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    fake(monkeypatch, Report("localhost:1", ["base"], "authjs", [], [], {"minted": ["no"]}))
    assert main(["run", "--target", "localhost:1", "--json"]) == 1
    assert json.loads(capsys.readouterr().out)["checks"] == {"minted": ["no"]}
