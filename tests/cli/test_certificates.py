"""Certificates and keys that cannot be used."""

from __future__ import annotations

from pathlib import Path

import pytest

from proxy.cli.certificates import certificate_problems
from proxy.config.load import loads
from tests.cli import certificates
from tests.cli.certificates import Pair


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


def test_an_encrypted_key_is_found_without_asking_for_its_password(tmp_path: Path) -> None:
    pair = certificates.make(tmp_path, "locked", password="secret")
    [(loc, message)] = found(f"{{cert: {pair.cert}, key: {pair.key}}}", "{}")
    assert loc == ("listen", "tls")
    assert "secret" not in message


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
