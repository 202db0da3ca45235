"""Endpoints and TLS of an upstream."""

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
