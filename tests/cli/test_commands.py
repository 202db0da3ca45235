"""From words to a command, and what it costs to get there."""

from __future__ import annotations

import argparse
import subprocess
import sys
from pathlib import Path
from types import ModuleType

import pytest

from proxy import __version__
from proxy.cli.commands import COMMANDS, usage
from proxy.cli.output import UsageError
from tests.cli.conftest import Gatelodge

ROOT = Path(__file__).parents[2]
HEAVY = ["yaml", "pydantic", "aiohttp", "prometheus_client", "cryptography", "uvloop", "asyncio"]


def put(monkeypatch: pytest.MonkeyPatch, run: object) -> None:
    """Make `gatelodge version` run something else."""
    module = ModuleType("proxy.cli.version")
    module.__dict__.update(configure=lambda _parser: None, run=run)
    monkeypatch.setitem(sys.modules, "proxy.cli.version", module)


def test_without_a_command_the_usage_is_an_error(gatelodge: Gatelodge) -> None:
    said = gatelodge()
    assert (said.code, said.out) == (2, "")
    assert said.err.startswith("usage: gatelodge COMMAND")


def test_help_with_a_command_is_the_help_of_the_command(gatelodge: Gatelodge) -> None:
    assert gatelodge("help", "check") == gatelodge("check", "--help")
    said = gatelodge("help", "chek")
    assert said.code == 2
    assert "no command 'chek', did you mean 'check'?" in said.err


def test_help_about_help_is_help(gatelodge: Gatelodge) -> None:
    assert gatelodge("help", "--help") == gatelodge("--help", "help") == gatelodge("help")


@pytest.mark.parametrize("word", ["-h", "--help", "help"])
def test_help_lists_every_command(gatelodge: Gatelodge, word: str) -> None:
    said = gatelodge(word)
    assert (said.code, said.err) == (0, "")
    assert all(f"\n  {name} " in said.out for name in COMMANDS)
    assert said.out == usage() + "\n"


def test_an_unknown_command_is_a_usage_error_with_a_guess(gatelodge: Gatelodge) -> None:
    said = gatelodge("chekc")
    assert (said.code, said.out) == (2, "")
    assert said.err.startswith("gatelodge: no command 'chekc', did you mean 'check'?\n")


def test_an_option_alone_is_no_command(gatelodge: Gatelodge) -> None:
    assert gatelodge("-c", "file.yaml").code == 2


@pytest.mark.parametrize("name", COMMANDS)
def test_every_command_tells_its_options(gatelodge: Gatelodge, name: str) -> None:
    said = gatelodge(name, "--help")
    assert (said.code, said.err) == (0, "")
    assert said.out.startswith(f"usage: gatelodge {name} ")


@pytest.mark.parametrize("name", COMMANDS)
def test_an_unknown_option_is_a_usage_error(gatelodge: Gatelodge, name: str) -> None:
    said = gatelodge(name, "--no-such-option")
    assert (said.code, said.out) == (2, "")


def test_version_is_an_option_too(gatelodge: Gatelodge) -> None:
    assert __version__ in gatelodge("--version").out


def test_a_command_that_was_misused_says_so(
    gatelodge: Gatelodge, monkeypatch: pytest.MonkeyPatch
) -> None:
    def run(_args: argparse.Namespace) -> int:
        raise UsageError("do this instead")

    put(monkeypatch, run)
    said = gatelodge("version")
    assert (said.code, said.err) == (2, "gatelodge version: do this instead\n")


def test_ctrl_c_is_no_traceback(gatelodge: Gatelodge, monkeypatch: pytest.MonkeyPatch) -> None:
    def run(_args: argparse.Namespace) -> int:
        raise KeyboardInterrupt

    put(monkeypatch, run)
    said = gatelodge("version")
    assert (said.code, said.err) == (130, "")


def test_a_reader_that_leaves_is_no_traceback() -> None:
    code = "import sys; from proxy.cli import main; sys.exit(main(['help']))"
    with subprocess.Popen(
        [sys.executable, "-c", code], cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.PIPE
    ) as process:
        assert process.stdout is not None
        process.stdout.close()
        assert process.stderr is not None
        errors = process.stderr.read()
    assert (process.returncode, errors) == (1, b"")


@pytest.mark.parametrize(
    "words",
    [["version"], ["healthcheck", "--admin", "unix:/nowhere"], ["help"], ["run", "--help"]],
    ids=lambda words: words[0],
)
def test_small_commands_import_nothing_heavy(words: list[str]) -> None:
    code = (
        "import sys; from proxy.cli import main; main(sys.argv[1:]); "
        f"print([name for name in {HEAVY} if name in sys.modules], file=sys.stderr)"
    )
    done = subprocess.run(
        [sys.executable, "-c", code, *words], cwd=ROOT, capture_output=True, text=True, check=True
    )
    assert done.stderr.splitlines()[-1] == "[]"


def test_the_package_is_a_command() -> None:
    done = subprocess.run(
        [sys.executable, "-m", "proxy", "--version"],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=True,
    )
    assert f"gatelodge  {__version__}\n" in done.stdout
