"""The steps in words."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any

import pytest

from proxy.cli.prose import demands, prose
from tests.cli.example import AT, CONFIG, COOKIE, cookie, steps, token

CLAIMS: dict[str, Any] = {
    "name": "Zoë",
    "roles": ["root"],
    "email": "z@example.com",
    "org": {"plan": "pro"},
}

ALL = {
    "forwarded": (
        partial(steps, "/admin/x", cookie(token(**CLAIMS))),
        """\
GET /admin/x

  host      api.example.com
  path      /admin/x
  client    127.0.0.1, http, directly
  route     /admin/** (any host, any method): the most specific that matches
  cors      no Origin: no page of another origin asks
  session   web, cookie __Secure-authjs.session-token
            valid: authjs-v5, ends in 1h
  ignored   theme: no session has a cookie of this name
  user      id u-1; email z@example.com; name Zoë; roles root
  policy    required, role admin or root, org.plan = pro, e-mail at example.com: met
  upstream  api: http://127.0.0.1:8001, http://127.0.0.1:8002
            round_robin

forwarded to api, with this head:

  GET /admin/x HTTP/1.1
  Host: api.example.com
""",
    ),
    "refused": (
        partial(steps, "/x", ("Origin", "https://evil.example")),
        """\
  cors      from https://evil.example, which is not listed: its page cannot read the answer
  session   missing
  policy    required
  upstream  api: http://127.0.0.1:8001, http://127.0.0.1:8002
            round_robin

refused: 401 session_missing
  reason  """,
    ),
    "refused session": (
        partial(steps, "/x", cookie("a.b")),
        """\
  session   web, cookie __Secure-authjs.session-token
            refused: """,
    ),
    "ambiguous": (
        partial(steps, "/x", ("Cookie", f"{COOKIE}=a; {COOKIE}=b")),
        "  session   refused: one cookie name came with different values\n",
    ),
    "not verified": (
        partial(steps, "/x", cookie(token()), ("Origin", "https://evil.example"), method="POST"),
        "  session   web, cookie __Secure-authjs.session-token\n            not verified\n",
    ),
    "policy": (
        partial(steps, "/admin/x", cookie(token())),
        ", role admin or root, org.plan = pro, e-mail at example.com: not met\n",
    ),
    "no route": (
        partial(steps, "/a/../b"),
        """\
  host    api.example.com
  path    cannot be read
  client  127.0.0.1, http, directly
  route   none
""",
    ),
    "folded": (
        partial(steps, "/X"),
        "  path      /X\n            may be read as /x\n",
    ),
    "methods and host": (
        partial(steps, "http://a.files.example.com/files/x"),
        "  route     /files/** (*.files.example.com, GET, PUT): the most specific that matches\n",
    ),
    "preflight": (
        partial(
            steps,
            "/x",
            ("Origin", "https://app.example.com"),
            ("Access-Control-Request-Method", "PUT"),
            method="OPTIONS",
        ),
        """\
  cors      preflight from https://app.example.com, which is listed: its page may read the answer
  session   not looked at
  policy    required
  upstream  api: http://127.0.0.1:8001, http://127.0.0.1:8002
            round_robin

answered by the gateway: 204
  Access-Control-Allow-Origin: https://app.example.com
""",
    ),
    "proxy": (
        partial(steps, "/public/x", ("X-Forwarded-Proto", "https"), peer="10.0.0.1"),
        "  client    10.0.0.1, https, through a trusted proxy\n",
    ),
}


@pytest.mark.parametrize(("told", "part"), ALL.values(), ids=ALL)
def test_steps_in_words(told: Callable[[], dict[str, Any]], part: str) -> None:
    assert part in prose(told(), AT)


@pytest.mark.parametrize(
    ("left", "words"),
    [
        (None, "without an end"),
        (90_061, "ends in 1d 1h"),
        (3_661, "ends in 1h 1m"),
        (59, "ends in 59s"),
        (400_000_000, "ends in more than ten years"),
        (float("inf"), "ends in more than ten years"),
        (0, "expired, but within the tolerance"),
        (-5, "expired, but within the tolerance"),
    ],
)
def test_how_long_a_session_lives(left: float | None, words: str) -> None:
    told = steps("/x", cookie(token()))
    told["session"]["expires"] = None if left is None else AT + left
    assert f"valid: authjs-v5, {words}\n" in prose(told, AT)


def test_cors_may_be_off() -> None:
    told = steps("/x")
    told["cors"]["enabled"] = False
    assert "  cors      off: the upstream answers for itself\n" in prose(told, AT)


def test_cookies_of_one_reason_share_a_line() -> None:
    told = steps("/public/x", ("Cookie", f"a=1; {COOKIE}=x; b=2"))
    assert "  ignored   a, b: no session has a cookie of this name\n" in prose(told, AT)


def test_advice_and_notes_are_wrapped() -> None:
    told = steps("/x")
    told["notes"] = ["word " * 40]
    assert max(map(len, prose(told, AT).splitlines())) <= 100


def test_a_route_demands_in_one_line() -> None:
    assert demands("public", {}) == "public"
    assert demands("optional", {"claims": {"a.b": [1, True]}}) == "optional, a.b = 1 or True"


def test_limits_are_told_by_whom_they_count() -> None:
    text = f"{CONFIG}rate_limit: [{{by: ip, rate: 100/m}}, {{by: user, rate: 9/s, burst: 20}}]\n"
    words = prose(steps("/x", cookie(token()), text=text), AT)
    assert (
        "  limits    100/m by ip (burst 100), of all routes: counted for the address 127.0.0.1\n"
        "            9/s by user (burst 20), of all routes: counted for this user\n"
    ) in words
    nobody = prose(steps("/maybe/x", text=text), AT)
    assert "9/s by user (burst 20), of all routes: counted for the address 127.0.0.1" in nobody
