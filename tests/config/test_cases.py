"""The configuration's own tests: shape and defaults."""

from __future__ import annotations

import pytest

from proxy.config.model import AsUser, Expect, TestCase
from tests.config.helpers import config_of, written


def case_of(text: str) -> TestCase:
    return config_of(written(tests=f"[{text}]")).tests[0]


def test_a_status_alone_is_expected() -> None:
    assert case_of("{request: GET /x, expect: 403}").expect == Expect(status=403)


def test_a_mapping_may_expect_more() -> None:
    case = case_of("{request: GET /x, expect: {route: /**, upstream: api}}")
    assert case.expect == Expect(route="/**", upstream="api")


def test_a_user_has_an_id_without_being_given_one() -> None:
    assert case_of("{request: GET /x, as: {}, expect: 200}").as_ == AsUser(id="test")


def test_nobody_is_signed_in_by_default() -> None:
    case = case_of("{request: GET /x, expect: 200}")
    assert (case.as_, case.headers, case.cookies) == (None, {}, {})


@pytest.mark.parametrize(
    ("request_", "method", "target"),
    [
        ("GET /x", "GET", "/x"),
        ("POST  /x", "POST", "/x"),
        ("GET http://a/x?y", "GET", "http://a/x?y"),
    ],
)
def test_a_request_is_a_method_and_a_target(request_: str, method: str, target: str) -> None:
    case = case_of(f"{{request: '{request_}', expect: 200}}")
    assert (case.method, case.target) == (method, target)


def test_who_is_signed_in_is_not_shown() -> None:
    text = "{request: GET /x, as: {email: ada@example.com}, cookies: {a: hunter2}, expect: 200}"
    assert "ada" not in repr(case_of(text))
    assert "hunter2" not in repr(case_of(text))
