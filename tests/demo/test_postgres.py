"""A real PostgreSQL, started and ended: whom it lets in, what it survives and leaves behind."""

from __future__ import annotations

import fcntl
import os
import select
import signal
import socket
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import closing, contextmanager
from pathlib import Path
from urllib.parse import urlsplit

import asyncpg
import pytest

from proxy.demo import folder, postgres
from proxy.demo.postgres import Postgres
from proxy.demo.programs import PostgresError, find_programs

ROOT = Path(__file__).parent.parent.parent

LINUX = pytest.mark.skipif(sys.platform != "linux", reason="is about Linux, or looks into /proc")

# Starts a server, says where it is, and waits for a death of whatever kind.
HOLDER = """
import sys
import tempfile
from proxy.demo.postgres import running
with running() as server:
    print(server.folder, server.port, flush=True)
    sys.stdin.read()
"""


async def ask(server: Postgres, question: str, database: str = "postgres") -> object:
    connection = await asyncpg.connect(server.url(database))
    try:
        return await connection.fetchval(question)
    finally:
        await connection.close()


async def do(server: Postgres, command: str, database: str = "postgres") -> None:
    connection = await asyncpg.connect(server.url(database))
    try:
        await connection.execute(command)
    finally:
        await connection.close()


def process_of(folder: Path) -> int:
    """The number of the server's main process (line 1 of its own file)."""
    return int((folder / "data" / "postmaster.pid").read_text().splitlines()[0])


def keeper_of(process: int) -> int:
    """The parent of the server's main process."""
    return int(ps("ppid", process))


def ps(column: str, process: int) -> str:
    command = ["ps", "-o", f"{column}=", "-p", str(process)]
    return subprocess.run(command, capture_output=True, text=True, check=True).stdout.strip()


def is_alive(process: int) -> bool:
    try:
        os.kill(process, 0)
    except ProcessLookupError:
        return False
    return True


def await_end(process: int) -> None:
    """Wait until the process has ended; the test's own time limit is the only one."""
    try:
        descriptor = os.pidfd_open(process)
    except ProcessLookupError:
        return
    select.select([descriptor], [], [])
    os.close(descriptor)


def assert_closed(port: int) -> None:
    with pytest.raises(ConnectionRefusedError):
        socket.create_connection(("127.0.0.1", port))


def segment_of(folder: Path) -> str:
    """The number of the server's segment of System V shared memory (line 7 of its own file)."""
    return (folder / "data" / "postmaster.pid").read_text().splitlines()[6].split()[1]


def has_segment(number: str) -> bool:
    listed = subprocess.run(["ipcs", "-m"], capture_output=True, text=True, check=True)
    # Linux lists key and number first, macOS a kind and the number.
    return number in [line.split()[1] for line in listed.stdout.splitlines() if " " in line]


@contextmanager
def holder(through: Sequence[str] = ()) -> Iterator[tuple[subprocess.Popen[str], Path, int]]:
    """A process of its own with a server; yields it, the server's folder and its port."""
    command = [*through, sys.executable, "-c", HOLDER]
    with subprocess.Popen(
        command,
        cwd=ROOT,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    ) as process:
        try:
            assert process.stdout is not None
            said = process.stdout.readline().split()
            if len(said) != 2:
                pytest.fail(process.communicate()[1])
            yield process, Path(said[0]), int(said[1])
        finally:
            process.kill()


async def test_it_is_a_postgresql_in_utf_8_and_utc(server: Postgres) -> None:
    assert str(await ask(server, "SELECT version()")).startswith("PostgreSQL ")
    assert await ask(server, "SHOW server_encoding") == "UTF8"
    assert await ask(server, "SHOW timezone") == "UTC"


async def test_it_holds_several_databases(server: Postgres) -> None:
    await do(server, 'CREATE DATABASE "a/b c"')
    assert await ask(server, "SELECT current_database()", "a/b c") == "a/b c"


async def test_a_role_can_be_let_in_by_its_own_password(server: Postgres) -> None:
    await do(server, "CREATE ROLE reader LOGIN PASSWORD 'p:@/ ß'")
    connection = await asyncpg.connect(server.url(user="reader", password="p:@/ ß"))
    assert await connection.fetchval("SELECT current_user") == "reader"
    await connection.close()


async def test_nobody_gets_in_without_the_password(server: Postgres) -> None:
    """Other users of the machine reach loopback, too."""
    with pytest.raises(asyncpg.InvalidPasswordError):
        await asyncpg.connect(server.url(password="guessed"))


@LINUX
def test_it_listens_on_loopback_and_on_no_socket_file(server: Postgres) -> None:
    listening = [
        line.split()[1]
        for table in ("/proc/net/tcp", "/proc/net/tcp6")
        for line in Path(table).read_text().splitlines()[1:]
        if line.split()[3] == "0A" and line.split()[1].endswith(f":{server.port:04X}")
    ]
    assert listening == [f"0100007F:{server.port:04X}"]
    assert not [path for path in server.folder.rglob("*") if path.is_socket()]


def test_others_cannot_look_into_its_folder(server: Postgres) -> None:
    assert server.folder.stat().st_mode & 0o077 == 0
    assert (server.folder / "data").stat().st_mode & 0o077 == 0


@LINUX
def test_no_process_shows_the_password(server: Postgres) -> None:
    password = urlsplit(server.url()).password
    assert password
    process = process_of(server.folder)
    for number in (process, keeper_of(process)):
        for name in ("cmdline", "environ"):
            assert password.encode() not in Path(f"/proc/{number}/{name}").read_bytes()
    assert password not in repr(server)


def test_it_does_not_run_as_root(server: Postgres) -> None:
    """PostgreSQL would refuse; where this test runs as root, the server runs as nobody."""
    process = process_of(server.folder)
    assert "0" not in (ps("uid", process), ps("ruid", process))


async def test_settings_are_those_of_postgresql() -> None:
    settings = {"timezone": "Asia/Kolkata", "max_connections": "7"}
    with postgres.running(settings) as server:
        assert await ask(server, "SHOW timezone") == "Asia/Kolkata"
        assert await ask(server, "SHOW max_connections") == "7"


@pytest.mark.parametrize("end", ["stop", "kill"])
async def test_it_can_be_started_again_on_its_port_with_its_data(end: str) -> None:
    with postgres.running() as server:
        port = server.port
        await do(server, "CREATE TABLE kept AS SELECT 42 AS number; CHECKPOINT")
        getattr(server, end)()
        assert_closed(port)
        assert server.folder.exists()
        server.start()
        assert server.port == port
        assert await ask(server, "SELECT number FROM kept") == 42


def test_it_is_not_started_twice(server: Postgres) -> None:
    with pytest.raises(PostgresError, match="twice"):
        server.start()


def test_the_end_leaves_nothing_behind() -> None:
    with postgres.running() as server:
        process, segment = process_of(server.folder), segment_of(server.folder)
        keeper = keeper_of(process)
        assert has_segment(segment)
    assert not server.folder.exists()
    assert_closed(server.port)
    assert not is_alive(process)
    assert not is_alive(keeper)
    assert not has_segment(segment)


@pytest.mark.parametrize("end", ["stop", "kill"])
def test_the_end_of_a_server_that_was_ended_leaves_nothing_behind(end: str) -> None:
    with postgres.running() as server:
        segment = segment_of(server.folder)
        getattr(server, end)()
    assert not server.folder.exists()
    assert not has_segment(segment)


@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGTERM, signal.SIGHUP])
def test_the_death_of_its_owner_leaves_nothing_behind(number: signal.Signals) -> None:
    with holder() as (owner, folder, port):
        process, segment = process_of(folder), segment_of(folder)
        lock = os.open(folder / "lock", os.O_RDWR)
        owner.send_signal(number)
        # The keeper is the last that holds it.
        fcntl.flock(lock, fcntl.LOCK_EX)
        os.close(lock)
    assert not folder.exists()
    assert not is_alive(process)
    assert_closed(port)
    assert not has_segment(segment)


@LINUX
def test_the_death_of_the_keeper_ends_the_server() -> None:
    """Only Linux tells a child that its parent has died."""
    with holder() as (owner, folder, port):
        process, segment = process_of(folder), segment_of(folder)
        os.kill(keeper_of(process), signal.SIGKILL)
        await_end(process)
        assert_closed(port)
        assert not has_segment(segment)
        owner.communicate()
    assert owner.returncode == 0
    assert not folder.exists()


def test_ctrl_c_in_a_terminal_does_not_reach_the_server() -> None:
    """It goes to all processes of the group; the server must be there until its owner is done."""
    with holder() as (owner, folder, _):
        process = process_of(folder)
        assert os.getpgid(keeper_of(process)) != os.getpgid(owner.pid)
        assert os.getpgid(process) != os.getpgid(owner.pid)


def test_a_setting_that_is_wrong_is_shown() -> None:
    with (
        pytest.raises(PostgresError, match="does not start") as refused,
        postgres.running({"shared_buffers": "many"}),
    ):
        pass
    assert 'invalid value for parameter "shared_buffers": "many"' in str(refused.value)


def test_a_port_that_somebody_was_quicker_to_take_is_no_hindrance(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    find = postgres._free_port
    with closing(socket.create_server(("127.0.0.1", 0))) as other:
        taken = other.getsockname()[1]
        ports = iter([taken])
        monkeypatch.setattr(postgres, "_free_port", lambda: next(ports, None) or find())
        with postgres.running() as server:
            assert server.port != taken
            socket.create_connection(("127.0.0.1", server.port)).close()


def test_a_server_that_is_not_ready_in_time_is_ended(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(postgres, "START_SECONDS", 0)
    with closing(Postgres(find_programs(), {})) as server:
        with pytest.raises(PostgresError, match="was not ready after 0 s"):
            server.start()
        assert server.folder.exists()
    assert not server.folder.exists()


def test_without_a_place_for_its_files_it_says_so(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path / "missing"))
    monkeypatch.setattr(folder, "_OTHER_PLACES", ())
    with pytest.raises(PostgresError, match=r"no place.*missing"), postgres.running():
        pass


def test_elsewhere_than_on_unix_it_says_so(monkeypatch: pytest.MonkeyPatch) -> None:
    with monkeypatch.context() as elsewhere:
        elsewhere.setattr(os, "name", "nt")
        with pytest.raises(PostgresError, match="on Linux and macOS only"), postgres.running():
            pass


def _may_make_namespaces() -> bool:
    made = subprocess.run(["unshare", "--user", "true"], capture_output=True, check=False)
    return made.returncode == 0


NAMESPACES = pytest.mark.skipif(
    not (sys.platform == "linux" and _may_make_namespaces()),
    reason="this system lets nobody make user namespaces",
)


@NAMESPACES
@pytest.mark.parametrize(
    "options",
    [["--map-root-user"], ["--map-user=12345", "--map-group=12345"]],
    ids=["root in name only", "no name"],
)
def test_a_user_whom_postgresql_refuses_gets_another_name(options: list[str]) -> None:
    """Containers are often so; no user is added for it, and the folder is still our own."""
    with holder(["unshare", "--user", *options]) as (owner, folder, port):
        socket.create_connection(("127.0.0.1", port)).close()
        process = process_of(folder)
        assert folder.stat().st_uid == os.geteuid()
        owner.communicate()
    assert not folder.exists()
    assert not is_alive(process)


def test_programs_that_only_root_can_read_are_no_hindrance(tmp_path: Path) -> None:
    """As in a virtual environment below /root: nobody, who runs the server, cannot get there."""
    tmp_path.chmod(0o700)
    hidden = find_programs().copy_to(tmp_path)
    with closing(Postgres(hidden, {})) as server:
        server.start()
        assert process_of(server.folder)
        assert server.folder.stat().st_mode & 0o077 == 0
    assert tmp_path.stat().st_mode & 0o777 == 0o700
    assert not server.folder.exists()
