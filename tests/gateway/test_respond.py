from __future__ import annotations

import re
from email.utils import parsedate_to_datetime
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from proxy import errors
from proxy.core.decision import Reply
from proxy.core.exchange import Exchange
from proxy.gateway import respond
from tests.support.answers import Answer, parse_answers
from tests.support.exchanges import APP, NOW, SEED, exchange, head, rules_of

CORS = rules_of("""
cors: {origins: [https://app.example.test]}
upstreams: {api: {endpoints: [http://127.0.0.1:8000]}}
routes: [{path: /**, upstream: api, auth: public}]
""").cors
ORIGIN = ("Origin", APP)


def every(base: type[errors.ProxyError]) -> list[type[errors.ProxyError]]:
    below = [found for kind in base.__subclasses__() for found in every(kind)]
    return [base, *below] if hasattr(base, "code") else below


ERRORS = every(errors.ProxyError)
IDS = [error.__name__ for error in ERRORS]


def asked(*fields: tuple[str, str], **more: Any) -> Exchange:
    return exchange(head(*fields, **more), CORS)


def read(data: bytes, method: str = "GET") -> Answer:
    """Return the one answer in `data`, as a strict client reads it."""
    answers = parse_answers(data, eof=False, methods=[method])
    assert not answers.garbage
    assert answers.rest == b""
    assert len(answers.all) == 1
    return answers.all[0]


def problem(x: Exchange, error: errors.ProxyError, *, close: bool = False) -> Answer:
    return read(respond.problem(x, error, NOW, close=close), x.head.method)


@pytest.mark.parametrize("error", ERRORS, ids=IDS)
def test_an_error_is_a_problem_that_a_program_can_read(error: type[errors.ProxyError]) -> None:
    """RFC 9457 section 3, and what the contract adds to it."""
    answer = problem(asked(), error("the reason, for the log"))
    assert answer.status == error.status
    assert answer.get("Content-Type") == "application/problem+json"
    assert answer.get("Cache-Control") == "no-store"
    assert answer.get("X-Content-Type-Options") == "nosniff"
    assert answer.get("X-Request-Id") == SEED[:32]
    assert answer.get("Server") is None
    assert answer.json() == {
        "type": f"urn:gatelodge:error:{error.code}",
        "title": error.title,
        "status": error.status,
        "detail": error.detail,
        "code": error.code,
        "request_id": SEED[:32],
    }


# RFC 6750 section 3: what stands in quotes has neither quote nor backslash, and is ASCII.
CHALLENGE = re.compile(
    r'Bearer realm="gatelodge"(, error="([a-z_]+)", error_description="([ !#-\[\]-~]+)")?'
)


@pytest.mark.parametrize("error", ERRORS, ids=IDS)
def test_a_401_says_how_to_come_in_and_nothing_else_does(error: type[errors.ProxyError]) -> None:
    challenge = problem(asked(), error()).get("WWW-Authenticate")
    if error.status != 401:
        assert challenge is None
        return
    assert challenge is not None
    parts = CHALLENGE.fullmatch(challenge)
    assert parts is not None
    missing = error is errors.SessionMissing
    assert parts.groups()[1:] == ((None, None) if missing else ("invalid_token", error.detail))


@pytest.mark.parametrize("error", ERRORS, ids=IDS)
def test_who_may_come_again_is_told_when(error: type[errors.ProxyError]) -> None:
    retry_after = problem(asked(), error()).get("Retry-After")
    assert retry_after == (None if error.retry_after is None else str(error.retry_after))


def test_a_refused_method_is_told_what_is_offered() -> None:
    answer = problem(asked(), errors.MethodRefused(allow=("GET", "HEAD")))
    assert answer.get("Allow") == "GET, HEAD"
    assert problem(asked(), errors.NoRoute()).get("Allow") is None


@pytest.mark.parametrize("error", ERRORS, ids=IDS)
def test_a_listed_page_may_read_any_error(error: type[errors.ProxyError]) -> None:
    answer = problem(asked(ORIGIN), error())
    assert answer.get("Access-Control-Allow-Origin") == APP
    assert answer.get("Access-Control-Allow-Credentials") == "true"
    assert "X-Request-Id" in (answer.get("Access-Control-Expose-Headers") or "")
    assert answer.values("Vary") == ["Origin"]
    stranger = problem(asked(("Origin", "https://evil.test")), error())
    assert not [name for name, _ in stranger.headers if name.startswith(b"Access-Control")]
    assert stranger.values("Vary") == ["Origin"]


def test_a_refused_preflight_gets_no_cors_headers() -> None:
    x = asked(ORIGIN, ("Access-Control-Request-Method", "PATCH"), method="OPTIONS")
    answer = problem(x, errors.OriginRefused())
    assert answer.status == 403
    assert not [name for name, _ in answer.headers if name.startswith(b"Access-Control")]
    # Any other error on an OPTIONS may be read, and so may a refused origin on another method.
    assert problem(x, errors.SessionMissing()).get("Access-Control-Allow-Origin") == APP
    post = problem(asked(ORIGIN, method="POST"), errors.OriginRefused())
    assert post.get("Access-Control-Allow-Origin") == APP


def test_without_cors_there_are_no_cors_headers() -> None:
    answer = problem(exchange(head(ORIGIN)), errors.NoRoute())
    assert answer.values("Vary") == []
    assert answer.values("Access-Control-Allow-Origin") == []


def test_a_head_gets_the_head_of_the_same_answer() -> None:
    full = respond.problem(asked(), errors.NoRoute(), NOW, close=False)
    assert (
        respond.problem(asked(method="HEAD"), errors.NoRoute(), NOW, close=False)
        == (full[: full.index(b"\r\n\r\n") + 4])
    )


@pytest.mark.parametrize("method", ["GET", "HEAD", ""])
def test_the_last_answer_says_so(method: str) -> None:
    """The method is empty where not even the head could be parsed."""
    x = asked(method=method)
    assert problem(x, errors.BadRequest(), close=True).values("Connection") == ["close"]
    assert problem(x, errors.BadRequest(), close=False).values("Connection") == []


MARK = "<script>mark</script>"
latin = st.text(st.characters(codec="latin-1"), max_size=30)


@given(
    latin.map(lambda text: MARK + text),
    st.sampled_from(ERRORS),
    st.sampled_from(["GET", "POST", "OPTIONS"]),
    st.booleans(),
)
def test_no_byte_of_the_request_and_no_reason_is_in_an_answer(
    text: str, error: type[errors.ProxyError], method: str, close: bool
) -> None:
    """LK-05, and no line of the answer can be the client's."""
    hostile = f"{text}\r\nX-Injected: 1\r\n\r\n{text}"
    plain = respond.problem(asked(method=method), error(), NOW, close=close)
    fields = [(name, hostile) for name in ("Origin", "Cookie", "X-Request-Id", "User-Agent")]
    x = asked(*fields, method=method, target=f"/{hostile}?{hostile}", host=hostile)
    x.user = x.reason = x.session = x.upstream = x.endpoint = hostile
    assert respond.problem(x, error(hostile), NOW, close=close) == plain
    assert MARK.encode() not in plain


LINES = b"Access-Control-Allow-Origin: https://app.example.test\r\nVary: Origin\r\n"


def test_a_granted_preflight_has_its_own_cors_lines_and_no_body() -> None:
    data = respond.reply(asked(ORIGIN, method="OPTIONS"), Reply(204, LINES), NOW, close=False)
    answer = read(data, "OPTIONS")
    assert answer.headers == [
        (b"Date", b"Fri, 15 Jan 2027 08:00:00 GMT"),
        (b"Access-Control-Allow-Origin", APP.encode()),
        (b"Vary", b"Origin"),
        (b"X-Request-Id", SEED[:32].encode()),
    ]
    assert answer.status == 204


@pytest.mark.parametrize("method", ["GET", "HEAD"])
def test_a_redirect_is_not_kept_and_may_be_read(method: str) -> None:
    location = b"Location: https://app.example.test/in\r\n"
    answer = read(
        respond.reply(asked(ORIGIN, method=method), Reply(302, location), NOW, close=False), method
    )
    assert answer.status == 302
    assert answer.get("Location") == "https://app.example.test/in"
    assert answer.get("Content-Length") == "0"
    assert answer.get("Cache-Control") == "no-store"
    assert answer.get("Access-Control-Allow-Origin") == APP
    assert answer.get("X-Request-Id") == SEED[:32]


@pytest.mark.parametrize("status", [204, 302])
def test_the_last_reply_says_so(status: int) -> None:
    closing = read(respond.reply(asked(), Reply(status), NOW, close=True))
    assert closing.values("Connection") == ["close"]
    assert read(respond.reply(asked(), Reply(status), NOW, close=False)).values("Connection") == []


@pytest.mark.parametrize("close", [False, True])
@pytest.mark.parametrize(
    ("draining", "status", "body"), [(False, 200, b"ok\n"), (True, 503, b"draining\n")]
)
def test_load_balancers_are_told_whether_to_come(
    draining: bool, status: int, body: bytes, close: bool
) -> None:
    data = respond.health(head(), NOW, draining=draining, close=close)
    answer = read(data)
    assert (answer.status, answer.body) == (status, body)
    assert answer.get("Content-Type") == "text/plain"
    assert answer.get("Cache-Control") == "no-store"
    assert answer.values("Connection") == (["close"] if close else [])
    asking_for_head = respond.health(head(method="HEAD"), NOW, draining=draining, close=close)
    assert asking_for_head == data[: -len(body)]


def test_a_429_tells_which_limit_and_when() -> None:
    """The fields are Lists of Strings with parameters (RFC 9651)."""
    error = errors.RateLimited(
        "by ip",
        retry_after=30,
        policy='"ip-2/m";q=2;w=60, "ip-9/h";q=9;w=3600',
        standing='"ip-2/m";r=0;t=30, "ip-9/h";r=0;t=7',
    )
    answer = problem(asked(ORIGIN), error)
    assert answer.get("Retry-After") == "30"
    item = r'"[ -!#-\[\]-~]+"(;[a-z]+=[0-9]+)+'
    for name in ("RateLimit-Policy", "RateLimit"):
        assert re.fullmatch(rf"{item}(, {item})*", answer.get(name) or "")
        assert name in (answer.get("Access-Control-Expose-Headers") or "").split(", ")
    assert answer.json().keys() == problem(asked(), errors.NoRoute()).json().keys()
    assert problem(asked(), errors.NoRoute()).get("RateLimit") is None


DATES = {
    0: "Thu, 01 Jan 1970 00:00:00 GMT",
    784111777: "Sun, 06 Nov 1994 08:49:37 GMT",  # the example of RFC 9110 section 5.6.7
    1772323199.9: "Sat, 28 Feb 2026 23:59:59 GMT",
    1772323200.1: "Sun, 01 Mar 2026 00:00:00 GMT",
}


@pytest.mark.parametrize(("now", "date"), DATES.items(), ids=DATES.values())
def test_every_answer_of_ours_says_when_it_was_made(now: float, date: str) -> None:
    for data in (
        respond.problem(asked(), errors.NoRoute(), now, close=False),
        respond.reply(asked(), Reply(302), now, close=False),
        respond.health(head(), now, draining=False, close=False),
    ):
        assert read(data).get("Date") == date


@given(st.integers(0, 4_102_444_800))
def test_a_date_is_read_as_the_time_that_it_was_made_of(now: int) -> None:
    answer = read(respond.health(head(), now, draining=False, close=False))
    assert parsedate_to_datetime(str(answer.get("Date"))).timestamp() == now
