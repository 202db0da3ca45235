"""The Dockerfile and the example deployment, judged by hadolint and by the real docker-compose."""

from __future__ import annotations

import json
import os
import stat
import subprocess
import sys
from collections.abc import AsyncIterator, Mapping
from pathlib import Path
from typing import Any, Final
from urllib.parse import unquote, urlsplit

import asyncpg
import pytest

from proxy import __version__
from proxy.config.load import Loaded, loads
from proxy.demo.programs import find_programs
from tests.support.client import exchange
from tests.support.gateway import ROOT, GatewayProcess
from tests.support.postgres import Database
from tests.support.upstream import StubUpstream

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
def deployed(tmp_path: Path) -> Loaded:
    """The deployment's configuration, with secrets as ./secrets.sh makes them."""
    make_secrets(tmp_path, {})
    text = changed(DEPLOY / "gatelodge.yaml", {"/run/secrets/": f"{tmp_path}/secrets/"})
    return loads(text, "gatelodge.yaml", {})


def changed(file: Path, changes: Mapping[str, str]) -> str:
    """Return the text of `file` with `changes`, each of which must have something to change."""
    text = file.read_text(encoding="utf-8")
    for old, new in changes.items():
        assert old in text
        text = text.replace(old, new)
    return text


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
    ("remote", "label"),
    [
        ("https://ci:a-password@git.example.com/a@b/c.git", "https://git.example.com/a@b/c"),
        ("https://git.example.com/gatelodge", "https://git.example.com/gatelodge"),
        ("ssh://git@git.example.com/gatelodge.git", None),
        (None, None),
    ],
)
def test_the_label_of_the_source_is_an_address_without_a_password(
    tmp_path: Path, remote: str | None, label: str | None
) -> None:
    """The script tells the engine what it knows; `echo` is one that shows it."""
    for name in ("scripts/build-image.sh", "proxy/__init__.py"):
        (tmp_path / name).parent.mkdir()
        (tmp_path / name).write_bytes((ROOT / name).read_bytes())
    if remote is not None:
        for words in (["init", "--quiet"], ["remote", "add", "origin", remote]):
            subprocess.run(["git", *words], cwd=tmp_path, check=True, timeout=60)
    env = {"PATH": os.environ["PATH"], "ENGINE": "echo"}
    script = ["bash", str(tmp_path / "scripts" / "build-image.sh"), "--no-cache"]
    said = subprocess.run(script, env=env, capture_output=True, text=True, timeout=60, check=True)
    words = said.stdout.split()
    assert words[-2:] == ["--no-cache", "."]
    assert f"VERSION={__version__}" in words
    found = [word for word in words if word.startswith("org.opencontainers.image.source=")]
    assert found == ([f"org.opencontainers.image.source={label}"] if label else [])
    assert "a-password" not in said.stdout


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


def test_there_is_time_to_drain(services: Services, deployed: Loaded) -> None:
    drain = deployed.config.drain
    grace = services["gateway"]["stop_grace_period"]
    assert grace.endswith("s")
    assert float(grace.removesuffix("s")) > drain.delay + drain.timeout


def test_the_port_that_is_published_is_the_gateways(services: Services, deployed: Loaded) -> None:
    config = deployed.config
    [port] = services["gateway"]["ports"]
    assert config.listen.address.port == port["target"]
    assert str(config.admin) == "127.0.0.1:9090"
    assert [str(each.url) for each in config.upstreams["api"].endpoints] == ["http://api:8000"]


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


def initialise(database: Database, secrets: Path) -> None:
    """Do what the entry point of PostgreSQL's image does with the scripts of deploy/database."""
    folder = secrets.parent / "init"
    folder.mkdir()
    for script in (DEPLOY / "database").iterdir():
        moved = script.read_text(encoding="utf-8").replace("/run/secrets/", f"{secrets}/")
        (folder / script.name).write_text(moved, encoding="utf-8")
    programs = find_programs()
    environment = {
        **os.environ,
        "PATH": f"{programs.folder}:{os.environ['PATH']}",
        "PGHOST": "127.0.0.1",
        "PGPORT": str(database.server.port),
        "PGPASSWORD": password_of(database),
        "POSTGRES_DB": database.name,
    }
    psql = ["psql", "-X", "-q", "-v", "ON_ERROR_STOP=1", "-U", "postgres", "-d", database.name]
    for script in sorted(folder.iterdir()):
        command = ["sh"] if script.suffix == ".sh" else [*psql, "-f"]
        done = subprocess.run(
            [*command, str(script)],
            env=environment,
            capture_output=True,
            text=True,
            timeout=60,
            check=False,
        )
        assert (done.returncode, done.stderr) == (0, ""), script


def password_of(database: Database) -> str:
    password = urlsplit(database.url).password
    assert password is not None
    return unquote(password)


@pytest.fixture
async def prepared(database: Database, tmp_path: Path) -> AsyncIterator[Database]:
    """The database as the deployment makes it, with a user and a session of hers."""
    make_secrets(tmp_path, {})
    initialise(database, tmp_path / "secrets")
    await database.run(
        "INSERT INTO users (name, role) VALUES ('Ada', 'admin')",
        'INSERT INTO sessions ("userId", expires, "sessionToken") '
        "SELECT id, now() + interval '1 hour', 'a-token-of-hers' FROM users",
    )
    yield database
    await database.run("DROP OWNED BY gatelodge", "DROP ROLE gatelodge")


async def test_sessions_of_its_database_open_the_api(prepared: Database, tmp_path: Path) -> None:
    async with StubUpstream() as upstream:
        config = changed(
            DEPLOY / "gatelodge.yaml",
            {
                "/run/secrets/": f"{tmp_path}/secrets/",
                "@database/app": f"@127.0.0.1:{prepared.server.port}/{prepared.name}",
                "0.0.0.0:8080": "127.0.0.1:0\nadmin: 127.0.0.1:0\nlog: {format: json}",
                "http://api:8000": f"http://127.0.0.1:{upstream.port}",
                "delay: 5s": "delay: 0s",
            },
        )
        async with GatewayProcess(config, tmp_path) as gateway:
            for token, status in {"a-token-of-hers": 200, "a-token-of-nobody": 401}.items():
                head = "GET /admin/x HTTP/1.1\r\nHost: localhost:8080\r\nConnection: close\r\n"
                cookie = f"Cookie: authjs.session-token={token}\r\n\r\n"
                answer = await exchange(gateway.port, (head + cookie).encode())
                assert answer.status == status
        [request] = upstream.requests
        assert request.values("X-User-Name") == ["Ada"]
        assert request.values("X-User-Roles") == ["admin"]


async def test_the_gateways_user_of_the_database_reads_two_tables_and_no_more(
    prepared: Database, tmp_path: Path
) -> None:
    password = (tmp_path / "secrets" / "gatelodge_password").read_text(encoding="ascii")
    connection = await asyncpg.connect(
        host="127.0.0.1",
        port=prepared.server.port,
        user="gatelodge",
        password=password,
        database=prepared.name,
    )
    try:
        assert await connection.fetchval("SELECT count(*) FROM sessions JOIN users ON true") == 1
        for statement in (
            "SELECT * FROM accounts",
            "SELECT * FROM verification_token",
            "DELETE FROM sessions",
            "UPDATE users SET role = 'admin'",
            "CREATE TABLE mine (id int)",
        ):
            with pytest.raises(asyncpg.InsufficientPrivilegeError):
                await connection.execute(statement)
    finally:
        await connection.close()
