"""Certificates and keys that cannot be used."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from proxy.cli.certificates import certificate_problems
from proxy.config.load import loads
from tests.cli import certificates
from tests.cli.certificates import Pair

ROOT = Path(__file__).parents[2]


def found(listen: str, upstream: str) -> list[tuple[object, str]]:
    text = f"""\
listen: {{address: "127.0.0.1:0", tls: {listen}}}
upstreams:
  a: {{endpoints: ["http://127.0.0.1:1"]}}
  b: {{endpoints: ["https://127.0.0.1:2"], tls: {upstream}}}
routes: [{{path: /**, upstream: a, auth: public}}, {{path: /b, upstream: b, auth: public}}]
"""
    return list(certificate_problems(loads(text, "x.yaml", {}).config))


@pytest.fixture
def one(tmp_path: Path) -> Pair:
    return certificates.make(tmp_path, "one")


@pytest.fixture
def two(tmp_path: Path) -> Pair:
    return certificates.make(tmp_path, "two")


def test_what_can_be_used_is_no_problem(one: Pair, two: Pair) -> None:
    both = f"{{cert: {two.cert}, key: {two.key}, ca: {one.cert}}}"
    assert found(f"{{cert: {one.cert}, key: {one.key}}}", both) == []
    assert found(f"{{cert: {one.cert}, key: {one.key}}}", f"{{ca: {one.cert}}}") == []


def test_no_tls_is_no_problem() -> None:
    text = """\
upstreams: {a: {endpoints: ["http://127.0.0.1:1"]}}
routes: [{path: /**, upstream: a, auth: public}]
"""
    assert list(certificate_problems(loads(text, "x.yaml", {}).config)) == []


def test_a_key_of_another_certificate_is_found(one: Pair, two: Pair) -> None:
    mixed = f"{{cert: {one.cert}, key: {two.key}}}"
    problems = found(mixed, mixed)
    assert [loc for loc, _ in problems] == [("listen", "tls"), ("upstreams", "b", "tls")]
    assert all("KEY_VALUES_MISMATCH" in message for _, message in problems)


def test_roots_that_are_none_are_found(one: Pair) -> None:
    pair = f"{{cert: {one.cert}, key: {one.key}}}"
    [(loc, message)] = found(pair, f"{{ca: {one.key}}}")
    assert loc == ("upstreams", "b", "tls")
    assert message.startswith("these files cannot be used: ")


ON_A_TERMINAL = """\
import os, sys
os.login_tty(int(sys.argv[1]))
from proxy.cli import main
sys.exit(main(["check", "-c", sys.argv[2]]))
"""


def test_an_encrypted_key_is_found_and_its_password_not_asked_for(tmp_path: Path) -> None:
    pair = certificates.make(tmp_path, "locked", password="secret")
    (tmp_path / "x.yaml").write_text(
        f"listen: {{address: '127.0.0.1:0', tls: {{cert: {pair.cert}, key: {pair.key}}}}}\n"
        "upstreams: {a: {endpoints: ['http://127.0.0.1:1']}}\n"
        "routes: [{path: /**, upstream: a, auth: public}]\n",
        encoding="utf-8",
    )
    terminal, ours = os.openpty()
    # Whoever asks gets this for an answer.
    os.write(terminal, b"wrong\n")
    command = [sys.executable, "-c", ON_A_TERMINAL, str(ours), str(tmp_path / "x.yaml")]
    code = subprocess.run(command, cwd=ROOT, pass_fds=[ours], check=False).returncode
    said = os.read(terminal, 10_000).decode()
    os.close(ours)
    os.close(terminal)
    assert code == 1
    assert "these files cannot be used" in said
    assert "pass phrase" not in said
    assert "secret" not in said


def test_a_file_that_has_gone_is_found(one: Pair) -> None:
    text = f"""\
listen: {{address: "127.0.0.1:0", tls: {{cert: {one.cert}, key: {one.key}}}}}
upstreams: {{a: {{endpoints: ["http://127.0.0.1:1"]}}}}
routes: [{{path: /**, upstream: a, auth: public}}]
"""
    config = loads(text, "x.yaml", {}).config
    one.key.unlink()
    [(_, message)] = certificate_problems(config)
    assert message == "these files cannot be used: No such file or directory"


def test_the_files_of_a_database_are_looked_at(one: Pair, two: Pair) -> None:
    def told(key: Path) -> list[tuple[object, str]]:
        url = f"postgres://a@b/c?sslmode=verify-full&sslrootcert={one.cert}"
        text = f"""\
sessions: {{web: {{database: {{url: "{url}", sslcert: {two.cert}, sslkey: {key}}}}}}}
upstreams: {{a: {{endpoints: ["http://127.0.0.1:1"]}}}}
routes: [{{path: /**, upstream: a}}]
"""
        return list(certificate_problems(loads(text, "x.yaml", {}).config))

    assert told(two.key) == []
    [(loc, message)] = told(one.key)
    assert loc == ("sessions", "web", "database")
    assert "KEY_VALUES_MISMATCH" in message
