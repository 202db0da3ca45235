"""Whole files: those that are right become a configuration, those that are not tell everything.

The folder `golden` holds bad files and, beside each, exactly what is said about it.
"""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from proxy.config.load import load, loads
from proxy.config.model import Config
from proxy.config.problems import ConfigError
from tests.config.helpers import ENV, SECRET, config_of, problems_of, told, written

GOLDEN = Path(__file__).parent / "golden"
GOLDEN_ENV = ENV | {"EMPTY": "", "SECRET_NUMBER": "hunter2-hunter2"}
BAD_FILES = sorted(GOLDEN.glob("*.yaml"))


def golden_output(path: Path) -> str:
    with pytest.raises(ConfigError) as caught:
        load(path, GOLDEN_ENV)
    return str(caught.value).replace(f"{path.parent}/", "") + "\n"


def test_there_are_bad_files() -> None:
    assert len(BAD_FILES) >= 10


@pytest.mark.parametrize("path", BAD_FILES, ids=lambda path: path.stem)
def test_a_bad_file_is_described_exactly(path: Path) -> None:
    assert path.with_suffix(".txt").read_text(encoding="utf-8") == golden_output(path)


@pytest.mark.parametrize("path", BAD_FILES, ids=lambda path: path.stem)
def test_no_message_shows_a_secret(path: Path) -> None:
    output = golden_output(path)
    assert "hunter2" not in output
    assert SECRET not in output


def test_a_small_file_is_loaded_with_defaults() -> None:
    config = config_of(written())
    assert config.sessions["web"].secret[0].get_secret_value() == SECRET
    assert config.routes[0].auth == "required"
    assert config.limits == Config.model_fields["limits"].default


def test_nothing_that_is_loaded_shows_a_secret() -> None:
    loaded = loads(written(admin_token="'${AUTH_SECRET}'"), "test.yaml", ENV)
    for text in (repr(loaded), str(loaded), repr(loaded.config), repr(loaded.document)):
        assert SECRET not in text


@pytest.mark.parametrize(
    ("content", "secret"),
    [
        (SECRET, SECRET),
        (f"{SECRET}\n", SECRET),
        (f"{SECRET}\r\n", SECRET),
        (f"{SECRET}\n\n", f"{SECRET}\n"),
        (f" {SECRET}", f" {SECRET}"),
    ],
    ids=["bare", "newline", "windows newline", "only one newline is cut", "spaces stay"],
)
def test_a_secret_is_read_from_a_file_beside_the_configuration(
    tmp_path: Path, content: str, secret: str
) -> None:
    (tmp_path / "secret").write_bytes(content.encode())
    file = tmp_path / "gatelodge.yaml"
    file.write_text(written(sessions="{web: {secret: {file: secret}}}"), encoding="utf-8")
    assert load(file, {}).config.sessions["web"].secret[0].get_secret_value() == secret


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"", "this file is empty"),
        (b"\n", "this file is empty"),
        (b"\xff\xfe", "this file is not UTF-8"),
        (b"x" * 65537, "this file is larger than 64KiB, so it is no secret"),
    ],
    ids=["empty", "one newline", "not UTF-8", "too large"],
)
def test_a_secret_file_must_hold_text(tmp_path: Path, content: bytes, message: str) -> None:
    (tmp_path / "secret").write_bytes(content)
    file = tmp_path / "gatelodge.yaml"
    file.write_text(written(sessions="{web: {secret: {file: secret}}}"), encoding="utf-8")
    with pytest.raises(ConfigError) as caught:
        load(file, {})
    assert [problem.message for problem in caught.value.problems] == [message]


def test_a_secret_file_may_be_named_by_a_variable(tmp_path: Path) -> None:
    (tmp_path / "secret").write_text(SECRET, encoding="utf-8")
    text = written(sessions="{web: {secret: {file: '${DIRECTORY}/secret'}}}")
    config = config_of(text, {"DIRECTORY": str(tmp_path)})
    assert config.sessions["web"].secret[0].get_secret_value() == SECRET


def test_certificates_are_relative_to_the_file(tmp_path: Path) -> None:
    for name in ("ca.pem", "cert.pem", "key.pem"):
        (tmp_path / name).write_text("-----BEGIN X-----\n", encoding="utf-8")
    file = tmp_path / "gatelodge.yaml"
    text = written(
        upstreams="{api: {endpoints: ['https://api'], tls: {ca: ca.pem}}}",
        listen="{address: 127.0.0.1:0, tls: {cert: cert.pem, key: key.pem}}",
    )
    file.write_text(text, encoding="utf-8")
    config = load(file, ENV).config
    assert config.listen.tls is not None
    assert config.listen.tls.cert == tmp_path / "cert.pem"
    assert config.upstreams["api"].tls is not None
    assert config.upstreams["api"].tls.ca == tmp_path / "ca.pem"


def test_a_file_that_is_not_there_is_a_problem(tmp_path: Path) -> None:
    path = tmp_path / "absent.yaml"
    with pytest.raises(ConfigError) as caught:
        load(path, {})
    assert str(caught.value) == f"{path}: cannot be read: No such file or directory"


def test_a_file_that_is_not_utf8_is_told_with_its_place(tmp_path: Path) -> None:
    path = tmp_path / "latin.yaml"
    path.write_bytes("a: b\nname: Jos\xe9\n".encode("latin-1"))
    with pytest.raises(ConfigError) as caught:
        load(path, {})
    assert str(caught.value) == (f"{path}:2:10: the byte 0xE9 is not UTF-8; save the file as UTF-8")


def test_a_file_may_begin_with_a_byte_order_mark(tmp_path: Path) -> None:
    path = tmp_path / "gatelodge.yaml"
    path.write_bytes(b"\xef\xbb\xbf" + written().encode())
    assert load(path, ENV).config.routes[0].path == "/**"


def test_shape_comes_before_meaning() -> None:
    text = written(log="{level: loud}", routes="[{path: /x, upstream: nowhere}]")
    assert told(text) == ["log.level: must be debug, info, warning or error"]


def test_all_sections_are_told_together() -> None:
    text = written(log="{level: loud}", drain="{delay: soon}", health_path="7")
    assert [problem.loc[0] for problem in problems_of(text)] == ["log", "drain", "health_path"]


@pytest.mark.parametrize(
    ("value", "env", "connections"),
    [
        ("${N}", {"N": "12"}, 12),
        ("'${N}'", {"N": "12"}, 12),
        ("1${N}", {"N": "2"}, 12),
        ("${N:-12}", {}, 12),
    ],
    ids=["plain", "quoted", "a part", "default"],
)
def test_a_number_may_come_from_a_variable(
    value: str, env: dict[str, str], connections: int
) -> None:
    text = written() + f"limits:\n  connections: {value}\n"
    assert config_of(text, ENV | env).limits.connections == connections


def test_a_number_in_quotes_that_is_no_variable_stays_text() -> None:
    text = written(limits="{connections: '12'}")
    assert told(text) == ["limits.connections: must be a whole number"]


@pytest.mark.parametrize(
    "secret",
    [
        "12345678901234567890123456789012345",
        "0123456789",
        "0x1F",
        "1e5",
        "true",
        "null",
        "~",
        "no",
        "*x",
        "- a",
        "a: b",
        "{a: b}",
        "# a",
        "$${X}",
        "line\nbreak",
    ],
)
def test_a_secret_from_a_variable_is_taken_as_it_is(secret: str) -> None:
    text = written(sessions="") + (
        "sessions:\n  web:\n    secret: ${S}\n    allow_weak_secret: true\n"
    )
    config = config_of(text, {"S": secret})
    assert config.sessions["web"].secret[0].get_secret_value() == secret


@given(
    st.text(
        st.characters(exclude_categories=["Cs", "Cc"], include_characters="\n\t:#'\"{}[]$"),
        min_size=1,
    )
)
def test_a_variable_never_adds_anything_but_its_value(value: str) -> None:
    text = (
        written(sessions="{web: {secret: '${S}', allow_weak_secret: true}}")
        + "tests:\n  - {request: GET /, as: {name: '${S}'}, expect: 200}\n"
    )
    config = config_of(text, {"S": value})
    assert config.sessions["web"].secret[0].get_secret_value() == value
    assert config.tests[0].as_ is not None
    assert config.tests[0].as_.name == value


@given(st.text(max_size=60))
def test_any_text_is_a_configuration_or_a_problem(text: str) -> None:
    assert problems_of(text) != []


@given(st.text(alphabet="abc:-[]{}&*!|>'\"%@`#, \n\t$~<", max_size=40))
def test_any_yaml_is_a_configuration_or_a_problem(text: str) -> None:
    for problem in problems_of(text):
        assert problem.message
        assert str(problem).startswith("test.yaml")


def test_an_optional_second_secret_may_be_empty() -> None:
    text = written(sessions="{web: {secret: ['${AUTH_SECRET}', '${OLD:-}']}}")
    assert len(config_of(text).sessions["web"].secret) == 1
    assert len(config_of(text, ENV | {"OLD": SECRET[::-1]}).sessions["web"].secret) == 2


@pytest.mark.parametrize("key", ["admin_token", "health_path", "public_origin", "login_url"])
def test_some_keys_are_left_out_when_their_variable_is_empty(key: str) -> None:
    config = config_of(written(**{key: "'${NOTHING:-}'"}))
    assert getattr(config, key) is None


@pytest.mark.parametrize(
    "routes",
    [
        "[{path: /x, upstream: api, require: {roles: ['${NOTHING:-}']}}]",
        "[{path: /x, upstream: api, require: {roles: '${NOTHING:-}'}}]",
        "[{path: /x, upstream: api, require: '${NOTHING:-}'}]",
        "[{path: /x, upstream: api, sessions: '${NOTHING:-}'}]",
        "[{path: /x, upstream: api, methods: ['${NOTHING:-}']}]",
        "[{path: /x, upstream: api, auth: '${NOTHING:-}'}]",
        "[{path: /x, upstream: api, require: {roles: []}}]",
        "[{path: /x, upstream: api, require: {claims: {}}}]",
        "[{path: /x, upstream: api, require: {claims: {plan: []}}}]",
        "[{path: /x, upstream: api, require: {email_domains: []}}]",
        "[{path: /x, upstream: api, sessions: []}]",
        "[{path: /x, upstream: api, methods: []}]",
    ],
)
def test_an_empty_restriction_never_becomes_no_restriction(routes: str) -> None:
    assert problems_of(written(routes=routes)) != []
