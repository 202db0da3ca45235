"""The Dockerfile and the example deployment, judged by hadolint and by the real docker-compose."""

from __future__ import annotations

import json
import os
import stat
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any, Final

import pytest

from proxy.config.load import Loaded, loads
from tests.support.gateway import ROOT

BIN: Final = Path(sys.executable).parent
DEPLOY: Final = ROOT / "deploy"
SECRETS: Final = {"auth_secret", "gatelodge_password", "postgres_password"}

Services = dict[str, dict[str, Any]]


def tool(name: str, *words: str, given: str = "") -> subprocess.CompletedProcess[str]:
    """Run a tool of the development environment, as a machine without variables of ours would."""
    env = {key: value for key, value in os.environ.items() if not key.startswith("COMPOSE_")}
    return subprocess.run(
        [str(BIN / name), *words],
        cwd=ROOT,
        env=env,
        input=given,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )


@pytest.fixture(scope="module")
def services() -> Services:
    """The services as compose understands them."""
    done = tool("docker-compose", "-f", "deploy/compose.yaml", "config", "--format", "json")
    assert done.returncode == 0, done.stderr
    found: Services = json.loads(done.stdout)["services"]
    return found


@pytest.fixture
def deployed(tmp_path: Path) -> Callable[[], Loaded]:
    """Load the deployment's configuration, with secrets as ./secrets.sh makes them."""
    make_secrets(tmp_path, {})
    text = (DEPLOY / "gatelodge.yaml").read_text(encoding="utf-8")
    assert "/run/secrets/" in text
    moved = text.replace("/run/secrets/", f"{tmp_path}/secrets/")
    return lambda: loads(moved, "gatelodge.yaml", {})


def make_secrets(folder: Path, env: dict[str, str]) -> str:
    """Run a copy of secrets.sh in `folder`; return what it says."""
    script = folder / "secrets.sh"
    script.write_bytes((DEPLOY / "secrets.sh").read_bytes())
    done = subprocess.run(
        ["sh", str(script)],
        env={"PATH": os.environ["PATH"], **env},
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert (done.returncode, done.stderr) == (0, "")
    return done.stdout


def test_the_dockerfile_has_no_finding() -> None:
    done = tool("hadolint", "Dockerfile")
    assert (done.returncode, done.stdout) == (0, "")


def test_a_poor_dockerfile_has_findings() -> None:
    done = tool("hadolint", "-", given="FROM python\nRUN cd /x && pip install y\n")
    assert done.returncode == 1
    assert "DL3006" in done.stdout


def test_compose_takes_the_file() -> None:
    done = tool("docker-compose", "-f", "deploy/compose.yaml", "config", "--quiet")
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")


@pytest.mark.parametrize(
    ("good", "bad"),
    [("read_only:", "readonly:"), ("networks: [api]", "networks: [apis]"), ("40s", "forty")],
)
def test_compose_refuses_a_file_with_a_mistake(tmp_path: Path, good: str, bad: str) -> None:
    text = (DEPLOY / "compose.yaml").read_text(encoding="utf-8")
    broken = tmp_path / "compose.yaml"
    broken.write_text(text.replace(good, bad), encoding="utf-8")
    done = tool("docker-compose", "-f", str(broken), "config", "--quiet")
    assert done.returncode != 0
    assert done.stderr


def test_only_the_gateway_can_be_reached_and_only_it_reaches_the_others(
    services: Services,
) -> None:
    published = {name for name, service in services.items() if service.get("ports")}
    assert published == {"gateway"}
    assert [port["host_ip"] for port in services["gateway"]["ports"]] == ["127.0.0.1"]
    members = {name: set(service["networks"]) for name, service in services.items()}
    assert members == {"gateway": {"edge", "api", "data"}, "api": {"api"}, "database": {"data"}}


@pytest.mark.parametrize("name", ["gateway", "api", "database"])
def test_every_service_is_locked_in(services: Services, name: str) -> None:
    service = services[name]
    assert service["read_only"] is True
    assert service["cap_drop"] == ["ALL"]
    assert "cap_add" not in service
    assert service["security_opt"] == ["no-new-privileges:true"]
    assert {"cpus", "memory", "pids"} <= service["deploy"]["resources"]["limits"].keys()
    # The gateway's user and health check are the image's own; tests/e2e/test_image.py has them.
    if name != "gateway":
        assert service["user"].split(":")[0].isdecimal()
        assert service["healthcheck"]["test"]


def test_secrets_are_files_and_nothing_else(services: Services) -> None:
    given = {
        name: [secret["source"] for secret in service.get("secrets", [])]
        for name, service in services.items()
    }
    assert given == {
        "gateway": ["auth_secret", "gatelodge_password"],
        "api": [],
        "database": ["postgres_password", "gatelodge_password"],
    }
    settings = [
        f"{key}={value}"
        for service in services.values()
        for key, value in service.get("environment", {}).items()
    ]
    kin = [each for each in settings if "SECRET" in each or "PASSWORD" in each]
    assert kin == ["POSTGRES_PASSWORD_FILE=/run/secrets/postgres_password"]


def test_there_is_time_to_drain(services: Services, deployed: Callable[[], Loaded]) -> None:
    drain = deployed().config.drain
    grace = services["gateway"]["stop_grace_period"]
    assert grace.endswith("s")
    assert float(grace.removesuffix("s")) > drain.delay + drain.timeout


def test_the_port_that_is_published_is_the_gateways(
    services: Services, deployed: Callable[[], Loaded]
) -> None:
    config = deployed().config
    [port] = services["gateway"]["ports"]
    assert config.listen.address.port == port["target"]
    assert str(config.admin) == "127.0.0.1:9090"
    assert [str(each) for each in config.upstreams["api"].endpoints] == ["http://api:8000"]


def test_secrets_are_made_once_and_readable_through_a_mount_only(tmp_path: Path) -> None:
    said = make_secrets(tmp_path, {"AUTH_SECRET": "of the app, with 'quotes' and $"})
    folder = tmp_path / "secrets"
    made = {path.name: path.read_text(encoding="utf-8") for path in folder.iterdir()}
    assert made.keys() == SECRETS
    assert made["auth_secret"] == "of the app, with 'quotes' and $"
    assert len({*made.values()}) == 3
    assert all(len(made[name]) == 64 for name in SECRETS - {"auth_secret"})
    assert stat.S_IMODE(folder.stat().st_mode) == 0o700
    assert {stat.S_IMODE(path.stat().st_mode) for path in folder.iterdir()} == {0o444}
    assert not [text for text in made.values() if text in said]

    assert make_secrets(tmp_path, {"AUTH_SECRET": "another"}) == ""
    assert (folder / "auth_secret").read_text(encoding="utf-8") == made["auth_secret"]
