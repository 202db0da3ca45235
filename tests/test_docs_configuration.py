"""docs/configuration.md and config.example.yaml against the model: every key, every default."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest
from pydantic_core import PydanticUndefined

from proxy.config.load import load, loads
from proxy.config.model import Config
from proxy.config.problems import ConfigError
from proxy.config.shape import dotted, fields, keys_of, section_at, section_inside
from proxy.config.units import parse_duration

ROOT = Path(__file__).parent.parent
DOCUMENT = (ROOT / "docs" / "configuration.md").read_text(encoding="utf-8")
EXAMPLE = ROOT / "config.example.yaml"
SECRET = "b1fa9f7a5c0e4d2f8e6b3a1d7c9f5e2a4b6d8c0e1f3a5b7d9c1e3f5a7b9d1c3e"
ENV = {"AUTH_SECRET": SECRET, "ADMIN_TOKEN": SECRET[::-1]}

# Each row of the tables: key, type, default, where else, meaning.
CELLS = [
    [cell.strip() for cell in line.strip("|").split("|")]
    for line in DOCUMENT.splitlines()
    if line.startswith("| `") and line.count("|") == 6
]
ROWS = {cells[0].strip("`"): cells[1:] for cells in CELLS}
# Sections that a route may have too; their keys are explained once, at the top level or upstream.
REPEATED = (
    *("routes[].cors.", "routes[].csrf.", "routes[].timeouts.", "routes[].retry."),
    "routes[].rate_limit[].",
)
# What a route leaves out comes from elsewhere, and the row says from where.
INHERITED = {
    "routes[].limits.body": "`limits.body`",
    "routes[].limits.body_idle": "`limits.body_idle`",
}
FIELDS = [(dotted(path), path, info) for path, info in fields()]
EXPLAINED = [each for each in FIELDS if not each[0].startswith(REPEATED)]


def test_every_key_has_a_row() -> None:
    assert [name for name, _, _ in EXPLAINED if name not in ROWS] == []


def test_every_row_has_a_key() -> None:
    assert sorted(set(ROWS) - {name for name, _, _ in FIELDS}) == []


def test_no_key_is_explained_twice() -> None:
    assert len(ROWS) == len(CELLS)


@pytest.mark.parametrize("prefix", REPEATED)
def test_repeated_sections_point_to_where_they_are_explained(prefix: str) -> None:
    row = ROWS[prefix.removesuffix(".").removesuffix("[]")]
    assert re.match(r"As \[`\w+`\]\(#[\w-]+\)", row[3])


def as_documented(value: Any) -> str:
    """Return a default, given in the words of the file, as the documentation writes it."""
    if value in (None, [], {}):
        return "none"
    if isinstance(value, bool):
        return f"`{str(value).lower()}`"
    if isinstance(value, list):
        return f"`[{', '.join(value)}]`" if len(value) > 1 else f"`{value[0]}`"
    if isinstance(value, dict):
        return "`{" + ", ".join(f"{key}: {item}" for key, item in value.items()) + "}`"
    return f"`{value}`"


def in_seconds(text: str) -> str | float:
    """Return a duration as a number, since `60s` and `1m` are the same."""
    try:
        return parse_duration(text.strip("`"))
    except ValueError:
        return text


def default_of(name: str, path: tuple[str, ...], info: Any) -> str:
    if name in INHERITED:
        return INHERITED[name]
    if info.is_required():
        return "required"
    section = section_at(path[:-1])
    assert section is not None
    if info.default is not PydanticUndefined and section_inside(info.annotation) is not None:
        # A section is not there, or its own keys have rows.
        return "none" if info.default in (None, ()) else "below"
    dumped = section.model_construct().model_dump(mode="json", by_alias=True, warnings=False)
    return as_documented(dumped[path[-1]])


@pytest.mark.parametrize(("name", "path", "info"), EXPLAINED, ids=[each[0] for each in EXPLAINED])
def test_the_documented_default_is_the_model_s(name: str, path: tuple[str, ...], info: Any) -> None:
    expected = default_of(name, path, info)
    if name == "listen":
        expected = f"`{Config.model_fields['listen'].default.address}`"
    if name == "sessions.*.database.tables":
        expected = f"`{info.default}`"
    if name == "routes[].require":
        expected = "none"
    assert in_seconds(ROWS[name][1]) == in_seconds(expected)


def test_where_else_a_key_may_be_set_is_told() -> None:
    routes = set(keys_of(section_at(("routes", 0)) or Config))
    for name, _, _ in EXPLAINED:
        key = name.rpartition(".")[2]
        is_shared = name in ("cors", "csrf", "login_url", "limits.body", "limits.body_idle")
        is_shared |= name.startswith(
            ("cors.", "csrf.", "rate_limit", "upstreams.*.timeouts", "upstreams.*.retry")
        )
        is_shared &= name != "upstreams.*.retry.budget_percent"  # of an upstream as a whole
        assert ("route" in ROWS[name][2]) is is_shared, name
        if is_shared and "." not in name:
            assert key in routes


def uncommented() -> str:
    """Return the example with the settings that it leaves out."""
    text = EXAMPLE.read_text(encoding="utf-8")
    return re.sub(r"^(\s*)#(\s*[a-z_]+:(?: |$))", r"\1\2", text, flags=re.MULTILINE)


def example_keys() -> set[str]:
    """Return every way that the example, with what it leaves out, has a value for."""
    try:
        loaded = loads(uncommented(), "example", ENV)
    except ConfigError as error:
        pytest.fail(str(error))
    return set(_ways((), loaded.document.values))


def _ways(path: tuple[str, ...], value: Any) -> list[str]:
    ways = [dotted(path)] if path else []
    if isinstance(value, dict):
        is_named = path in (("sessions",), ("upstreams",))
        for key, below in value.items():
            ways += _ways((*path, "*" if is_named else key), below)
    elif isinstance(value, list):
        for below in value:
            ways += _ways((*path, "[]"), below)
    return ways


@pytest.fixture
def beside_its_files(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder with the files that the example names."""
    jwk = '{"kty": "oct", "k": "PJhu2wZFi1hFIm3tKyGzwfOMXJYkR0Kq5aVtTzqQ9sE"}'
    pem = "-----BEGIN X-----\n"
    files = dict.fromkeys(
        ["server.pem", "server.key", "ca.pem", "client.pem", "client.key", "public.pem"], pem
    )
    files |= {"signing.jwk": pem, "encryption.jwk": jwk}
    files["database-password"] = "a password"
    files["redis-password"] = "a password"
    for name, content in files.items():
        (tmp_path / name).write_text(content, encoding="utf-8")
    monkeypatch.chdir(tmp_path)
    return tmp_path


def test_the_example_loads() -> None:
    assert load(EXAMPLE, {"AUTH_SECRET": SECRET}).config.routes


@pytest.mark.usefixtures("beside_its_files")
def test_every_key_is_in_the_example() -> None:
    shown = example_keys()
    # A route may have whole sections of the top level; the example shows one key of each.
    wanted = {name for name, _, _ in EXPLAINED}
    assert sorted(wanted - shown) == []


def test_the_example_says_what_the_defaults_are() -> None:
    """What the example sets to a default must be the default; limits stand for the rest."""
    config = load(EXAMPLE, {"AUTH_SECRET": SECRET}).config
    assert config.limits == Config.model_fields["limits"].default
    assert config.drain == Config.model_fields["drain"].default
    assert config.log == Config.model_fields["log"].default
    assert config.identity == Config(upstreams=config.upstreams, routes=config.routes).identity


def test_the_smallest_file_of_the_document_loads_and_its_mistakes_are_told_so() -> None:
    smallest = re.search(r"```yaml\n(.*?)```", DOCUMENT, re.DOTALL)
    told = re.search(r"```\n(gatelodge\.yaml:.*?)\n```", DOCUMENT, re.DOTALL)
    assert smallest is not None
    assert told is not None
    assert loads(smallest[1], "gatelodge.yaml", ENV).config.sessions
    wrong = smallest[1].replace("origins:", "orgins:").replace("auth: public", "auth: pubic")
    with pytest.raises(ConfigError) as caught:
        loads(wrong, "gatelodge.yaml", ENV)
    assert str(caught.value) == told[1]
