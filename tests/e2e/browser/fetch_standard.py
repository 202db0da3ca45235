"""What the Fetch standard makes a browser do with a request of a script, as far as CORS goes.

Written from https://fetch.spec.whatwg.org (names of sections in quotes) and without a look at the
product, which it judges. Header names here are lower case.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from typing import Final

_NORMALIZED: Final = frozenset({"DELETE", "GET", "HEAD", "OPTIONS", "POST", "PUT"})
_FORBIDDEN_METHODS: Final = frozenset({"CONNECT", "TRACE", "TRACK"})
_SAFELISTED_METHODS: Final = frozenset({"GET", "HEAD", "POST"})
_FORBIDDEN_NAMES: Final = frozenset(
    {
        "accept-charset",
        "accept-encoding",
        "access-control-request-headers",
        "access-control-request-method",
        "connection",
        "content-length",
        "cookie",
        "cookie2",
        "date",
        "dnt",
        "expect",
        "host",
        "keep-alive",
        "origin",
        "referer",
        "set-cookie",
        "te",
        "trailer",
        "transfer-encoding",
        "upgrade",
        "via",
    }
)
_METHOD_OVERRIDES: Final = frozenset(
    {"x-http-method", "x-http-method-override", "x-method-override"}
)
_SAFELISTED_TYPES: Final = frozenset(
    {"application/x-www-form-urlencoded", "multipart/form-data", "text/plain"}
)
_SAFELISTED_RESPONSE_NAMES: Final = frozenset(
    {
        "cache-control",
        "content-language",
        "content-length",
        "content-type",
        "expires",
        "last-modified",
        "pragma",
    }
)
_FORBIDDEN_RESPONSE_NAMES: Final = frozenset({"set-cookie", "set-cookie2"})
_UNSAFE: Final = re.compile(r'[\x00-\x08\x0a-\x1f"():<>?@\[\\\]{}\x7f]')
_LANGUAGE: Final = re.compile(r"[0-9A-Za-z *,\-.;=]*")
_SIMPLE_RANGE: Final = re.compile(r"bytes=([0-9]+)-([0-9]*)")


def normalize_method(method: str) -> str:
    """ "Methods": six names are put into upper case; `patch` stays as it is."""
    return method.upper() if method.upper() in _NORMALIZED else method


def is_forbidden_method(method: str) -> bool:
    """ "Methods": fetch() throws for these."""
    return method.upper() in _FORBIDDEN_METHODS


def is_forbidden_header(name: str, value: str) -> bool:
    """ "Forbidden request-header": what a script sets in vain."""
    if name in _FORBIDDEN_NAMES or name.startswith(("proxy-", "sec-")):
        return True
    if name in _METHOD_OVERRIDES:
        return any(is_forbidden_method(method.strip(" \t")) for method in value.split(","))
    return False


def is_safelisted_header(name: str, value: str) -> bool:
    """ "CORS-safelisted request-header": what needs no preflight."""
    if len(value.encode()) > 128:
        return False
    if name == "accept":
        return not _UNSAFE.search(value)
    if name in ("accept-language", "content-language"):
        return _LANGUAGE.fullmatch(value) is not None
    if name == "content-type":
        essence = value.partition(";")[0].strip(" \t").lower()
        return not _UNSAFE.search(value) and essence in _SAFELISTED_TYPES
    if name == "range":
        simple = _SIMPLE_RANGE.fullmatch(value)
        return simple is not None and (not simple[2] or int(simple[1]) <= int(simple[2]))
    return False


def unsafe_names(headers: Mapping[str, str]) -> list[str]:
    """ "CORS-unsafe request-header names": what a preflight asks for, sorted."""
    unsafe = {name for name, value in headers.items() if not is_safelisted_header(name, value)}
    safe = headers.keys() - unsafe
    if sum(len(headers[name].encode()) for name in safe) > 1024:
        unsafe |= safe
    return sorted(unsafe)


@dataclass(frozen=True)
class Request:
    """A request of a script with mode "cors".

    `origin` is the page's, serialised; `headers` those that the script sets.
    """

    origin: str
    url_origin: str
    method: str
    headers: Mapping[str, str]
    with_credentials: bool

    @property
    def is_same_origin(self) -> bool:
        """Whether CORS has no part in it."""
        return self.origin == self.url_origin

    @property
    def sent_headers(self) -> dict[str, str]:
        """The script's headers without the forbidden ones."""
        items = self.headers.items()
        return {name: value for name, value in items if not is_forbidden_header(name, value)}

    @property
    def needs_preflight(self) -> bool:
        """ "Main fetch", steps for the CORS-preflight flag."""
        if self.is_same_origin:
            return False
        safelisted = normalize_method(self.method) in _SAFELISTED_METHODS
        return not safelisted or bool(unsafe_names(self.sent_headers))


@dataclass(frozen=True)
class Grant:
    """The CORS headers of an answer, parsed; None where there is none."""

    status: int
    allow_origin: str | None = None
    allow_credentials: str | None = None
    allow_methods: Sequence[str] = ()
    allow_headers: Sequence[str] = ()
    expose: Sequence[str] = ()


def cors_check(request: Request, grant: Grant) -> bool:
    """ "CORS check"."""
    if grant.allow_origin is None:
        return False
    if not request.with_credentials and grant.allow_origin == "*":
        return True
    if grant.allow_origin != request.origin:
        return False
    return not request.with_credentials or grant.allow_credentials == "true"


def preflight_succeeds(request: Request, grant: Grant) -> bool:
    """ "CORS-preflight fetch", from its step 7 on."""
    if not cors_check(request, grant) or not 200 <= grant.status <= 299:
        return False
    method = normalize_method(request.method)
    any_method = "*" in grant.allow_methods and not request.with_credentials
    if method not in grant.allow_methods and method not in _SAFELISTED_METHODS and not any_method:
        return False
    allowed = {name.lower() for name in grant.allow_headers}
    names = request.sent_headers.keys()
    if "authorization" in names and "authorization" not in allowed:
        return False
    any_header = "*" in allowed and not request.with_credentials
    return any_header or all(name in allowed for name in unsafe_names(request.sent_headers))


def readable_names(request: Request, grant: Grant, present: Collection[str]) -> set[str]:
    """ "CORS filtered response" or "basic filtered response": which of `present` a script sees."""
    names = set(present) - _FORBIDDEN_RESPONSE_NAMES
    if request.is_same_origin or ("*" in grant.expose and not request.with_credentials):
        return names
    exposed = {name.lower() for name in grant.expose}
    return {name for name in names if name in _SAFELISTED_RESPONSE_NAMES or name in exposed}
