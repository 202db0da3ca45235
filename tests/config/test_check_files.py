"""Files that will be opened at start-up."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.config.helpers import problems_of, told, written


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("-----BEGIN CERTIFICATE-----\n", None),
        ("text before\n-----BEGIN CERTIFICATE-----\n", None),
        ("", "this file is not PEM: it has no line that starts with -----BEGIN"),
        ("\x30\x82", "this file is not PEM: it has no line that starts with -----BEGIN"),
    ],
    ids=["PEM", "PEM with a comment", "empty", "DER"],
)
def test_a_file_is_pem(tmp_path: Path, content: str, message: str | None) -> None:
    file = tmp_path / "ca.pem"
    file.write_text(content, encoding="latin-1")
    text = written(upstreams=f"{{api: {{endpoints: ['https://a'], tls: {{ca: '{file}'}}}}}}")
    assert told(text) == ([] if message is None else [f"upstreams.api.tls.ca: {message}"])


@pytest.mark.parametrize(
    ("name", "reason"),
    [("absent", "No such file or directory"), ("", "Is a directory"), ("a\\0b", "not a file name")],
    ids=["absent", "directory", "NUL"],
)
def test_a_file_that_cannot_be_read_is_told(tmp_path: Path, name: str, reason: str) -> None:
    text = written(
        upstreams=f'{{api: {{endpoints: ["https://a"], tls: {{ca: "{tmp_path}/{name}"}}}}}}'
    )
    assert told(text) == [f"upstreams.api.tls.ca: this file cannot be read: {reason}"]


def test_the_files_of_the_listener_are_looked_at_too(tmp_path: Path) -> None:
    listen = f"{{address: '127.0.0.1:0', tls: {{cert: '{tmp_path}/a', key: '{tmp_path}/b'}}}}"
    found = told(written(listen=listen))
    assert [message.partition(":")[0] for message in found] == ["listen.tls.cert", "listen.tls.key"]


def test_a_file_that_a_url_names_is_looked_at(tmp_path: Path) -> None:
    file = tmp_path / "ca.pem"
    url = f"postgres://a@b/c?sslmode=verify-full&sslrootcert={file}"
    text = written(sessions=f"{{web: {{database: {{url: '{url}'}}}}}}")
    [problem] = problems_of(text)
    assert problem.loc == ("sessions", "web", "database", "url")
    assert problem.message == "this file cannot be read: No such file or directory"
    file.write_text("-----BEGIN X-----\n", encoding="utf-8")
    assert problems_of(text) == []
