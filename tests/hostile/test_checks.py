"""The checks themselves: every kind of expectation can hold, and can fail."""

from __future__ import annotations

import json
from dataclasses import replace
from typing import Any

import pytest

from tests.hostile.cases import Case, load, parse_case
from tests.hostile.checks import ANSWER_CHECKS, UPSTREAM_CHECKS, failures
from tests.hostile.outcome import Outcome
from tests.support.answers import Answer, Answers
from tests.support.upstream import Recorded

CASES = load()[1]
PROBLEM = json.dumps({"status": 401, "code": "session_missing"}).encode()


def entry(**expect: Any) -> dict[str, Any]:
    return {
        "id": "XX-01",
        "category": "FR",
        "severity": "low",
        "source": "nowhere",
        "title": "a case",
        "config": "base",
        "raw": "GET / HTTP/1.1\\r\\n\\r\\n",
        "expect": {"status": [200, 401], "upstream": "any", **expect},
    }


def case_with(**expect: Any) -> Case:
    return parse_case(entry(**expect))


def answer(status: int = 200, body: bytes = b"", **headers: str | list[str]) -> Answer:
    """Return an answer; an underscore in a name stands for a hyphen."""
    fields = [
        (name.replace("_", "-").encode(), value.encode())
        for name, values in headers.items()
        for value in ([values] if isinstance(values, str) else values)
    ]
    return Answer(status, 1, fields, body, complete=True)


def problem(**headers: str) -> Answer:
    fields = {"Content_Type": "application/problem+json", "Cache_Control": "no-store"}
    return answer(401, PROBLEM, **{**fields, **headers})


def request(target: str = "/public/x", **headers: str | list[str]) -> Recorded:
    fields = answer(200, b"", **headers).headers
    head = b"".join(b"%b: %b\r\n" % field for field in fields)
    return Recorded("GET", target, fields, bytearray(head), 0, complete=True)


def said(*answers: Answer, **more: Any) -> Outcome:
    return Outcome(answers=Answers(list(answers)), **more)


def got(*requests: Recorded) -> Outcome:
    received = b"".join(bytes(r.raw) for r in requests)
    return said(answer(), requests=list(requests), upstream_bytes=received)


UPSTREAM_WORDS = {
    "header_absent:X-User-Id": (got(request()), got(request(X_User_Id="admin"))),
    "header_values:X-A=1": (got(request(X_A="1")), got(request(X_A=["1", "2"]))),
    "if_any_header_values:X-A=1": (got(), got(request())),
    "header_not_equals:X-A=1": (got(request(X_A="11")), got(request(X_A=["2", "1"]))),
    "header_not_contains:X-A=1": (got(request(X_A="2")), got(request(X_A="010"))),
    "header_valid:traceparent": (
        got(request(traceparent=f"00-{'a' * 32}-{'b' * 16}-01")),
        got(request(traceparent="00-zz-00-01")),
    ),
    "if_any_header_valid:traceparent": (got(request()), got(request(traceparent="00-zz-00-01"))),
    "cookie_absent:s": (got(request(Cookie="ss=1; t=s")), got(request(Cookie="a=1;s.0=x"))),
    "bytes_contains:X-A: 1": (got(request(X_A="1")), got(request(X_A="2"))),
    "bytes_absent:\r\nX-A": (got(request(X_A="1")), got(request(X_B="1", X_A="1"))),
    "bytes_max_requests:1": (got(request()), got(request(), request())),
    "target_prefix_if_any:/public/": (got(), got(request("/api"))),
    "target_equals_if_any:/public/x": (got(request()), got(request("/public/X"))),
    "target_not_contains:..": (got(request()), got(request("/public/..;/x"))),
    "target_not_contains_ci:%2e": (got(request()), got(request("/public/%2E"))),
}

SIGN_IN = "https://app.example.test/signin?callbackUrl="

ANSWER_WORDS = {
    "conn_close": (said(answer(Connection="close")), said(answer(), closed=False)),
    "no_crash": (said(answer()), said(answer(), alive=False)),
    "statuses:200,401": (said(answer(), problem()), said(answer())),
    "no_status:5": (said(answer()), said(answer(), answer(500))),
    "response_count:1": (said(answer()), said(answer(103), answer())),
    "response_count_min:1": (said(answer()), said()),
    "response_final_count:2": (said(answer(103), answer(), answer()), said(answer(103), answer())),
    "header_absent:Location": (said(answer()), said(answer(Location="/"))),
    "header_present:Retry-After": (said(answer(Retry_After="1")), said(answer())),
    "header_equals:Vary=Origin": (
        said(answer(Vary="Origin")),
        said(answer(Vary=["Origin", "Origin"])),
    ),
    "header_values:X-User-Id=u-1": (said(answer(X_User_Id="u-1")), said(answer(X_User_Id="a-1"))),
    "header_contains:Vary=Origin": (
        said(answer(Vary=["Cookie", "Origin"])),
        said(answer(Vary="Cookie")),
    ),
    "header_not_contains:Server=aiohttp": (said(answer()), said(answer(Server="x aiohttp/3"))),
    "header_count:Set-Cookie=2": (
        said(answer(Set_Cookie=["a=1", "b=2"])),
        said(answer(Set_Cookie="a=1, b=2")),
    ),
    "content_type:application/problem+json": (
        said(problem()),
        said(answer(Content_Type="text/html")),
    ),
    "body_not_contains:POISON": (said(answer(body=b"ok")), said(answer(body=b"a POISON b"))),
    "location_callback_host_in:app.example.test": (
        said(answer(302, Location=SIGN_IN + "https%3A%2F%2Fapp.example.test%2Fx")),
        said(answer(302, Location=SIGN_IN + "https%3A%2F%2Fevil.test%2Fx")),
    ),
}  # fmt: skip


def wrong(kind: str, word: str, outcome: Outcome) -> list[str]:
    case = replace(case_with(**{kind: [word]}), statuses=frozenset(range(100, 600)))
    return [line for line in failures(case, outcome) if line.startswith(kind)]


@pytest.mark.parametrize("word", UPSTREAM_WORDS)
def test_upstream_word_holds_and_can_fail(word: str) -> None:
    good, bad = UPSTREAM_WORDS[word]
    assert wrong("upstream_assert", word, good) == []
    assert wrong("upstream_assert", word, bad) == [f"upstream_assert: not {word!r}"]


@pytest.mark.parametrize("word", ANSWER_WORDS)
def test_answer_word_holds_and_can_fail(word: str) -> None:
    good, bad = ANSWER_WORDS[word]
    assert wrong("response_assert", word, good) == []
    assert wrong("response_assert", word, bad) == [f"response_assert: not {word!r}"]


def test_every_word_that_is_known_is_shown_to_fail() -> None:
    assert {word.partition(":")[0] for word in UPSTREAM_WORDS} == set(UPSTREAM_CHECKS)
    assert {word.partition(":")[0] for word in ANSWER_WORDS} == set(ANSWER_CHECKS)


def test_every_word_in_the_file_is_known() -> None:
    upstream = {word.partition(":")[0] for case in CASES for word in case.upstream_asserts}
    said_words = {word.partition(":")[0] for case in CASES for word in case.answer_asserts}
    assert upstream <= set(UPSTREAM_CHECKS)
    assert said_words <= set(ANSWER_CHECKS)


@pytest.mark.parametrize("kind", ["upstream_assert", "response_assert"])
def test_unknown_word_fails(kind: str) -> None:
    assert wrong(kind, "header_absnt:X", got(request())) == [f"{kind}: unknown word 'header_absnt'"]


MORE_WRONG = {
    "a connection that closes says so": (
        "conn_close",
        said(answer(), closed=True),
    ),
    "nothing follows the last answer": (
        "conn_close",
        Outcome(Answers([answer(Connection="close")], rest=b"HTTP/1.1")),
    ),
    "a value is asked of requests that do not exist": ("header_values:X=1", got()),
    "a header is asked of answers that do not exist": ("header_equals:X=1", said()),
    "a redirect without Location": ("location_callback_host_in:a", said(answer(302))),
    "a redirect to elsewhere": ("location_callback_host_in:a", said(answer(302, Location="//b/"))),
    "bytes behind the last answer": ("body_not_contains:X", Outcome(Answers(rest=b"aXb"))),
}


@pytest.mark.parametrize("name", MORE_WRONG)
def test_word_is_not_fooled(name: str) -> None:
    word, outcome = MORE_WRONG[name]
    kind = "response_assert" if word.partition(":")[0] in ANSWER_CHECKS else "upstream_assert"
    if word.startswith("header_values"):
        kind = "upstream_assert"
    assert wrong(kind, word, outcome) == [f"{kind}: not {word!r}"]


GENERAL: dict[str, tuple[Outcome, dict[str, Any], str]] = {
    "status": (said(answer(302)), {}, "status 302, not [200, 401]"),
    "any-status-of-several": (said(answer(), answer(301)), {}, "status 301, not [200, 401]"),
    "silence": (
        said(closed=False, asked_to_close=False),
        {},
        "neither an answer nor the end of the connection",
    ),
    "closed": (said(closed=True), {}, "closed without an answer, not [200, 401]"),
    "upstream-none": (
        got(request("/x")),
        {"upstream": "none"},
        "the upstream was reached: ['/x']",
    ),
    "upstream-none-stray-bytes": (
        said(answer(), upstream_bytes=b"GE"),
        {"upstream": "none"},
        "the upstream was reached: b'GE'",
    ),
    "upstream-one-but-none": (
        got(),
        {"upstream": "one"},
        "the upstream got 0 requests, not one: []",
    ),
    "upstream-one-but-two": (
        got(request("/x"), request("/x")),
        {"upstream": "one"},
        "the upstream got 2 requests, not one: ['/x', '/x']",
    ),
    "upstream-none-or-public": (
        got(request(), request("/public")),
        {"upstream": "none_or_public"},
        "the upstream was reached outside /public/: /public",
    ),
    "cost": (
        said(answer(), milliseconds=101.0),
        {"max_ms": 100},
        "took 101 ms, not at most 100",
    ),
    "dead": (said(answer(), alive=False), {}, "the gateway does not serve others any more"),
    "violation": (
        said(answer(), violations=["a bare LF"]),
        {},
        "the upstream received what is not HTTP/1.1: a bare LF",
    ),
    "garbage": (
        Outcome(Answers([answer()], rest=b"\0", garbage=True)),
        {},
        "the client received what is not HTTP/1.1: b'\\x00'",
    ),
    "left-open": (
        said(answer(), closed=False, asked_to_close=True),
        {},
        "asked to close the connection, the gateway left it open",
    ),
    "error-of-other-type": (
        said(problem(Content_Type="text/plain")),
        {},
        "401 of type ['text/plain'], not application/problem+json",
    ),
    "error-that-is-cached": (
        said(problem(Cache_Control="private")),
        {},
        "401 without Cache-Control: no-store",
    ),
    "error-with-banner": (said(problem(Server="aiohttp")), {}, "401 with a Server banner"),
    "error-not-json": (
        said(replace(problem(), body=b"<h1>")),
        {},
        "401 with a body that is not JSON",
    ),
    "error-of-other-status": (
        said(replace(problem(), body=b'{"status": 400, "code": "x"}')),
        {},
        "401 with the document {'status': 400, 'code': 'x'}",
    ),
}


@pytest.mark.parametrize("name", GENERAL)
def test_general_expectation_can_fail(name: str) -> None:
    outcome, expect, expected = GENERAL[name]
    assert failures(case_with(**expect), outcome) == [expected]


@pytest.mark.parametrize(
    ("outcome", "expect"),
    [
        pytest.param(said(problem()), {"upstream": "none"}, id="refused"),
        pytest.param(got(request()), {"upstream": "one"}, id="forwarded"),
        pytest.param(got(request()), {"upstream": "none_or_public"}, id="public"),
        pytest.param(said(), {"status": ["closed"]}, id="closed"),
        pytest.param(said(answer(), milliseconds=99.0), {"max_ms": 100}, id="fast"),
        pytest.param(
            said(answer(), closed=False, asked_to_close=False), {"upstream": "any"}, id="kept-open"
        ),
    ],
)
def test_outcome_that_is_as_expected_has_no_failures(
    outcome: Outcome, expect: dict[str, Any]
) -> None:
    assert failures(case_with(**expect), outcome) == []


def test_admin_listener_may_answer_in_its_own_way() -> None:
    case = replace(case_with(), profile="admin")
    assert failures(case, said(answer(401))) == []


def test_errors_of_others_may_look_as_they_like() -> None:
    outcome, _, expected = GENERAL["error-of-other-type"]
    assert failures(case_with(), outcome, own_errors=False) == []
    assert failures(case_with(), outcome, own_errors=True) == [expected]


def test_what_a_recipe_has_found_is_a_failure() -> None:
    outcome = said(problem())
    outcome.expect(True, "fine")
    outcome.expect(False, "not fine")
    assert failures(case_with(), outcome) == ["not fine"]


def test_others_need_not_send_what_we_add() -> None:
    case = case_with(
        upstream_assert=["header_valid:traceparent"],
        response_assert=["content_type:application/problem+json"],
    )
    assert failures(case, got(request()), own_errors=False) == []
    assert len(failures(case, got(request()))) == 2
    spoofed = got(request(traceparent="00-zz-00-01"))
    assert failures(case, spoofed, own_errors=False) == [
        "upstream_assert: not 'if_any_header_valid:traceparent'"
    ]


def test_others_may_refuse_with_another_status() -> None:
    case = replace(case_with(), id="UP-10", statuses=frozenset({400}))
    assert failures(case, said(answer(404)), own_errors=False) == []
    assert failures(case, said(answer(404))) != []
