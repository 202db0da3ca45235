from __future__ import annotations

import sys

from proxy.core.headers import RequestFilter, ResponseFilter
from proxy.core.identity import IdentityHeaders
from tests.support.exchanges import COOKIE

OWNED = IdentityHeaders({"X-User-Id": "id", "X-Org": "claims.org"}).names


def request_filter() -> RequestFilter:
    return RequestFilter(OWNED, [COOKIE], keep_session_cookie=False)


def test_long_names_and_cookies_of_clients_are_not_remembered() -> None:
    """They may be as long as a head: thousands of them would be hundreds of MiB that stay."""
    name, cookie = b"X-" + b"a" * 60_000, b"a=" + b"b" * 60_000
    before = sys.getrefcount(name), sys.getrefcount(cookie)
    parts: list[bytes] = []
    request_filter().add_passing(
        parts, [(name, b""), (b"Cookie", cookie)], connection=None, trusted=False, bearer_used=False
    )
    assert parts == [name, b": ", b"", b"\r\n", b"Cookie", b": ", cookie, b"\r\n"]
    parts.clear()
    assert (sys.getrefcount(name), sys.getrefcount(cookie)) == before


def test_long_names_of_upstreams_are_not_remembered() -> None:
    name = b"X-" + b"a" * 60_000
    before = sys.getrefcount(name)
    ResponseFilter(OWNED).kind(name)
    assert sys.getrefcount(name) == before
