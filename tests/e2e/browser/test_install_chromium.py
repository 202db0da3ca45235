"""scripts/install-chromium.sh on machines that have this and that, with an apt-get that we see."""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path
from typing import Final

import pytest

from tests.support.gateway import ROOT

SCRIPT: Final = ROOT / "scripts" / "install-chromium.sh"
BROWSER: Final = "#!/bin/sh\necho Chromium 156.0\n"
SNAP: Final = "#!/bin/sh\necho 'requires the chromium snap to be installed' >&2; exit 1\n"


class Machine:
    """A PATH with a few tools; `apt` is what apt-get does, besides noting that it was called."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.calls = folder / "calls"
        self.calls.touch()
        for tool in ("bash", "sh", "env", "grep", "mktemp", "rm", "tail", "chmod"):
            found = shutil.which(tool)
            assert found is not None
            (folder / tool).symlink_to(found)
        self.has("id", "#!/bin/sh\necho 0\n")

    def has(self, name: str, script: str) -> None:
        file = self.folder / name
        file.write_text(script, encoding="utf-8")
        file.chmod(0o755)

    def has_apt(self, command: str) -> None:
        self.has("apt-get", f'#!/bin/sh\necho "$@" >>{self.calls}\n{command}\n')

    @property
    def installing(self) -> str:
        """What an apt-get does that works."""
        browser = self.folder / "chromium"
        write = f"printf '%s' '{BROWSER}' >{browser}; chmod +x {browser}"
        return f'case "$*" in *install*) {write};; esac'

    def run(self, *arguments: str, **env: str) -> tuple[int, str, str]:
        done = subprocess.run(
            ["bash", SCRIPT, *arguments],
            env={"PATH": str(self.folder), **env},
            capture_output=True,
            text=True,
            check=False,
        )
        return done.returncode, done.stdout.strip(), done.stderr

    def asked(self) -> list[str]:
        """Return the commands that apt-get was given."""
        words = [line.split() for line in self.calls.read_text(encoding="utf-8").splitlines()]
        return [next(word for word in line if word in ("update", "install")) for line in words]


@pytest.fixture
def machine(tmp_path: Path) -> Machine:
    made = Machine(tmp_path)
    made.has_apt("exit 100")
    return made


@pytest.mark.parametrize("name", ["chromium", "google-chrome"])
def test_a_browser_that_is_there_is_taken(machine: Machine, name: str) -> None:
    machine.has("chromium-browser", SNAP)
    machine.has(name, BROWSER)
    assert machine.run() == (0, str(machine.folder / name), "")
    assert machine.asked() == []


def test_the_browser_can_be_named(machine: Machine) -> None:
    machine.has("chromium", BROWSER)
    machine.has("mine", BROWSER)
    mine = str(machine.folder / "mine")
    assert machine.run(CHROMIUM=mine) == (0, mine, "")
    code, path, errors = machine.run(CHROMIUM="/bin/true")
    assert (code, path) == (1, "")
    assert "CHROMIUM=/bin/true" in errors


def test_without_one_debian_s_is_installed(machine: Machine) -> None:
    machine.has("chromium-browser", SNAP)
    machine.has_apt(machine.installing)
    code, path, errors = machine.run()
    assert (code, path) == (0, str(machine.folder / "chromium"))
    assert errors == "apt-get install chromium\n"
    assert machine.asked() == ["update", "install"]


def test_one_failure_of_the_mirror_is_overcome(machine: Machine) -> None:
    once = machine.folder / "once"
    fails = f"test -e {once} || {{ : >{once}; echo 'E: hash sum mismatch'; exit 100; }}"
    machine.has_apt(f"{fails}\n{machine.installing}")
    code, path, errors = machine.run()
    assert (code, path) == (0, str(machine.folder / "chromium"))
    assert "hash sum mismatch" in errors
    assert machine.asked() == ["update", "update", "install"]


def test_two_failures_are_told(machine: Machine) -> None:
    machine.has_apt("echo 'E: no mirror'; exit 100")
    code, path, errors = machine.run()
    assert (code, path) == (1, "")
    assert "E: no mirror" in errors
    assert "could not install" in errors
    assert machine.asked() == ["update", "update"]


def test_what_installs_and_does_not_start_is_told(machine: Machine) -> None:
    machine.has_apt("exit 0")
    machine.has("chromium", SNAP)
    code, path, errors = machine.run()
    assert (code, path) == (1, "")
    assert "does not start" in errors
    assert "snap" in errors


def test_find_installs_nothing(machine: Machine) -> None:
    code, path, errors = machine.run("--find")
    assert (code, path) == (1, "")
    assert "scripts/install-chromium.sh" in errors
    assert machine.asked() == []


def test_without_root_it_takes_sudo_or_says_so(machine: Machine) -> None:
    machine.has("id", "#!/bin/sh\necho 1000\n")
    code, _, errors = machine.run()
    assert code == 1
    assert "as root" in errors
    assert machine.asked() == []
    machine.has("sudo", '#!/bin/sh\nexec "$@"\n')
    machine.has_apt(machine.installing)
    assert machine.run()[0] == 0
    assert machine.asked() == ["update", "install"]


def test_without_apt_it_says_what_is_needed(machine: Machine) -> None:
    (machine.folder / "apt-get").unlink()
    code, _, errors = machine.run()
    assert code == 1
    assert "Install one, or say CHROMIUM=" in errors
