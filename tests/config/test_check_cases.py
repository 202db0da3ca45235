"""The configuration's own tests."""

from __future__ import annotations

import pytest

from tests.config.helpers import told, written


def told_of(case: str) -> list[str]:
    return told(written(tests=f"[{{{case}}}]"))


@pytest.mark.parametrize(
    "case",
    [
        "request: GET /x, expect: 200",
        "request: 'GET /x?a=b', expect: 200",
        "request: 'GET https://a.example.com/x', expect: {route: /**}",
        "request: DELETE /x, expect: {status: 200, route: /**, upstream: api}",
    ],
)
def test_what_can_be_run_passes(case: str) -> None:
    assert told_of(case) == []


@pytest.mark.parametrize(
    ("case", "expected"),
    [
        ("request: /x, expect: 200", "tests.0.request: must begin with a method in capitals"),
        ("request: get /x, expect: 200", "tests.0.request: must begin with a method in capitals"),
        ("request: GET, expect: 200", "tests.0.request: must be METHOD /path or"),
        ("request: GET x, expect: 200", "tests.0.request: must be METHOD /path or"),
        ("request: GET /x y, expect: 200", "tests.0.request: must be METHOD /path or"),
        ("request: GET ftp://a/x, expect: 200", "tests.0.request: must be METHOD /path or"),
        ("request: GET /x, expect: {}", "tests.0.expect: must be a status, or name"),
        (
            "request: GET /x, expect: {upstream: apii}",
            "tests.0.expect.upstream: there is no upstream 'apii', did you mean 'api'?",
        ),
        (
            "request: GET /x, expect: {route: /*}",
            "tests.0.expect.route: no route has the path '/*', did you mean '/**'?",
        ),
    ],
)
def test_what_cannot_is_told(case: str, expected: str) -> None:
    (found,) = told_of(case)
    assert found.startswith(expected)
