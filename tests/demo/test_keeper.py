"""The keeper, with shell scripts in the place of PostgreSQL: it ends what it started, always."""

from __future__ import annotations

import json
import os
import select
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from proxy.demo import keeper
from proxy.demo.keeper import READY, Child, is_ready

SAME = {"way": "same", "uid": os.geteuid(), "gid": os.getegid()}

# Says that it is ready as PostgreSQL does, and has a process of its own that ends only with it.
SERVER = """
    sleep 1000 &
    trap 'kill $!; exit 3' QUIT TERM INT
    printf '%s\\n' $$ 2 3 4 5 6 7 'ready   ' > "$0/postmaster.pid"
    wait
"""


def shell(script: str, *arguments: str) -> list[str]:
    return ["/bin/sh", "-c", script, *arguments]


def plan_for(folder: Path, initdb: str = 'touch "$0/PG_VERSION"', server: str = SERVER) -> Any:
    data = folder / "data"
    data.mkdir(parents=True)
    return {
        "folder": str(folder),
        "data": str(data),
        "account": SAME,
        "initdb": shell(initdb, str(data)),
        "postgres": shell(server, str(data)),
    }


@contextmanager
def kept(plan: Any) -> Iterator[subprocess.Popen[bytes]]:
    command = [sys.executable, "-I", "-S", keeper.__file__, json.dumps(plan)]
    with subprocess.Popen(
        command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE
    ) as process:
        yield process
        process.kill()


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return tmp_path / "folder"


def first_line(process: subprocess.Popen[bytes]) -> bytes:
    assert process.stdout is not None
    return process.stdout.readline()


def test_at_the_end_of_its_input_the_server_and_the_folder_go(folder: Path) -> None:
    with kept(plan_for(folder)) as process:
        assert first_line(process) == READY
        process.communicate()
    assert process.returncode == 0
    assert not folder.exists()


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT, signal.SIGHUP])
def test_a_signal_is_an_end_as_well(folder: Path, number: signal.Signals) -> None:
    with kept(plan_for(folder)) as process:
        assert first_line(process) == READY
        process.send_signal(number)
        assert process.wait() == 0
    assert not folder.exists()


def test_an_end_while_initdb_runs_ends_that(folder: Path) -> None:
    script = 'sleep 1000 & trap "kill $!; exit 1" TERM; echo going >&2; wait'
    with kept(plan_for(folder, initdb=script)) as process:
        assert process.stderr is not None
        assert process.stderr.readline() == b"going\n"
        _, errors = process.communicate()
    assert (process.returncode, errors) == (0, b"")
    assert not folder.exists()


def test_a_byte_is_a_signal_and_the_folder_stays(folder: Path) -> None:
    with kept(plan_for(folder)) as process:
        assert first_line(process) == READY
        assert process.stdin is not None
        process.stdin.write(bytes([signal.SIGINT]))
        process.stdin.flush()
        assert process.wait() == 3
    number = int((folder / "data" / "postmaster.pid").read_text().splitlines()[0])
    with pytest.raises(ProcessLookupError):
        os.kill(number, 0)


def test_data_that_is_there_is_used_again(folder: Path) -> None:
    plan = plan_for(folder, initdb="exit 9")
    (folder / "data" / "PG_VERSION").touch()
    with kept(plan) as process:
        assert first_line(process) == READY


@pytest.mark.parametrize("step", ["initdb", "postgres"])
def test_a_program_that_fails_is_told_by_its_status_and_words(folder: Path, step: str) -> None:
    plan = plan_for(folder)
    plan[step] = shell("echo talk; echo what is wrong >&2; exit 5")
    with kept(plan) as process:
        process.wait()
        told, errors = process.communicate()
    assert (process.returncode, told, errors) == (5, b"", b"what is wrong\n")
    assert folder.exists()


def test_a_program_that_cannot_be_run_is_named(folder: Path) -> None:
    plan = plan_for(folder) | {"postgres": [str(folder / "missing")]}
    with kept(plan) as process:
        process.wait()
        _, errors = process.communicate()
    assert process.returncode == 1
    assert errors.startswith(f"{folder / 'missing'} cannot be run: ".encode())


@pytest.mark.skipif(sys.platform != "linux", reason="no other system has user namespaces")
def test_a_namespace_that_cannot_be_made_is_told(folder: Path) -> None:
    nobody_at_all = {"way": "namespace", "uid": 2**32 - 1, "gid": 2**32 - 1}  # user_namespaces(7)
    with kept(plan_for(folder) | {"account": nobody_at_all}) as process:
        process.wait()
        _, errors = process.communicate()
    assert process.returncode == 1
    assert b"no namespace can be made for it: [Errno " in errors


def test_a_server_is_gone_when_its_last_process_is(tmp_path: Path) -> None:
    """Its main process may end before those that it has started."""
    os.mkfifo(tmp_path / "fifo")
    child = Child(shell('(read line <"$0") & exit 0', f"{tmp_path}/fifo"), SAME, signal.SIGTERM)
    os.waitid(os.P_PID, child.pid, os.WEXITED | os.WNOWAIT)
    assert select.select([child.gone], [], [], 0)[0] == []
    (tmp_path / "fifo").write_text("\n")
    select.select([child.gone], [], [])
    assert child.collect() == 0


def test_who_does_not_end_when_asked_is_killed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(keeper, "GRACE", 0)
    before = signal.signal(signal.SIGTERM, signal.SIG_IGN)  # what a program inherits
    try:
        child = Child(["sleep", "1000"], SAME, signal.SIGTERM)
        child.end()
    finally:
        signal.signal(signal.SIGTERM, before)
    assert child.collect() == -signal.SIGKILL


@pytest.mark.parametrize(
    ("lines", "ready"),
    [
        (["7", "", "", "", "", "", "", "ready   "], True),
        (["7", "", "", "", "", "", "", "starting"], False),
        (["8", "", "", "", "", "", "", "ready   "], False),
        (["7", "", "", "", "", ""], False),
        ([], False),
    ],
    ids=["ready", "starting", "of a server that crashed", "half written", "empty"],
)
def test_when_a_server_is_ready(lines: list[str], ready: bool, tmp_path: Path) -> None:
    (tmp_path / "postmaster.pid").write_text("\n".join(lines))
    assert is_ready(tmp_path, 7) is ready


def test_without_its_file_a_server_is_not_ready(tmp_path: Path) -> None:
    assert not is_ready(tmp_path, 7)
