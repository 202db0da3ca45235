"""docs/guides: configurations load, commands parse and say what is shown, snippets do as told."""

from __future__ import annotations

import argparse
import ast
import importlib.util
import re
import shlex
from collections.abc import Iterator
from importlib import import_module
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

from proxy import errors
from proxy.cli import main
from proxy.config.load import loads
from proxy.config.sessions import DEFAULT_IDENTITY
from proxy.config.shape import dotted, fields
from proxy.core.identity import IdentityHeaders, Principal

ROOT = Path(__file__).parent.parent
GUIDES = sorted((ROOT / "docs" / "guides").glob("*.md"))
NEXTAUTH = ROOT / "docs" / "guides" / "nextauth.md"
SECRET = "nCDKFVEfzVvTVLpZh1sUQnVXvVvOwpm5"
ENV = {
    "AUTH_SECRET": SECRET,
    "SHOP_SECRET": SECRET,
    "BACKOFFICE_SECRET": SECRET[::-1],
    "DATABASE_URL": "postgres://gate:secret@127.0.0.1:5432/app",
}
COOKIE = "a=b"
"""What stands in the file `cookie` of the guides' commands, as far as parsing goes."""


def blocks(guide: Path, language: str) -> list[str]:
    """Return the contents of the fenced blocks in one language, without their indentation."""
    text = guide.read_text(encoding="utf-8")
    found = re.findall(rf"^( *)```{language}\n(.*?)^ *```$", text, re.MULTILINE | re.DOTALL)
    return [re.sub(rf"^{indent}", "", body, flags=re.MULTILINE) for indent, body in found]


def of_all(language: str) -> list[tuple[Path, str]]:
    found = [(guide, body) for guide in GUIDES for body in blocks(guide, language)]
    assert found
    return found


def sections(config: str) -> dict[str, str]:
    """Return the text of each key of the top level."""
    starts = [*re.finditer(r"^([a-z_]+):", config, re.MULTILINE)]
    ends = [*(start.start() for start in starts[1:]), len(config)]
    return {start[1]: config[start.start() : end] for start, end in zip(starts, ends, strict=True)}


def whole(guide: Path, part: str) -> str:
    """Return a configuration: `part`, and what it leaves out as the guide's first file has it."""
    first = sections(blocks(guide, "yaml")[0])
    needed = ("sessions", "cors", "upstreams", "routes")
    return part + "".join(first[key] for key in needed if key not in sections(part))


def commands(guide: Path) -> Iterator[list[str]]:
    """Yield the words of each `gatelodge` command, those inside another's `$(...)` too."""
    inner = re.compile(r"\$\(gatelodge ([^)]*)\)")
    for body in blocks(guide, "sh"):
        for line in body.replace("\\\n", " ").splitlines():
            yield from (shlex.split(match[1]) for match in inner.finditer(line))
            words = shlex.split(inner.sub(f"Cookie: {COOKIE}", line), comments=True)
            if "gatelodge" in words:
                yield words[words.index("gatelodge") + 1 :]
    for line in re.findall(r"`gatelodge ([^`]*)`", guide.read_text(encoding="utf-8")):
        yield shlex.split(line)


@pytest.mark.parametrize(("guide", "part"), of_all("yaml"))
def test_every_configuration_loads(guide: Path, part: str) -> None:
    assert loads(whole(guide, part), guide.name, ENV).config.routes


class Exact(argparse.ArgumentParser):
    """A parser to which `--cookie-nam` is not `--cookie-name`; those of its actions are alike."""

    def __init__(self, **options: Any) -> None:
        super().__init__(**options, allow_abbrev=False)


COMMANDS = [words for guide in GUIDES for words in commands(guide)]


@pytest.mark.parametrize("words", COMMANDS, ids=" ".join)
def test_every_command_has_these_options(words: list[str]) -> None:
    parser = Exact()
    import_module(f"proxy.cli.{words[0]}").configure(parser)
    parser.parse_args(words[1:])


def test_commands_are_found() -> None:
    assert {words[0] for words in COMMANDS} >= {"check", "explain", "routes", "run", "token"}


@pytest.fixture
def beside_the_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The folder of the guide's first configuration, with the app's secret in the environment."""
    (tmp_path / "gatelodge.yaml").write_text(blocks(NEXTAUTH, "yaml")[0], encoding="utf-8")
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("GATELODGE_CONFIG", raising=False)
    monkeypatch.setenv("AUTH_SECRET", SECRET)


@pytest.mark.usefixtures("beside_the_file")
def test_the_tests_of_the_first_configuration_hold(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["check"]) == 0
    assert "3 tests" in capsys.readouterr().out


@pytest.mark.usefixtures("beside_the_file")
def test_explain_says_what_is_shown(capsys: pytest.CaptureFixture[str]) -> None:
    mint, explain = [*commands(NEXTAUTH)][1:3]
    assert (mint[:2], explain[:2]) == (["token", "mint"], ["explain", "GET"])
    assert main(mint) == 0
    cookie = capsys.readouterr().out.strip()
    words = [cookie if word == f"Cookie: {COOKIE}" else word for word in explain]
    assert main(words) == 0
    text = NEXTAUTH.read_text(encoding="utf-8")
    (shown,) = re.findall(r"^```\n(forwarded to .*?)^```$", text, re.MULTILINE | re.DOTALL)
    assert shown in capsys.readouterr().out


def known_codes(base: type[errors.ProxyError] = errors.ProxyError) -> set[tuple[str, str]]:
    found = {(str(base.status), base.code)} if hasattr(base, "code") else set()
    return found.union(*(known_codes(below) for below in base.__subclasses__()))


@pytest.mark.parametrize("guide", GUIDES, ids=lambda path: path.name)
def test_every_code_is_one_with_its_status(guide: Path) -> None:
    text = guide.read_text(encoding="utf-8")
    named = set(re.findall(r"\b(\d{3})(?: \|)? `([a-z_]+)`", text))
    assert named
    assert named - known_codes() == set()


@pytest.mark.parametrize("guide", GUIDES, ids=lambda path: path.name)
def test_every_key_that_is_named_exists(guide: Path) -> None:
    keys = {dotted(path) for path, _ in fields()}
    text = re.sub(r"```.*?```", "", guide.read_text(encoding="utf-8"), flags=re.DOTALL)
    first = "|".join(
        sorted({re.split(r"[.\[]", key)[0] for key in keys} | {"principal", "timeouts"})
    )
    named = set(re.findall(rf"`((?:{first})(?:\[\])?\.[a-z_.*\[\]]+)`", text))
    assert named
    assert [name for name in named if not any(f".{key}".endswith(f".{name}") for key in keys)] == []


@pytest.mark.parametrize(("guide", "code"), of_all("python"))
def test_every_piece_of_python_parses(guide: Path, code: str) -> None:
    assert ast.parse(code, guide.name).body


@pytest.fixture
def gate(tmp_path: Path) -> ModuleType:
    """The guide's module for Python backends."""
    (code,) = [code for code in blocks(NEXTAUTH, "python") if code.startswith("# gate.py")]
    file = tmp_path / "guide_gate.py"
    file.write_text(code, encoding="utf-8")
    spec = importlib.util.spec_from_file_location("guide_gate", file)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


USERS = [
    Principal("42", "zoe+test@example.com", "Zoë Ω", ("admin", "a,b", "50%")),
    Principal("%2C, ", None, " spaces ", ()),
]


@pytest.mark.parametrize("user", USERS, ids=["all", "little"])
def test_backends_read_what_the_gateway_writes(gate: ModuleType, user: Principal) -> None:
    lines = IdentityHeaders(DEFAULT_IDENTITY).lines(user).decode("ascii").split("\r\n")[:-1]
    read = gate.user_from(dict(line.split(": ", 1) for line in lines))
    assert (read.id, read.email, read.name) == (user.id, user.email, user.name)
    assert read.roles == frozenset(user.roles)


def test_backends_refuse_what_did_not_pass_the_gateway(gate: ModuleType) -> None:
    assert gate.user_from({"X-User-Email": "zoe@example.com", "X-User-Id": ""}) is None
    assert gate.user_from({}) is None
