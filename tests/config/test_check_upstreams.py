"""Endpoints, TLS and checks of an upstream."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.config.helpers import told, written


@pytest.fixture
def pem(tmp_path: Path) -> str:
    file = tmp_path / "x.pem"
    file.write_text("-----BEGIN X-----\n", encoding="utf-8")
    return str(file)


@pytest.mark.parametrize(
    ("endpoints", "tls", "expected"),
    [
        ("[http://a, http://b]", "", []),
        ("[https://a]", "{ca: PEM}", []),
        ("[https://a]", "{cert: PEM, key: PEM, server_name: api.internal}", []),
        ("[https://a]", "{server_name: '::1'}", []),
        ("[http://a, http://a:80]", "", ["endpoints.1: this endpoint is listed twice"]),
        (
            "[https://a, http://b]",
            "{ca: PEM}",
            ["endpoints.1: this upstream has tls, so its endpoints must begin with https://"],
        ),
        (
            "['unix:/run/a']",
            "{ca: PEM}",
            ["endpoints.0: this upstream has tls, so its endpoints must begin with https://"],
        ),
        ("[https://a]", "{cert: PEM}", ["tls.cert: cert needs key beside it"]),
        ("[https://a]", "{key: PEM}", ["tls.key: key needs cert beside it"]),
        (
            "[https://a]",
            "{server_name: 'a:443'}",
            ["tls.server_name: must be a host name or an address, without a port"],
        ),
    ],
)
def test_endpoints_and_tls_fit(endpoints: str, tls: str, expected: list[str], pem: str) -> None:
    more = f", tls: {tls.replace('PEM', pem)}" if tls else ""
    text = written(upstreams=f"{{api: {{endpoints: {endpoints}{more}}}}}")
    assert told(text) == [f"upstreams.api.{message}" for message in expected]


@pytest.mark.parametrize(
    ("keys", "expected"),
    [
        ("dns: 'api:80'", []),
        ("dns: 'https://api:443', tls: {server_name: a.internal}", []),
        ("balance: round_robin", [": needs endpoints, a list of URLs, or dns, a name to look up"]),
        (
            "endpoints: [http://a], dns: 'api:80'",
            [".dns: endpoints and dns exclude each other"],
        ),
        (
            "dns: 'api:80', tls: {server_name: a.internal}",
            [".dns: this upstream has tls, so its name must begin with https://"],
        ),
        (
            "endpoints: [{url: http://a, weight: 2}, {url: http://a}]",
            [".endpoints.1: this endpoint is listed twice"],
        ),
    ],
)
def test_endpoints_come_from_one_place(keys: str, expected: list[str]) -> None:
    text = written(upstreams=f"{{api: {{{keys}}}}}")
    assert told(text) == [f"upstreams.api{message}" for message in expected]


PATH = "health.path: must begin with / and be plain ASCII without spaces or #"
NAME = "health.host: must be a host name, with :PORT behind it if need be"


@pytest.mark.parametrize(
    ("health", "expected"),
    [
        ("{path: /healthz}", []),
        ("{path: '/health?deep=1&x=%20'}", []),
        ("{path: /, host: api.example.com}", []),
        ("{path: /, host: 'api:8000'}", []),
        ("{path: healthz}", [PATH]),
        ("{path: '/a b'}", [PATH]),
        ("{path: '/a#b'}", [PATH]),
        ('{path: "/a\\r\\nX: y"}', [PATH]),
        ("{path: /ä}", [PATH]),
        ("{path: /, host: 'a b'}", [NAME]),
        ('{path: /, host: "a\\r\\nX: y"}', [NAME]),
        ("{path: /, host: 'http://a'}", [NAME]),
    ],
)
def test_a_check_can_be_sent(health: str, expected: list[str]) -> None:
    text = written(upstreams=f"{{api: {{endpoints: [http://a], health: {health}}}}}")
    assert told(text) == [f"upstreams.api.{message}" for message in expected]
