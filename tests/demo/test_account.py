"""As whom PostgreSQL runs, for every kind of user that may start it."""

from __future__ import annotations

import os
import pwd
import subprocess
import sys
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import pytest

from proxy.demo.account import Account, choose_account, others_reach
from proxy.demo.programs import PostgresError

NOBODY = pwd.getpwnam("nobody")


class System:
    """A user, and what the system lets them do."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, uid: int) -> None:
        self.given: list[tuple[Path, int, int]] = []
        self.refuses: frozenset[str] = frozenset()
        monkeypatch.setattr(os, "geteuid", lambda: uid)
        monkeypatch.setattr(os, "getegid", lambda: uid)
        monkeypatch.setattr(os, "chown", self._chown)
        monkeypatch.setattr(subprocess, "run", self._become)

    def _chown(self, path: Path, uid: int, gid: int) -> None:
        if "chown" in self.refuses:
            raise PermissionError
        self.given.append((path, uid, gid))

    def _become(self, _: Any, *, user: int, group: int, **more: Any) -> None:
        assert (user, group) == (NOBODY.pw_uid, NOBODY.pw_gid)
        assert more == {"extra_groups": [], "check": True}
        if "setuid" in self.refuses:
            raise PermissionError


UNNAMED = 3_999_999_999
NAMED = next(entry.pw_uid for entry in pwd.getpwall() if entry.pw_uid != 0)


def test_an_ordinary_user_runs_it_as_themselves(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    system = System(monkeypatch, NAMED)
    assert choose_account(tmp_path) == Account("same", NAMED, NAMED)
    assert system.given == []


def test_root_runs_it_as_nobody_who_gets_the_folder(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    system = System(monkeypatch, 0)
    assert choose_account(tmp_path) == Account("setuid", NOBODY.pw_uid, NOBODY.pw_gid)
    assert system.given == [(tmp_path, NOBODY.pw_uid, NOBODY.pw_gid)]


@pytest.mark.parametrize(
    ("uid", "refuses"),
    [(0, {"setuid", "chown"}), (0, {"setuid"}), (0, {"chown"}), (UNNAMED, {"setuid", "chown"})],
    ids=["root in name only", "root who stays root", "root whose files stay", "no name"],
)
def test_whom_postgresql_refuses_gets_a_namespace(
    uid: int, refuses: set[str], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    system = System(monkeypatch, uid)
    system.refuses = frozenset(refuses)
    monkeypatch.setattr(sys, "platform", "linux")
    assert choose_account(tmp_path) == Account("namespace", NOBODY.pw_uid, NOBODY.pw_gid)
    assert system.given == []


def test_where_there_are_no_namespaces_it_is_an_error(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    System(monkeypatch, UNNAMED)
    monkeypatch.setattr(sys, "platform", "darwin")
    with pytest.raises(PostgresError, match=f"as the user {UNNAMED}"):
        choose_account(tmp_path)


def test_without_a_nobody_it_is_an_error(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    def unknown(_: Any) -> pwd.struct_passwd:
        raise KeyError

    System(monkeypatch, 0)
    monkeypatch.setattr(pwd, "getpwnam", unknown)
    with pytest.raises(PostgresError, match="there is no user nobody"):
        choose_account(tmp_path)


@pytest.mark.parametrize(
    ("above", "mode", "reached"),
    [(0o755, 0o755, True), (0o711, 0o705, True), (0o700, 0o755, False), (0o755, 0o750, False)],
    ids=["open", "passable", "closed above", "closed itself"],
)
def test_what_others_can_reach(above: int, mode: int, reached: bool) -> None:
    # Not in pytest's own folder, which others cannot reach.
    with TemporaryDirectory(dir="/tmp") as made:
        file = Path(made, "file")
        file.touch()
        file.chmod(mode)
        Path(made).chmod(above)
        assert others_reach(file) == reached
