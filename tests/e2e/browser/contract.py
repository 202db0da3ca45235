"""What is promised for a request of the matrix: by the Fetch standard for the browser, by
docs/configuration.md and docs/operations.md for the gateway. Nothing here is the product's code.
"""

from __future__ import annotations

import fnmatch
from dataclasses import dataclass
from typing import Final

from tests.e2e.browser import api, hosts
from tests.e2e.browser.cases import BODY, HEADERS, PAGES, Case
from tests.e2e.browser.fetch_standard import (
    Grant,
    Request,
    cors_check,
    is_forbidden_method,
    normalize_method,
    preflight_succeeds,
    readable_names,
    unsafe_names,
)

_SAFE: Final = frozenset({"GET", "HEAD", "OPTIONS", "TRACE"})
_GRANTED_METHODS: Final = ("GET", "HEAD", "POST", "PUT", "PATCH", "DELETE")
_EXPOSED: Final = ("X-Request-Id", "Retry-After", "RateLimit", "RateLimit-Policy", "X-Total-Count")
_PROBLEM: Final = frozenset({"content-type", "cache-control", "x-request-id", "vary"})
_OF_API: Final = frozenset(name.lower() for name in api.ANSWER_FIELDS)

WATCHED: Final = _OF_API | _PROBLEM | {"www-authenticate", "allow", "retry-after", "location"}
"""The headers for which it is compared whether the script sees them."""


@dataclass(frozen=True)
class Read:
    """What the script could read: `body` is the code of a problem, else the text."""

    status: int
    body: str
    names: frozenset[str]


@dataclass(frozen=True)
class Expected:
    """`read` is None where the script gets a TypeError; `journal` are method and status of what
    the gateway answered, `arrived` the methods that the API got.
    """

    read: Read | None
    journal: tuple[tuple[str, int], ...] = ()
    arrived: tuple[str, ...] = ()


@dataclass(frozen=True)
class _Answer:
    status: int
    code: str | None = None

    @property
    def arrives(self) -> bool:
        return self.code is None


def expect(case: Case) -> Expected:
    """Return what has to happen."""
    if is_forbidden_method(case.method):
        return Expected(None)
    request = _request(case)
    journal = []
    if request.needs_preflight:
        preflight = _preflight(case, request)
        journal.append(("OPTIONS", preflight.status))
        if not preflight_succeeds(request, preflight):
            return Expected(None, tuple(journal))
    answer = _answer(case, request)
    method = normalize_method(case.method)
    if answer.status != 501:  # what is no request to the parser is logged without method and path
        journal.append((method, answer.status))
    read = _read(case, request, answer)
    return Expected(read, tuple(journal), (method,) if answer.arrives else ())


def _request(case: Case) -> Request:
    include = case.credentials == "include"
    origin = PAGES[case.page].origin
    return Request(origin, hosts.API, case.method, HEADERS[case.headers], include)


def _is_listed(case: Case, origin: str) -> bool:
    listed = ("null",) if case.target == "null listed" else hosts.LISTED
    return any(fnmatch.fnmatchcase(origin, pattern) for pattern in listed)


def _preflight(case: Case, request: Request) -> Grant:
    """ "A preflight is answered before the session is looked at", and a refused one is a 403."""
    methods = ("GET", "HEAD") if case.target == "reading" else _GRANTED_METHODS
    if not _is_listed(case, request.origin) or normalize_method(request.method) not in methods:
        return Grant(403)
    asked = unsafe_names(request.sent_headers)
    headers = ("Content-Type", "X-Custom") if case.target == "two headers" else asked
    return Grant(204, request.origin, "true", methods, headers)


def _answer(case: Case, request: Request) -> _Answer:
    """The ways to be refused, in the order in which the gateway looks for them."""
    method = normalize_method(request.method)
    if method == "patch":
        return _Answer(501, "method_unknown")
    if case.target == "no route":
        return _Answer(404, "no_route")
    if case.target == "GET only" and method not in ("GET", "HEAD"):
        return _Answer(405, "method_refused")
    if case.target == "small bodies" and case.has_body and len(BODY) > api.SMALL:
        return _Answer(413, "body_too_large")
    refusal = _refusal_of_session(case, request)
    if refusal is not None:
        return refusal
    if case.target == "admins":
        return _Answer(403, "forbidden")
    if case.target == "upstream away":
        return _Answer(502, "upstream_unreachable")
    return _Answer(204 if case.target == "no content" else 200)


def _refusal_of_session(case: Case, request: Request) -> _Answer | None:
    same_site = PAGES[case.page].same_site
    cookie = case.session != "none" and request.with_credentials
    if case.session == "SameSite=Lax" and not same_site:
        cookie = False
    if not cookie:
        return None if case.headers == "bearer" else _Answer(401, "session_missing")
    unsafe = normalize_method(request.method) not in _SAFE
    if unsafe and not request.is_same_origin and not _is_listed(case, request.origin):
        return _Answer(403, "origin_refused")
    return _Answer(401, "session_expired") if case.session == "expired" else None


def _read(case: Case, request: Request, answer: _Answer) -> Read | None:
    grant = Grant(answer.status)
    if _is_listed(case, request.origin):
        expose = (*_EXPOSED, *(("X-Page",) if answer.arrives else ()))
        grant = Grant(answer.status, request.origin, "true", expose=expose)
    if not request.is_same_origin and not cors_check(request, grant):
        return None
    body = case.path if answer.code is None else answer.code
    if answer.status == 204 or request.method == "HEAD":
        body = ""
    names = readable_names(request, grant, _present(answer))
    return Read(answer.status, body, frozenset(names))


def _present(answer: _Answer) -> frozenset[str]:
    """The watched headers of the answer, but for those of CORS, which no script sees anyway."""
    if answer.code is None:
        mine = {name for name in _OF_API if not name.startswith("access-control-")}
        return frozenset(mine - ({"content-type"} if answer.status == 204 else set())) | {
            "vary",
            "x-request-id",
        }
    more = {401: {"www-authenticate"}, 405: {"allow"}}
    return _PROBLEM | more.get(answer.status, set())
